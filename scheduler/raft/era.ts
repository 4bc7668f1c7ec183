import type { Era } from '../../protocol/ledger.ts';

/**
 * A recovery without quorum starts a new era (SAFETY L15): the higher counter wins; of two with one counter, which only
 * two recoveries at the same time can make, the higher id, so that all choose alike.
 */
export const compareEras = (a: Era, b: Era): number =>
  a.counter - b.counter || (a.id === b.id ? 0 : a.id < b.id ? -1 : 1);
