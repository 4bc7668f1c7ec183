import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';

const lookMs = 20;

/**
 * A small file that a person names, or what comes out of a pipe. Throws in words on more than `most` bytes, and where a pipe has not
 * ended within `limitMs`: nobody may ever write there. Waits without the event loop: a command has nothing else to do.
 */
export function readText(path: string, most: number, limitMs: number): string {
  // Else opening a named pipe waits for whoever writes.
  const file = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  const bytes = Buffer.alloc(most + 1);
  let length = 0;
  try {
    const isPlain = fstatSync(file).isFile();
    for (const until = performance.now() + limitMs; ; ) {
      const read = readNow(file, bytes, length);
      length += read ?? 0;
      if (length > most) throw new Error(`${path} has more than ${most >> 10} KiB`);
      // Of a pipe that nobody has opened yet the end comes first.
      if (read === 0 && (length > 0 || isPlain)) return bytes.toString('utf8', 0, length);
      if (read !== null && read > 0) continue;
      if (performance.now() >= until) {
        if (read === 0) return '';
        throw new Error(`what writes to ${path} did not end within ${limitMs / 1000} s`);
      }
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, lookMs);
    }
  } finally {
    closeSync(file);
  }
}

/** Null where nothing is there yet. */
function readNow(file: number, bytes: Buffer, at: number): number | null {
  try {
    return readSync(file, bytes, at, bytes.length - at, null);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EAGAIN') return null;
    throw error;
  }
}
