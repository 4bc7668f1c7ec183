import type { Era, Ledger } from '../../protocol/ledger.ts';
import { compareStamps } from '../../protocol/stamp.ts';

/** The higher counter wins; of two with one counter, which only two recoveries apart can make, the higher id. */
export const compareEras = (a: Era, b: Era): number =>
  a.counter - b.counter || (a.id === b.id ? 0 : a.id < b.id ? -1 : 1);

/** Stamps decide within an era, and mean nothing across eras (SAFETY L15). */
export const isNews = (mine: Ledger, its: Ledger): boolean =>
  compareEras(its.era, mine.era) === 0 && compareStamps(its.stamp, mine.stamp) > 0;
