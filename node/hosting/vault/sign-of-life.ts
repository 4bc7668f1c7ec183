import { readFileSync } from 'node:fs';

/** What a line of restic's says of the time: it goes on also where nothing else does. */
const clocks = /^\[[\d:]+\]|"seconds_(?:elapsed|remaining)":\d+,?/g;

/** Bytes; less is read by a program that waits, to wake itself. */
const leastRead = 1 << 20;

/** What that process has read so far, of files and of sockets; null where nobody tells. */
export function bytesReadBy(pid: number | undefined): number | null {
  try {
    const found = /^rchar: (\d+)$/m.exec(readFileSync(`/proc/${pid}/io`, 'utf8'));
    return found === null ? null : Number(found[1]);
  } catch {
    return null;
  }
}

/**
 * Whether a program goes on. One that waits for a target that hangs says its progress twice a second all the same, and one that
 * restores (restic 0.14) says nothing for as long as that takes.
 */
export class SignOfLife {
  #said = '';
  #read: number | null = null;

  /** That line says something else than the one before, apart from the time. */
  isIn(line: string): boolean {
    const said = line.replace(clocks, '');
    const isNew = said !== this.#said;
    this.#said = said;
    return isNew;
  }

  /** It has read more than what wakes it since the last time that this was so. */
  isRead(bytes: number | null): boolean {
    if (bytes === null || (this.#read !== null && bytes - this.#read < leastRead)) return false;
    this.#read = bytes;
    return true;
  }
}
