import { z } from 'zod';
import { limits } from './limits.ts';

/** The version of a ledger: compared term first, then version, always as a pair (SAFETY L5). */
export const Stamp = z.object({
  term: z.int().nonnegative().max(limits.counter),
  version: z.int().nonnegative().max(limits.counter),
});
export type Stamp = z.infer<typeof Stamp>;

export const zeroStamp: Stamp = { term: 0, version: 0 };

/** Negative when `a` is older than `b`, zero when equal, positive when newer. */
export const compareStamps = (a: Stamp, b: Stamp): number => a.term - b.term || a.version - b.version;
export const sameStamp = (a: Stamp, b: Stamp): boolean => a.term === b.term && a.version === b.version;
export const showStamp = (s: Stamp): string => `${s.term}.${s.version}`;
