import { closeSync, openSync, readSync } from 'node:fs';

/** Above it a file's own buffer is not kept. */
const mostKept = 64 << 10;

/**
 * Taken once and used again. The length of a file in /proc is not known before, so Node takes 8 KiB or 64 KiB anew for each: one look at
 * three hundred processes left 8 MiB behind, half of which malloc never gave back.
 */
let kept = Buffer.allocUnsafeSlow(16 << 10);

/**
 * All of a file that the kernel makes, a character for each byte; no more than `mostBytes`, where a job can make it as long as it likes and
 * what matters stands first. Throws where it cannot be read.
 */
export function readKernelFile(path: string, mostBytes = Number.POSITIVE_INFINITY): string {
  const handle = openSync(path, 'r');
  try {
    let buffer = kept;
    for (let length = 0; ; ) {
      const read = readSync(handle, buffer, length, Math.min(buffer.length, mostBytes) - length, null);
      length += read;
      if (read === 0 || length >= mostBytes) return buffer.toString('latin1', 0, length);
      if (length < buffer.length) continue;
      buffer = Buffer.concat([buffer], 2 * length);
      if (buffer.length <= mostKept) kept = buffer;
    }
  } finally {
    closeSync(handle);
  }
}
