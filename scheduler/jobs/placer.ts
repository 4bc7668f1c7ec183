import { type Demand, demandOf } from './demand.ts';
import { elsewhereFirst } from './faults.ts';
import { type MachineView, neverReason, tightestGpus, unwillingReason } from './machine-fit.ts';
import { chosen, type Placed, placeOf, rankLength, rankOf } from './placement.ts';
import { type Claim, claimWith } from './room.ts';
import { RoomLeft } from './room-left.ts';

/**
 * What one class may choose from: the machines with room, by their place among all machines. Numbers in typed arrays, as a pass
 * over a long queue compares and moves them tens of thousands of times.
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
  /** A binary heap, the best first: only the two best are ever asked for. The first `size` are in use. */
  heap: Int32Array;
  size: number;
  /** Of each machine, where it stands in the heap; -1: nowhere. */
  places: Int32Array;
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
    while (choice.size > 0 && this.#freshen(choice, 0));
    if (choice.size === 0) return null;
    const best = choice.heap[0]!;
    let second = this.#second(choice);
    while (second !== null && this.#freshen(choice, second)) second = this.#second(choice);
    const better = second === null ? null : differingAt(choice, best, choice.heap[second]!);
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
      ...{ heap: new Int32Array(count), size: 0, places: new Int32Array(count).fill(-1) },
    };
    let able = 0;
    for (let index = 0; index < count; index++) {
      const machine = machines[index]!;
      if (neverReason(demand, machine) !== null) continue;
      able += 1;
      if (unwillingReason(demand, machine) !== null) continue;
      choice.may[index] = 1;
      if (this.#rank(choice, index)) set(choice, choice.size++, index);
    }
    choice.isOnlyOne = able === 1 && count > 1;
    for (let place = (choice.size >> 1) - 1; place >= 0; place--) this.#sink(choice, place);
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

  /** Where the second best stands; null: there is none. */
  #second(choice: Choice): number | null {
    const { heap, size } = choice;
    if (size < 2) return null;
    return size === 2 || this.#compare(choice, heap[1]!, heap[2]!) < 0 ? 1 : 2;
  }

  /** Moves the machine at that place to where it belongs, if grants have changed it since it was weighed; false: they have not. */
  #freshen(choice: Choice, place: number): boolean {
    const { demand, heap, ranks, weighed } = choice;
    const index = heap[place]!;
    if (weighed[index] === this.#counts[index]) return false;
    // Of a grant that took a GPU every class has heard already: only figures have changed, and for the worse.
    weighed[index] = this.#counts[index]!;
    if (this.#figures.hasRoom(index, demand)) {
      ranks[index * rankLength + placeOf.share] = this.#figures.share(index, demand);
      ranks[index * rankLength + placeOf.runs] = this.#figures.runs(index);
      this.#sink(choice, place);
    } else this.#remove(choice, place);
    return true;
  }

  /** Puts a machine of which a GPU was taken where it belongs now; nowhere, if it has no room any more. */
  #weighAnew(choice: Choice, index: number): void {
    if (choice.may[index] === 0) return;
    choice.weighed[index] = this.#counts[index]!;
    const place = choice.places[index]!;
    if (!this.#rank(choice, index)) {
      if (place >= 0) this.#remove(choice, place);
      return;
    }
    if (place < 0) set(choice, choice.size++, index);
    this.#rise(choice, choice.places[index]!);
    this.#sink(choice, choice.places[index]!);
  }

  #remove(choice: Choice, place: number): void {
    const { heap, places } = choice;
    places[heap[place]!] = -1;
    const last = heap[--choice.size]!;
    if (place === choice.size) return;
    set(choice, place, last);
    this.#rise(choice, place);
    this.#sink(choice, places[last]!);
  }

  /** Moves it down until nothing below it is better. */
  #sink(choice: Choice, from: number): void {
    const { heap, size } = choice;
    const index = heap[from]!;
    let place = from;
    for (;;) {
      let below = 2 * place + 1;
      if (below >= size) break;
      if (below + 1 < size && this.#compare(choice, heap[below + 1]!, heap[below]!) < 0) below += 1;
      if (this.#compare(choice, index, heap[below]!) < 0) break;
      set(choice, place, heap[below]!);
      place = below;
    }
    set(choice, place, index);
  }

  /** Moves it up until what is above it is better. */
  #rise(choice: Choice, from: number): void {
    const { heap } = choice;
    const index = heap[from]!;
    let place = from;
    while (place > 0) {
      const above = (place - 1) >> 1;
      if (this.#compare(choice, heap[above]!, index) < 0) break;
      set(choice, place, heap[above]!);
      place = above;
    }
    set(choice, place, index);
  }
}

function set({ heap, places }: Choice, place: number, index: number): void {
  heap[place] = index;
  places[index] = place;
}

/** Where two ranks differ first; -1: nowhere. */
function differingAt({ ranks }: Choice, a: number, b: number): number {
  for (let at = 0; at < rankLength; at++) if (ranks[a * rankLength + at] !== ranks[b * rankLength + at]) return at;
  return -1;
}
