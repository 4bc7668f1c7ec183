import { closeSync, openSync, readFileSync, writeSync } from 'node:fs';
import { isAlive, startTicksOf } from '../executors/run-processes.ts';

/*
 * Small files by which two processes of ours tell each other something, so that neither needs the other alive. Whatever
 * stands in them is checked by hand: a schema's library would be most of what a watchdog takes.
 */

export const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null;

/** Null when there is none, or what is there makes no sense: the last good one then stays in force. */
export function readTold<T>(path: string, isGood: (value: unknown) => value is T): T | null {
  try {
    const told: unknown = JSON.parse(readFileSync(path, 'utf8'));
    return isGood(told) ? told : null;
  } catch {
    return null;
  }
}

/** What a reader says it has read is always of one length, so that it needs no room but at first. */
export const seenText = (id: string): string => id.padEnd(64, ' ');

/** The newest that a reader has said it has read; null when none has said so. */
export function readSeen(path: string): string | null {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch {
    return null;
  }
}

/** In the blocks that the file has. */
export function overwrite(path: string, text: string): void {
  const file = openSync(path, 'r+');
  try {
    writeSync(file, text, 0);
  } finally {
    closeSync(file);
  }
}

/** A pid file's line of this process: with its start, so that a recycled pid is never taken for it, and words of its own. */
export const pidLine = (...words: string[]): string =>
  `${[process.pid, startTicksOf(process.pid), ...words].join(' ')}\n`;

/** The process that wrote its line there, null when it lives no more, and its words. */
export function readPidFile(path: string): { pid: number | null; words: string[] } {
  const [pid = '', startTicks = '', ...words] = readSeen(path)?.split(' ') ?? [];
  return { pid: isAlive(Number(pid), startTicks) ? Number(pid) : null, words };
}
