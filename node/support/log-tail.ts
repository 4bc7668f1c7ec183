import { open } from 'node:fs/promises';

/** At most so many bytes are read of a log. */
const mostBytes = 1 << 20;

/** The last lines of a file, whole lines only. Throws the file system's error. */
export async function tailOf(file: string, lines: number): Promise<string> {
  const handle = await open(file, 'r');
  try {
    const { size } = await handle.stat();
    const length = Math.min(size, mostBytes);
    const buffer = Buffer.alloc(length);
    const { bytesRead } = await handle.read(buffer, 0, length, size - length);
    const all = buffer.subarray(0, bytesRead).toString('utf8').split('\n');
    const whole = length < size ? all.slice(1) : all;
    return whole.slice(-lines - 1).join('\n');
  } finally {
    await handle.close();
  }
}
