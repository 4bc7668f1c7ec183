import type { NodeId } from '../../../protocol/ids.ts';
import { compareRounds, newestOf, type RoundName, roundText } from '../../../protocol/round-name.ts';
import type { HeldRound } from './held-rounds.ts';

/** Whose rounds are taken: as the committed ledger says. */
export interface RoundsOf {
  host: NodeId;
  era: number;
  epoch: number;
}

interface NamedRound {
  name: RoundName;
  /** What it is a difference to; null for a whole copy. */
  parent: RoundName | null;
}

interface OfferedRound extends NamedRound {
  uuid: string;
}

/** The rules of a machine that holds copies (SAFETY H10). Pure; one for the life of its agent. */
export class StandbyRules {
  #named: RoundName | null = null;
  #promised: { epoch: number; name: RoundName } | null = null;
  #list: { of: RoundName; pins: readonly RoundName[] } | null = null;

  /** Why this round is not taken; null when it is. `held`: complete on this disk. What is held already is acknowledged again. */
  whyNot(
    from: NodeId,
    { name, parent, uuid }: OfferedRound,
    of: RoundsOf | null,
    held: readonly HeldRound[],
  ): string | null {
    if (of?.host !== from) return 'rounds are taken from the host of the ledger alone';
    if (name.era !== of.era || name.epoch !== of.epoch)
      return `round ${roundText(name)} is not of the ledger's epoch, ${of.era}-${of.epoch}`;
    const uuids = new Map(held.map((one) => [roundText(one.name), one.uuid]));
    // Of a time from which the host's disk fell back: acknowledged for the one that is offered, its pushes would be nowhere.
    if (uuids.has(roundText(name)))
      return uuids.get(roundText(name)) === uuid ? null : `another round is here under the name ${roundText(name)}`;
    const newer = held.find(
      (one) => one.name.era === name.era && one.name.epoch === name.epoch && compareRounds(one.name, name) > 0,
    );
    if (newer) return `round ${roundText(newer.name)} is here, and ${roundText(name)} is older`;
    if (parent && !uuids.has(roundText(parent))) return `its parent ${roundText(parent)} is not whole on this disk`;
    return null;
  }

  /** An offer that is taken names what must stay, also when the round itself never becomes whole. */
  named({ name, parent }: NamedRound, pins: readonly RoundName[]): void {
    if (!this.#list || compareRounds(name, this.#list.of) >= 0) this.#list = { of: name, pins };
    if (parent && (!this.#named || compareRounds(parent, this.#named) > 0)) this.#named = parent;
  }

  /** The leader was told: the epoch after this one may begin with it. */
  promise(epoch: number, name: RoundName): void {
    this.#promised = { epoch, name };
  }

  /**
   * Never thinned here: the newest parent that was named, the base of the epoch, what the host named for all, and what was promised in the epoch of now; the newest
   * round stays anyway. `held` with their parents: a restart forgets nothing.
   */
  pins(held: readonly NamedRound[], base: RoundName | null, epoch: number): RoundName[] {
    const named = [this.#named, ...held.map(({ parent }) => parent)].filter((one): one is RoundName => one !== null);
    const parent = newestOf(named.map((name) => ({ name })))?.name;
    const promised = this.#promised?.epoch === epoch ? [this.#promised.name] : [];
    return [...(parent ? [parent] : []), ...(base ? [base] : []), ...promised, ...(this.#list?.pins ?? [])];
  }
}
