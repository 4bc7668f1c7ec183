import { type Demand, demandOf } from './demand.ts';
import { elsewhereFirst } from './faults.ts';
import { type MachineView, neverReason, tightestGpus, unwillingReason } from './machine-fit.ts';
import { chosen, type Placed, placeOf, rankLength, rankOf } from './placement.ts';
import { type Claim, claimWith } from './room.ts';
import { RoomLeft } from './room-left.ts';

/**
 * What one class may choose from: the machines with room, the best first, by their place among all machines. Numbers in typed
 * arrays, as a pass over a long queue compares and moves them tens of thousands of times.
 */
interface Choice {
  demand: Demand;
  /** Of each machine: whether it takes the class where it has room. No grant changes that. */
  may: Uint8Array;
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
 * comes first, from the few numbers that grants change; but one that takes a GPU may make it a better one for jobs that need none,
 * so every class weighs it anew at once, and whole.
 */
export class Placer {
  readonly #defaultArch: string;
  readonly #machines: readonly MachineView[];
  readonly #figures: RoomLeft;
  readonly #at = new Map<string, number>();
  /** Grants so far on each machine. */
  readonly #counts: Int32Array;
  /** Of each machine, its place in the order of names, which decides where all else is equal. */
  readonly #byName: Int32Array;
  readonly #choices = new Map<string, Choice>();

  constructor(machines: readonly MachineView[], defaultArch: string) {
    this.#defaultArch = defaultArch;
    this.#machines = machines;
    this.#figures = new RoomLeft(machines);
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
    this.#figures.take(index, claim);
    this.#counts[index]! += 1;
    if (claim.gpus.length > 0) for (const choice of this.#choices.values()) this.#weighAnew(choice, index);
  }

  #choiceOf(tags: readonly string[], kept: ReadonlyMap<string, string> | undefined): Choice {
    const demand = demandOf(tags, this.#defaultArch);
    const count = this.#machines.length;
    const machines =
      kept === undefined ? this.#machines : elsewhereFirst(this.#machines, kept, tags, this.#defaultArch);
    const choice: Choice = {
      ...{ demand, may: new Uint8Array(count), isOnlyOne: false, gpus: Array(count) },
      ...{ ranks: new Float64Array(count * rankLength), weighed: new Int32Array(this.#counts) },
      ...{ order: new Int32Array(count), size: 0 },
    };
    let able = 0;
    for (let index = 0; index < count; index++) {
      const machine = machines[index]!;
      if (neverReason(demand, machine) !== null) continue;
      able += 1;
      if (unwillingReason(demand, machine) !== null) continue;
      choice.may[index] = 1;
      if (this.#rank(choice, index)) choice.order[choice.size++] = index;
    }
    choice.isOnlyOne = able === 1 && count > 1;
    choice.order.subarray(0, choice.size).sort((a, b) => this.#compare(choice, a, b));
    return choice;
  }

  /** Writes down how good a choice the machine is now; false: it has no room. */
  #rank({ demand, ranks, gpus }: Choice, index: number): boolean {
    if (!this.#figures.hasRoom(index, demand)) return false;
    const machine = this.#figures.at(index);
    const taken = tightestGpus(demand, machine);
    if (taken === null) return false;
    ranks.set(rankOf(demand, machine, taken), index * rankLength);
    gpus[index] = taken;
    return true;
  }

  /** The better one first. */
  #compare({ ranks }: Choice, a: number, b: number): number {
    for (let at = 0; at < rankLength; at++) {
      // Not their difference: of two figures beyond all measure, which a machine may tell, that is no number.
      const one = ranks[a * rankLength + at]!;
      const other = ranks[b * rankLength + at]!;
      if (one !== other) return one < other ? -1 : 1;
    }
    return this.#byName[a]! - this.#byName[b]!;
  }

  /** Sees to it that what stands at that place is as its machine is now; false: so many machines with room there are not. */
  #freshen(choice: Choice, place: number): boolean {
    const { demand, order, ranks, weighed } = choice;
    while (place < choice.size) {
      const index = order[place]!;
      if (weighed[index] === this.#counts[index]) return true;
      // Of a grant that took a GPU every class has heard already: only figures have changed.
      weighed[index] = this.#counts[index]!;
      if (this.#figures.hasRoom(index, demand)) {
        ranks[index * rankLength + placeOf.share] = this.#figures.share(index, demand);
        ranks[index * rankLength + placeOf.runs] = this.#figures.runs(index);
        const to = this.#placeBehind(choice, place, index);
        order.copyWithin(place, place + 1, to + 1);
        order[to] = index;
      } else order.copyWithin(place, place + 1, choice.size--);
    }
    return false;
  }

  /** Where the machine at that place belongs that has become a worse choice than it was. */
  #placeBehind(choice: Choice, place: number, index: number): number {
    let [low, high] = [place, choice.size - 1];
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.#compare(choice, choice.order[middle]!, index) < 0) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  /** Puts a machine of which a GPU was taken where it belongs now; nowhere, if it has no room any more. */
  #weighAnew(choice: Choice, index: number): void {
    if (choice.may[index] === 0) return;
    const { order, weighed } = choice;
    const from = this.#placeOf(choice, index);
    weighed[index] = this.#counts[index]!;
    if (from < choice.size && order[from] === index) order.copyWithin(from, from + 1, choice.size--);
    if (!this.#rank(choice, index)) return;
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
