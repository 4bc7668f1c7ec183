import { type Demand, demandOf } from './demand.ts';
import { elsewhereFirst } from './faults.ts';
import { fitNow, fitOf, type MachineView } from './machine-fit.ts';
import { booked } from './machines.ts';
import { chosen, type Placed, rankLength, rankOf } from './placement.ts';
import { type Claim, claimWith } from './room.ts';

/**
 * What one class may choose from: the machines with room, the best first, by their place among all machines. Numbers in typed
 * arrays, as a pass over a long queue compares and moves them tens of thousands of times.
 */
interface Choice {
  demand: Demand;
  /** Why this class cannot have a machine now, where it is kept from some; null: nothing but what all classes are told. */
  away: readonly (string | null)[] | null;
  /** Of each machine: whether it could ever take the class. */
  ever: Uint8Array;
  /** Of each machine with room: how good a choice it is, `rankLength` numbers each. */
  ranks: Float64Array;
  gpus: (readonly string[])[];
  /** After how many grants each machine was weighed last. */
  weighed: Int32Array;
  /** The first `size` are in use. */
  order: Int32Array;
  size: number;
  isOnlyOne: boolean;
}

/**
 * One pass over the queue: chooses as `place` does (placement.ts), for many jobs of few classes on many machines. A class weighs all
 * machines once, and then only what grants have changed. What a grant takes makes a machine a worse choice, which is seen when it
 * comes first; but one that takes a GPU may make it a better one for jobs that need none, so every class weighs it anew at once.
 */
export class Placer {
  readonly #defaultArch: string;
  readonly #machines: MachineView[];
  readonly #at = new Map<string, number>();
  /** Grants so far on each machine. */
  readonly #counts: Int32Array;
  /** Of each machine, its place in the order of names, which decides where all else is equal. */
  readonly #byName: Int32Array;
  readonly #choices = new Map<string, Choice>();

  constructor(machines: readonly MachineView[], defaultArch: string) {
    this.#defaultArch = defaultArch;
    this.#machines = [...machines];
    this.#counts = new Int32Array(machines.length);
    this.#byName = new Int32Array(machines.length);
    const names = machines.map(({ name }, index) => ({ name, index }));
    for (const [place, { index }] of names.sort((a, b) => (a.name < b.name ? -1 : 1)).entries())
      this.#byName[index] = place;
    for (const [index, { node }] of machines.entries()) this.#at.set(node, index);
  }

  /** Where the next job of that class goes; null: nowhere now. `kept`: machines that the class is kept from, the same at each call. */
  choose(key: string, tags: readonly string[], kept: ReadonlyMap<string, string> | undefined): Placed | null {
    let choice = this.#choices.get(key);
    if (choice === undefined) {
      choice = this.#choiceOf(tags, kept);
      this.#choices.set(key, choice);
    }
    if (!this.#freshen(choice, 0)) return null;
    const best = choice.order[0]!;
    const hasSecond = this.#freshen(choice, 1);
    const better = hasSecond ? differingAt(choice, best, choice.order[1]!) : null;
    return chosen(this.#machines[best]!, choice.gpus[best]!, better, choice.isOnlyOne);
  }

  /** A grant of that id for that class takes what it asks for of the machine that `choose` named. */
  take(key: string, { node, gpus }: Placed, id: string): Claim {
    const { demand } = this.#choices.get(key)!;
    const claim = claimWith(demand, { by: `grant ${id}`, id, gpus });
    this.#book(node, claim);
    return claim;
  }

  #book(node: string, claim: Claim): void {
    const index = this.#at.get(node);
    if (index === undefined) return;
    this.#machines[index] = booked(this.#machines[index]!, claim);
    this.#counts[index]! += 1;
    if (claim.gpus.length > 0) for (const choice of this.#choices.values()) this.#weighAnew(choice, index);
  }

  #choiceOf(tags: readonly string[], kept: ReadonlyMap<string, string> | undefined): Choice {
    const demand = demandOf(tags, this.#defaultArch);
    const machines = elsewhereFirst(this.#machines, kept, tags, this.#defaultArch);
    const count = machines.length;
    const choice: Choice = {
      ...{ demand, away: kept === undefined ? null : machines.map(({ away }) => away), isOnlyOne: false },
      ...{ ever: new Uint8Array(count), ranks: new Float64Array(count * rankLength), gpus: Array(count) },
      ...{ weighed: new Int32Array(this.#counts), order: new Int32Array(count), size: 0 },
    };
    let able = 0;
    for (let index = 0; index < count; index++) {
      const machine = machines[index]!;
      const fit = fitOf(demand, machine);
      if (fit.ever) able += choice.ever[index] = 1;
      if (fit.fits) this.#rank(choice, machine, index, fit.gpus);
      if (fit.fits) choice.order[choice.size++] = index;
    }
    choice.isOnlyOne = able === 1 && count > 1;
    choice.order.subarray(0, choice.size).sort((a, b) => this.#compare(choice, a, b));
    return choice;
  }

  #rank({ demand, ranks, gpus }: Choice, machine: MachineView, index: number, taken: readonly string[]): void {
    const rank = rankOf(demand, machine, taken);
    for (let at = 0; at < rankLength; at++) ranks[index * rankLength + at] = rank[at]!;
    gpus[index] = taken;
  }

  /** The better one first. */
  #compare({ ranks }: Choice, a: number, b: number): number {
    const [ofA, ofB] = [a * rankLength, b * rankLength];
    for (let at = 0; at < rankLength; at++) {
      // Not their difference: of two figures beyond all measure, which a machine may tell, that is no number.
      const [one, other] = [ranks[ofA + at]!, ranks[ofB + at]!];
      if (one !== other) return one < other ? -1 : 1;
    }
    return this.#byName[a]! - this.#byName[b]!;
  }

  /** Sees to it that what stands at that place is as its machine is now; false: so many machines with room there are not. */
  #freshen(choice: Choice, place: number): boolean {
    while (place < choice.size) {
      const index = choice.order[place]!;
      if (choice.weighed[index] === this.#counts[index]) return true;
      this.#weighAnew(choice, index);
    }
    return false;
  }

  /** Puts a machine where it belongs now; nowhere, if it has no room any more. */
  #weighAnew(choice: Choice, index: number): void {
    if (choice.ever[index] === 0) return;
    const { demand, away, order, weighed } = choice;
    const from = this.#placeOf(choice, index);
    const wasThere = from < choice.size && order[from] === index;
    weighed[index] = this.#counts[index]!;
    const now = this.#machines[index]!;
    // Kept from this class, if it is, by the same word.
    const machine = away === null || away[index] === now.away ? now : { ...now, away: away[index]! };
    const fit = fitNow(demand, machine);
    if (wasThere) order.copyWithin(from, from + 1, choice.size--);
    if (!fit.fits) return;
    this.#rank(choice, machine, index, fit.gpus);
    const to = this.#placeOf(choice, index);
    order.copyWithin(to + 1, to, choice.size++);
    order[to] = index;
  }

  /** Where a machine stands among those with room, or would, by its rank as it is written down. */
  #placeOf(choice: Choice, index: number): number {
    let [low, high] = [0, choice.size];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#compare(choice, choice.order[middle]!, index) < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

/** Where two ranks differ first; -1: nowhere. */
function differingAt({ ranks }: Choice, a: number, b: number): number {
  for (let at = 0; at < rankLength; at++) if (ranks[a * rankLength + at] !== ranks[b * rankLength + at]) return at;
  return -1;
}
