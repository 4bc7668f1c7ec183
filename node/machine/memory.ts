import { readFile } from 'node:fs/promises';

/** Of a text like /proc/meminfo: the bytes of one line. Throws when it is not there. */
function bytesOf(text: string, name: string): number {
  const found = new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(text);
  if (found === null) throw new Error(`/proc/meminfo has no ${name}`);
  return Number(found[1]) * 1024;
}

/** This computer's memory in bytes; `available` is what programs could get without swapping. */
export async function memory(): Promise<{ total: number; available: number }> {
  const text = await readFile('/proc/meminfo', 'utf8');
  return { total: bytesOf(text, 'MemTotal'), available: bytesOf(text, 'MemAvailable') };
}
