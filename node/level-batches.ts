import { closeSync, openSync, readFileSync, writeSync } from 'node:fs';
import type { Level } from 'level';

export type LevelOperation = { type: 'put'; key: string; value: string } | { type: 'del'; key: string };

interface Waiting {
  operations: LevelOperation[];
  resolve(): void;
  reject(error: unknown): void;
}

/** In the level, with every batch. */
export const countKey = 'count';
const digits = 16;

/**
 * Writes with fsync, one batch at a time; what comes meanwhile goes out as one batch after it (group commit). Each
 * batch carries a rising count; after its fsync the count is written into a small file beside the level, without fsync.
 * So the file is never ahead of an honest level: a level that is behind it has lost acknowledged data (LevelDB takes a
 * damaged length in its log for the end of the log, and says nothing).
 */
export class LevelBatches {
  readonly #level: Level<string, string>;
  readonly #file: number;
  readonly #showCount: (count: number) => string;
  #count: number;
  #waiting: Waiting[] = [];
  #isBusy = false;

  constructor(level: Level<string, string>, countFile: string, count: number, showCount: (count: number) => string) {
    this.#level = level;
    this.#count = count;
    this.#showCount = showCount;
    this.#file = openSync(countFile, 'a+', 0o600);
    closeSync(this.#file);
    this.#file = openSync(countFile, 'r+');
    this.#remember();
  }

  /** Resolves when all of it is on disk, rejects with level's error when none of it is. */
  write(operations: LevelOperation[]): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ operations, resolve, reject });
      if (!this.#isBusy) void this.#drain();
    });
  }

  close(): void {
    closeSync(this.#file);
  }

  async #drain(): Promise<void> {
    this.#isBusy = true;
    while (this.#waiting.length > 0) {
      const together = this.#waiting.splice(0);
      const count = this.#count + 1;
      const operations = together.flatMap((one) => one.operations);
      try {
        const counted: LevelOperation = { type: 'put', key: countKey, value: this.#showCount(count) };
        await this.#level.batch([...operations, counted], { sync: true });
        this.#count = count;
        this.#remember();
        for (const one of together) one.resolve();
      } catch (error) {
        for (const one of together) one.reject(error);
      }
    }
    this.#isBusy = false;
  }

  #remember(): void {
    writeSync(this.#file, `${String(this.#count).padStart(digits, '0')}\n`, 0);
  }
}

/** The count that the file remembers; 0 without a file. Null when it is no number. */
export function rememberedCount(file: string): number | null {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return 0;
    throw error;
  }
  // An empty file is a power cut between its making and its first write.
  return text === '' ? 0 : /^\d{16}\n$/.test(text) ? Number(text) : null;
}
