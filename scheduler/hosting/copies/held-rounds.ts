import { type RoundName, roundText } from '../../../protocol/round-name.ts';

/** A round as a machine has it whole on its disk. */
export interface HeldRound {
  name: RoundName;
  /** The same on every machine; null where an earlier version told the name alone. */
  uuid: string | null;
}

/**
 * What a standby listed, told apart: a host whose disk fell back takes its next rounds before it hears of the names that were used
 * already, so the same name may be another round. `others` are such: they serve no push and no difference, and their names are used.
 * `uuidHere`: of the host's own round of that name, also of one that it thinned since.
 */
export function heldByUuid(
  listed: readonly HeldRound[],
  uuidHere: (name: RoundName) => string | null,
): { held: RoundName[]; others: RoundName[] } {
  const [held, others]: [RoundName[], RoundName[]] = [[], []];
  for (const { name, uuid } of listed) {
    const here = uuid === null ? null : uuidHere(name);
    (here === null || here === uuid ? held : others).push(name);
  }
  return { held, others };
}

/** By the rounds on a disk. */
export function uuidsOf(rounds: readonly HeldRound[]): (name: RoundName) => string | null {
  const uuids = new Map(rounds.map(({ name, uuid }) => [roundText(name), uuid]));
  return (name) => uuids.get(roundText(name)) ?? null;
}
