import {
  closeSync,
  fsyncSync,
  ftruncateSync,
  openSync,
  readFileSync,
  renameSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { readFile } from 'node:fs/promises';
import type { AuditEntry } from '../../protocol/audit.ts';

const bytesMost = 4 << 20;

/** An append-only file (0600), a line an entry, on the disk when `append` returns; the one before it is FILE.1. Throws the file system's errors. */
export class AuditFile {
  readonly #path: string;
  #last: AuditEntry | null | undefined;

  constructor(path: string) {
    this.#path = path;
  }

  /** Writes down what of these, the newest acts of the mesh, is not there yet. */
  append(newest: readonly AuditEntry[]): void {
    if (newest.length === 0) return;
    this.#last ??= entriesIn(textOf(this.#path)).at(-1) ?? entriesIn(textOf(`${this.#path}.1`)).at(-1) ?? null;
    const last = this.#last;
    // After a recovery by force numbers may come again: then by what is in them.
    const index = last === null ? -1 : newest.findLastIndex(({ n, at }) => n === last.n && at === last.at);
    const fresh = newest.slice(index + 1);
    const end = fresh.at(-1);
    if (end === undefined) return;
    const sizeOf = (): number => statSync(this.#path, { throwIfNoEntry: false })?.size ?? 0;
    if (sizeOf() > bytesMost) renameSync(this.#path, `${this.#path}.1`);
    const before = sizeOf();
    const file = openSync(this.#path, 'a', 0o600);
    try {
      // Where the last line was cut short, this one still begins a new one.
      writeFileSync(file, fresh.map((entry) => `\n${JSON.stringify(entry)}\n`).join(''));
      fsyncSync(file);
    } catch (error) {
      // All of it is written again when there is room.
      ftruncateSync(file, before);
      throw error;
    } finally {
      closeSync(file);
    }
    this.#last = end;
  }

  /** All that is there, the oldest first. */
  async entries(): Promise<AuditEntry[]> {
    const texts = await Promise.all(
      [`${this.#path}.1`, this.#path].map((path) => readFile(path, 'utf8').catch(() => '')),
    );
    return texts.flatMap(entriesIn);
  }
}

function textOf(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return '';
    throw error;
  }
}

const entriesIn = (text: string): AuditEntry[] =>
  text.split('\n').flatMap((line) => {
    try {
      const read = line === '' ? null : (JSON.parse(line) as AuditEntry);
      return read !== null && Number.isInteger(read.n) ? [read] : [];
    } catch {
      return [];
    }
  });
