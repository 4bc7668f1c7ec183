import { closeSync, fdatasync, fdatasyncSync, openSync, readFileSync, writeSync } from 'node:fs';
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
/** ms after which the count file is synced to the disk, beside what goes on. */
const syncCountMs = 1000;

export interface OpenLevel {
  level: Level<string, string>;
  /** Batches that it holds. */
  count: number;
}

interface BatchesOptions {
  countFile: string;
  showCount(count: number): string;
  /**
   * Closes a level that has rejected a write and opens it again; rejects when that cannot be, or when what comes back is
   * behind `count`. May be called again after that.
   */
  reopen(before: OpenLevel): Promise<OpenLevel>;
}

/**
 * Writes with fsync, one batch at a time; what comes meanwhile goes out as one batch after it (group commit). Each
 * batch carries a rising count; after its fsync the count is written into a small file beside the level, which is synced
 * once a second. So the file is never ahead of an honest level: a level that is behind it has lost acknowledged data
 * (LevelDB takes a damaged length in its log for the end of the log, and says nothing).
 * A level that has rejected one write takes the next ones, says that they are on disk, and has forgotten them all at its next
 * start: it went on behind the torn end of its log. So it is opened again before anything more is written.
 */
export class LevelBatches {
  readonly #file: number;
  readonly #options: BatchesOptions;
  #open: OpenLevel;
  #waiting: Waiting[] = [];
  #isBusy = false;
  #isSuspect = false;
  #isClosed = false;
  #reopening: Promise<void> | null = null;
  #syncTimer: NodeJS.Timeout | null = null;

  constructor(open: OpenLevel, options: BatchesOptions) {
    this.#open = open;
    this.#options = options;
    closeSync(openSync(options.countFile, 'a+', 0o600));
    this.#file = openSync(options.countFile, 'r+');
    this.#remember();
  }

  /** The level, to read from: what it has is on disk. Rejects once it was closed. */
  async level(): Promise<Level<string, string>> {
    await this.#trust();
    return this.#open.level;
  }

  /** Resolves when all of it is on disk, rejects when none of it is, or nobody can say, and once it was closed. */
  write(operations: LevelOperation[]): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ operations, resolve, reject });
      if (!this.#isBusy) void this.#drain();
    });
  }

  async close(): Promise<void> {
    // A write that comes late finds a level that takes none, and must not have it opened again: nobody would close that one.
    this.#isClosed = true;
    await this.#reopening?.catch(() => undefined);
    await this.#open.level.close();
    if (this.#syncTimer) clearTimeout(this.#syncTimer);
    try {
      fdatasyncSync(this.#file);
    } finally {
      closeSync(this.#file);
    }
  }

  async #drain(): Promise<void> {
    this.#isBusy = true;
    while (this.#waiting.length > 0) {
      const together = this.#waiting.splice(0);
      try {
        // A level that is well is written in the turn that asked: behind an `await` its fsync began only after all that the turn still had to send.
        if (this.#isSuspect || this.#isClosed) await this.#trust();
        await this.#batch(together.flatMap((one) => one.operations));
        for (const one of together) one.resolve();
      } catch (error) {
        for (const one of together) one.reject(error);
      }
    }
    this.#isBusy = false;
  }

  async #batch(operations: LevelOperation[]): Promise<void> {
    const count = this.#open.count + 1;
    const counted: LevelOperation = { type: 'put', key: countKey, value: this.#options.showCount(count) };
    try {
      await this.#open.level.batch([...operations, counted], { sync: true });
      this.#open = { ...this.#open, count };
      this.#remember();
    } catch (error) {
      this.#isSuspect = true;
      throw error;
    }
  }

  #trust(): Promise<void> {
    if (this.#isClosed) return Promise.reject(new Error('it is closed'));
    if (!this.#isSuspect) return Promise.resolve();
    this.#reopening ??= this.#reopen().finally(() => {
      this.#reopening = null;
    });
    return this.#reopening;
  }

  async #reopen(): Promise<void> {
    this.#open = await this.#options.reopen(this.#open);
    this.#remember();
    this.#isSuspect = false;
  }

  #remember(): void {
    writeSync(this.#file, `${String(this.#open.count).padStart(digits, '0')}\n`, 0);
    this.#syncTimer ??= setTimeout(() => {
      this.#syncTimer = null;
      fdatasync(this.#file, () => undefined);
    }, syncCountMs).unref();
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
