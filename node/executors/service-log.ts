import { setTimeout as sleep } from 'node:timers/promises';
import type Docker from 'dockerode';
import { isEngineAway, statusOf, withLimit } from './docker-engine.ts';
import { FrameReader } from './docker-log.ts';

/** A line of a service's log, as the engine gives it: its time (RFC 3339, nine digits), a space, the text. */
const timed = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\.(\d{9})(?:Z|[+-]\d\d:\d\d)/;
const mostLineBytes = 64 << 10;
const againMs = 1000;
const lookMs = 10_000;

/** The engine's disk keeps no more of one service. */
export const serviceLog = { Type: 'json-file', Config: { 'max-size': '8m', 'max-file': '2' } };

/** Seconds with nine digits behind the point, as the engine wants `since`; null for what is no such time. */
export function sinceOf(time: string): string | null {
  const [, second, rest] = timed.exec(time) ?? [];
  return second === undefined ? null : `${Date.parse(`${second}Z`) / 1000}.${rest}`;
}

/**
 * Whole lines of one stream of an engine's log, which has long ones in pieces, each with a time in front. A line is never cut: half
 * of a secret is masked by nobody. One that is too long is left out but for its time.
 */
export class LineReader {
  #held: Buffer[] = [];
  #bytes = 0;

  /** Of one record of the log. */
  push(record: Uint8Array): string[] {
    const all = Buffer.from(record);
    const rest = this.#bytes > 0 ? all.subarray(timeLength(all.toString('latin1', 0, 40))) : all;
    const lines: string[] = [];
    let at = 0;
    for (let end = rest.indexOf(10, at); end >= 0; end = rest.indexOf(10, at)) {
      this.#hold(rest.subarray(at, end));
      lines.push(this.#line());
      at = end + 1;
    }
    this.#hold(rest.subarray(at));
    return lines;
  }

  flush(): string[] {
    return this.#bytes === 0 ? [] : [this.#line()];
  }

  #hold(bytes: Buffer): void {
    if (this.#bytes <= mostLineBytes) this.#held.push(Buffer.from(bytes));
    this.#bytes += bytes.length;
  }

  #line(): string {
    const line = Buffer.concat(this.#held);
    const isLong = this.#bytes > mostLineBytes;
    this.#held = [];
    this.#bytes = 0;
    if (!isLong) return line.toString('utf8').replace(/\r$/, '');
    const head = line.toString('latin1', 0, 40);
    return `${head.slice(0, timeLength(head))}(a line of more than ${mostLineBytes >> 10} KiB is left out)`;
  }
}

/** How long the time in front of a record is, with the space behind it. */
const timeLength = (record: string): number => {
  const time = timed.exec(record)?.[0].length;
  return time !== undefined && record[time] === ' ' ? time + 1 : 0;
};

/** Of a log that is shown, as gitlab-runner has it. */
const mostShown = 64 << 10;

/** Its newest lines, at most `count`, without their times; none where the engine does not say. */
export async function lastLines(container: Docker.Container, count: number): Promise<string[]> {
  try {
    const asked = { stdout: true, stderr: true, timestamps: true, tail: count + 1 };
    return newest(linesOf((await withLimit(container.logs(asked), lookMs)) as unknown as Buffer, count));
  } catch {
    return [];
  }
}

/** Of the newest `count` + 1 records of a log. Where it has more, the first of each stream may be the end of a line. */
export function linesOf(log: Uint8Array, count: number): string[] {
  const streams = [1, 2].map((stream) => new FrameReader([stream]).push(log));
  const isPart = streams.flat().length > count;
  const lines = streams.flatMap((records) => {
    const reader = new LineReader();
    return [...records.flatMap((record) => reader.push(record)), ...reader.flush()].slice(isPart ? 1 : 0);
  });
  return lines.sort((one, other) => compare(timeOf(one), timeOf(other))).map((line) => line.slice(timeLength(line)));
}

const compare = (one: string, other: string): number => (one === other ? 0 : one < other ? -1 : 1);

function newest(lines: string[]): string[] {
  let chars = 0;
  const first = lines.findLastIndex((line) => {
    chars += line.length + 1;
    return chars > mostShown;
  });
  return lines.slice(first + 1);
}

/**
 * All lines after `since`, as they come, with their times, until the container has ended or is gone, or on abort. Waits for an
 * engine that is away.
 */
export async function followLog(
  container: Docker.Container,
  since: string | null,
  onLines: (lines: string[]) => void,
  signal: AbortSignal,
): Promise<void> {
  let known = since ?? '';
  while (!signal.aborted) {
    // The engine counts from a time on, that time included; what comes by two ways is not sorted by it.
    const from = known;
    try {
      for await (const lines of newLines(container, from, signal)) {
        const news = lines.filter((line) => timeOf(line) > from);
        for (const line of news) if (timeOf(line) > known) known = timeOf(line);
        if (news.length > 0) onLines(news);
      }
      if (!(await container.inspect()).State.Running) return;
    } catch (cause) {
      if (statusOf(cause) === 404 || (!isEngineAway(cause) && !signal.aborted)) return;
    }
    await sleep(againMs, undefined, { signal }).catch(() => undefined);
  }
}

const timeOf = (line: string): string => line.slice(0, 30);

async function* newLines(container: Docker.Container, known: string, signal: AbortSignal): AsyncGenerator<string[]> {
  const from = sinceOf(known);
  const asked = { follow: true, stdout: true, stderr: true, timestamps: true, ...(from !== null && { since: from }) };
  const stream = (await container.logs(asked as unknown as { follow: true })) as NodeJS.ReadableStream & {
    destroy(): void;
  };
  const stop = (): void => stream.destroy();
  signal.addEventListener('abort', stop, { once: true });
  const frames = [new FrameReader([1]), new FrameReader([2])];
  const readers = frames.map(() => new LineReader());
  try {
    if (signal.aborted) return;
    for await (const chunk of stream)
      for (const [at, frame] of frames.entries()) {
        const lines = frame.push(chunk as Buffer).flatMap((payload) => (readers[at] as LineReader).push(payload));
        if (lines.length > 0) yield lines;
      }
    yield readers.flatMap((reader) => reader.flush());
  } finally {
    signal.removeEventListener('abort', stop);
    stream.destroy();
  }
}
