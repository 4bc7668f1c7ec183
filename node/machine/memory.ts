import { readFileSync } from 'node:fs';

/** This computer's memory in bytes; `available` is what programs could get without swapping. Throws without /proc. */
export function memory(): { total: number; available: number } {
  const text = readFileSync('/proc/meminfo', 'utf8');
  const bytes = (name: string): number =>
    Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(text)?.[1] ?? 0) * 1024;
  return { total: bytes('MemTotal'), available: bytes('MemAvailable') };
}
