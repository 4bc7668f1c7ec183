import { closeSync, existsSync, openSync, readSync } from 'node:fs';
import type { LogLine } from '../e2e/rig.ts';

/** Reads an agent's log as it grows, each line once, so that looking often costs the measured machine little. */
export class EventTail {
  readonly #file: string;
  #offset = 0;
  #rest = '';
  readonly #lines: LogLine[] = [];

  constructor(file: string) {
    this.#file = file;
  }

  /** Event lines of these names that the agent wrote at or after `since` (epoch ms). */
  since(since: number, ...names: string[]): LogLine[] {
    this.#read();
    return this.#lines.filter((line) => line.time >= since && names.includes(line.event ?? ''));
  }

  #read(): void {
    if (!existsSync(this.#file)) return;
    const file = openSync(this.#file, 'r');
    try {
      const buffer = Buffer.alloc(64 << 10);
      for (let size = readSync(file, buffer, 0, buffer.length, this.#offset); size > 0; ) {
        this.#offset += size;
        this.#rest += buffer.toString('utf8', 0, size);
        size = readSync(file, buffer, 0, buffer.length, this.#offset);
      }
    } finally {
      closeSync(file);
    }
    const lines = this.#rest.split('\n');
    this.#rest = lines.pop() ?? '';
    for (const line of lines) {
      if (!line.startsWith('{')) continue;
      const parsed = JSON.parse(line) as LogLine;
      if (parsed.event !== undefined) this.#lines.push(parsed);
    }
  }
}
