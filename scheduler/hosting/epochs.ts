import type { Ledger } from '../../protocol/ledger.ts';

/*
 * Which number the next epoch of a hosted GitLab has (SAFETY H7, H10, L15): one more than the one before, until the mesh is recovered by
 * force. A former era may have gone on to epochs that this ledger does not know, and a person may have recovered on another machine as
 * well: each side then counts in steps of a thousand, far above the epoch of then, and its numbers end with its own `side`. So no two
 * sides ever begin the same epoch, and of each number is told whether it is of this one.
 */

/**
 * What a former era hosted without this ledger's knowledge had epochs of its own, which gates, hosts and markers remember as
 * closed: after a recovery by force the next one is above them all.
 */
export const epochsUnheard = 1000;

/** What counts epochs in a ledger. */
export type EpochCounts = Pick<Ledger, 'recovery'>;

/** The first one of a side that was recovered in that epoch. */
const firstOf = (epoch: number, side: number): number =>
  (Math.floor(epoch / epochsUnheard) + epochsUnheard) * epochsUnheard + side;

/** No side begins with a lower one. An earlier version's recoveries come there after a thousand changes of host or data. */
export const lowestOfSides = firstOf(0, 0);

/** It was begun on that side, which was recovered in epoch `since`. */
export const isOfSide = (epoch: number, side: number, since: number): boolean =>
  epoch % epochsUnheard === side && epoch >= firstOf(since, side);

/** The epoch that follows that one, where its host or its data change. */
export function epochFollowing(epoch: number, ledger: EpochCounts | null): number {
  const recovery = ledger?.recovery;
  if (!recovery) return epoch + 1;
  const { side, epoch: since = 0 } = recovery;
  // An earlier version recovered, and the steps within an era are those that it takes.
  return side === undefined || isOfSide(epoch, side, since) ? epoch + epochsUnheard : firstOf(epoch, side);
}

/** It begins where that one ended, whether it was counted before or after a recovery by force, by this version or an earlier one. */
export const isEpochAfter = (epoch: number, former: number, ledger: EpochCounts | null): boolean =>
  epoch === former + 1 || epoch === former + epochsUnheard || epoch === epochFollowing(former, ledger);

export const epochAfter = (ledger: EpochCounts & Pick<Ledger, 'gitlab'>): number =>
  epochFollowing(ledger.gitlab.epoch, ledger);

/** What its host says of how it marks data for the epoch that follows. Neither: an earlier version, which knows of the next number only. */
interface MarksNext {
  /** For whatever epoch the ledger makes of it, of those that versions of before knew. */
  marksAnew?: boolean | undefined;
  /** Also for one of a side. */
  countsSides?: boolean | undefined;
}

/** The epoch after that of the ledger, of data that their host has marked already: one of an earlier version would not find again what is counted otherwise. */
export function epochOfMarked(
  ledger: EpochCounts & Pick<Ledger, 'gitlab'>,
  { marksAnew, countsSides }: MarksNext,
): number {
  const { epoch } = ledger.gitlab;
  if (countsSides) return epochAfter(ledger);
  return marksAnew && ledger.recovery ? epoch + epochsUnheard : epoch + 1;
}
