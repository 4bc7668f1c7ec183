import { type StatsFs, statSync } from 'node:fs';
import { execClean } from './clean-spawn.ts';

/** A tree of millions of files is not waited for. */
const limitMs = 5000;

/** Which disk a path lies on (stat's dev); null when that cannot be looked at. */
export function deviceOf(path: string): number | null {
  try {
    return statSync(path).dev;
  } catch {
    return null;
  }
}

/** Bytes that a tree takes of that disk; 0 when it lies on another, null when it cannot be looked at in time. */
export const usedBy = (path: string, device: number, timeout: number = limitMs): Promise<number | null> =>
  new Promise((resolve) => {
    if (deviceOf(path) !== device) return resolve(0);
    execClean('du', ['-skx', path], { timeout, killSignal: 'SIGKILL' }, (error, stdout) =>
      resolve(error?.killed ? null : (Number.parseInt(stdout, 10) || 0) * 1024),
    );
  });

export interface Disk {
  totalBytes: number;
  /** For users that are not root: the part kept for root does not count. */
  freeBytes: number;
}

/** Of what statfs says. */
export const diskOf = ({ blocks, bavail, bsize }: StatsFs): Disk => ({
  totalBytes: blocks * bsize,
  freeBytes: bavail * bsize,
});

/** How many files there can be, and how many more; none where that file system has no such limit. */
export const filesOf = ({ files, ffree }: StatsFs): { total: number; free: number } | null =>
  files > 0 ? { total: files, free: ffree } : null;
