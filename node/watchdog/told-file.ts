import { chmodSync, closeSync, openSync, readFileSync, statSync, writeFileSync, writeSync } from 'node:fs';
import { isAlive, startTicksOf } from '../executors/run-processes.ts';
import { isDiskFull } from '../store/disk-errors.ts';

/*
 * Small files by which two processes of ours tell each other something, so that neither needs the other alive. Whatever
 * stands in them is checked by hand: a schema's library would be most of what a watchdog takes.
 */

export const isText = (value: unknown, most: number): value is string =>
  typeof value === 'string' && value.length <= most;
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

type Move = (from: string, to: string) => void | Promise<void>;

/**
 * Atomic: a reader sees what was told before or what is told now. Not synced to the disk: after a machine's crash nothing of it
 * counts. On a full disk it goes over the old one, in the blocks that this has: a reader that meets half of it keeps the one
 * before. `mode` holds whatever the umask is: a service's agent has 077, and a reader may be another user. `move`: rename.
 * With one that does not wait it is done when this returns its promise; with one that waits, one at a time.
 */
export async function writeTold(path: string, told: unknown, mode: number, move: Move): Promise<void> {
  const temporary = `${path}.new`;
  const text = JSON.stringify(told);
  try {
    writeFileSync(temporary, text, { mode });
    chmodSync(temporary, mode);
    await move(temporary, path);
  } catch (error) {
    if (!isDiskFull(error)) throw error;
    overwrite(path, text.padEnd(statSync(path).size, ' '));
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
