import { appendFileSync, readFileSync, statSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import type { TimelineEvent } from '../../protocol/history.ts';
import { limits } from '../../protocol/limits.ts';
import type { TimelineMark } from '../../scheduler/history/timeline-mark.ts';
import { replaceFileNow } from '../hosting/replace-file-now.ts';

/** One line of the file, written whole or not at all: what was told, and what is remembered since. */
interface Line {
  v: 1;
  events: TimelineEvent[];
  mark: TimelineMark;
}

/** A file of more bytes is written anew, with the newest events alone. */
const bytesMost = 2 << 20;

/** An append-only file (0600) of events, oldest first, with what was remembered after each. Every method throws the file system's errors. */
export class TimelineFile {
  readonly #path: string;
  #bytes = 0;

  constructor(path: string) {
    this.#path = path;
  }

  /** The newest events, at most `most`, and what was remembered last; null where nothing was. */
  load(most: number): { events: TimelineEvent[]; mark: TimelineMark | null } {
    this.#bytes = statSync(this.#path, { throwIfNoEntry: false })?.size ?? 0;
    if (this.#bytes === 0) return { events: [], mark: null };
    const lines = linesOf(readFileSync(this.#path, 'utf8'));
    return { events: lines.flatMap(({ events }) => events).slice(-most), mark: lines.at(-1)?.mark ?? null };
  }

  append(events: TimelineEvent[], mark: TimelineMark): void {
    // Where the last line was cut short, this one still begins a new one.
    const text = `\n${JSON.stringify({ v: 1, events, mark } satisfies Line)}\n`;
    appendFileSync(this.#path, text, { mode: 0o600 });
    this.#bytes += Buffer.byteLength(text);
    if (this.#bytes > bytesMost) this.#shorten(mark);
  }

  /** All events, the oldest first. */
  async events(): Promise<TimelineEvent[]> {
    const text = await readFile(this.#path, 'utf8').catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return '';
      throw error;
    });
    return linesOf(text).flatMap(({ events }) => events);
  }

  #shorten(mark: TimelineMark): void {
    const all = linesOf(readFileSync(this.#path, 'utf8')).flatMap(({ events }) => events);
    const events: TimelineEvent[] = [];
    for (let bytes = 0; events.length < limits.timelineKept; ) {
      const event = all.pop();
      bytes += event === undefined ? bytesMost : Buffer.byteLength(JSON.stringify(event));
      // Half of it stays free, so that not each event has it written anew.
      if (event === undefined || bytes > bytesMost / 2) break;
      events.unshift(event);
    }
    const text = `${JSON.stringify({ v: 1, events, mark } satisfies Line)}\n`;
    replaceFileNow(this.#path, text);
    this.#bytes = Buffer.byteLength(text);
  }
}

/** Lines that are no whole ones of ours are passed over. */
function linesOf(text: string): Line[] {
  return text.split('\n').flatMap((line) => {
    if (line === '') return [];
    try {
      const read = JSON.parse(line) as Partial<Line>;
      return read.v === 1 && Array.isArray(read.events) && typeof read.mark === 'object' ? [read as Line] : [];
    } catch {
      return [];
    }
  });
}
