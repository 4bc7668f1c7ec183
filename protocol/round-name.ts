import { z } from 'zod';
import { limits } from './limits.ts';

const Count = z.int().nonnegative().max(limits.counter);

/** A round by its whole name. Numbers only grow within an epoch and are never used twice, so a name is one content for ever. */
export const RoundName = z.object({ era: Count, epoch: Count, number: Count });
export type RoundName = z.infer<typeof RoundName>;

export const roundText = ({ era, epoch, number }: RoundName): string => `${era}-${epoch}-${number}`;

const pattern = /^(0|[1-9]\d{0,11})-(0|[1-9]\d{0,11})-(0|[1-9]\d{0,11})$/;

/** Null for whatever is no round's name: folders are deleted by these names, so nothing is guessed. */
export function readRoundName(text: string): RoundName | null {
  const found = pattern.exec(text);
  if (!found) return null;
  return { era: Number(found[1]), epoch: Number(found[2]), number: Number(found[3]) };
}

/** Below 0 when `a` is older. By the whole name: a number alone says nothing across epochs. */
export const compareRounds = (a: RoundName, b: RoundName): number =>
  a.era - b.era || a.epoch - b.epoch || a.number - b.number;

export function newestOf<T extends { name: RoundName }>(rounds: readonly T[]): T | null {
  return rounds.reduce<T | null>((best, one) => (best && compareRounds(best.name, one.name) > 0 ? best : one), null);
}
