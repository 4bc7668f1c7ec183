import { noticeTimings } from './notice-timings.ts';

/** ms until one that did not take a notice is tried again, after so many failures in a row; `askedMs`: it said so itself. */
export function waitAfter(failures: number, askedMs: number | null): number {
  const { least, most } = noticeTimings.againMs;
  return Math.max(askedMs ?? 0, Math.min(most, least * 2 ** Math.min(16, Math.max(0, failures - 1))));
}
