import type { NodeId } from '../../../protocol/ids.ts';
import { compareRounds, newestOf, type RoundName, roundText } from '../../../protocol/round-name.ts';

/** Whose rounds are taken: as the committed ledger says. */
export interface RoundsOf {
  host: NodeId;
  era: number;
  epoch: number;
}

export interface OfferedRound {
  name: RoundName;
  /** What it is a difference to; null for a whole copy. */
  parent: RoundName | null;
}

/** The rules of a machine that holds copies (SAFETY H10). Pure; one for the life of its agent. */
export class StandbyRules {
  #named: RoundName | null = null;
  #list: { of: RoundName; pins: readonly RoundName[] } | null = null;

  /** Why this round is not taken; null when it is. `held`: complete on this disk. What is held already is acknowledged again. */
  whyNot(from: NodeId, { name, parent }: OfferedRound, of: RoundsOf | null, held: readonly RoundName[]): string | null {
    if (of?.host !== from) return 'rounds are taken from the host of the ledger alone';
    if (name.era !== of.era || name.epoch !== of.epoch)
      return `round ${roundText(name)} is not of the ledger's epoch, ${of.era}-${of.epoch}`;
    const texts = new Set(held.map(roundText));
    if (texts.has(roundText(name))) return null;
    const newer = held.find((one) => one.era === name.era && one.epoch === name.epoch && compareRounds(one, name) > 0);
    if (newer) return `round ${roundText(newer)} is here, and ${roundText(name)} is older`;
    if (parent && !texts.has(roundText(parent))) return `its parent ${roundText(parent)} is not whole on this disk`;
    return null;
  }

  /** An offer that is taken names what must stay, also when the round itself never becomes whole. */
  named({ name, parent }: OfferedRound, pins: readonly RoundName[]): void {
    if (!this.#list || compareRounds(name, this.#list.of) >= 0) this.#list = { of: name, pins };
    if (parent && (!this.#named || compareRounds(parent, this.#named) > 0)) this.#named = parent;
  }

  /**
   * Never thinned here: the newest parent that was named, the base of the epoch, and what the host named for all; the newest
   * round stays anyway. `held` with their parents: a restart forgets nothing.
   */
  pins(held: readonly OfferedRound[], base: RoundName | null): RoundName[] {
    const named = [this.#named, ...held.map(({ parent }) => parent)].filter((one): one is RoundName => one !== null);
    const parent = newestOf(named.map((name) => ({ name })))?.name;
    return [...(parent ? [parent] : []), ...(base ? [base] : []), ...(this.#list?.pins ?? [])];
  }
}
