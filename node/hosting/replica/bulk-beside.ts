import { compareRounds, type RoundName } from '../../../protocol/round-name.ts';

export interface TimedRound {
  name: RoundName;
  /** When it was taken, by the host's wall clock. */
  wallMs: number;
}

/** The bulk part of a push's round is taken up to one interval and one look behind it. */
const behindMostMs = 15_000;

/**
 * The bulk part that goes with a hot one. It is taken behind it, so the first one after it has each file of its rows; where none was
 * taken soon after, nothing had changed, and what was there before is what was there then.
 */
export function bulkBeside(hot: TimedRound, bulk: readonly TimedRound[]): TimedRound | null {
  const after = bulk.find(({ name }) => compareRounds(name, hot.name) >= 0);
  const isBehind = after && Math.abs(after.wallMs - hot.wallMs) <= behindMostMs;
  if (after && (isBehind || compareRounds(after.name, hot.name) === 0)) return after;
  return bulk.findLast(({ name }) => compareRounds(name, hot.name) < 0) ?? after ?? null;
}
