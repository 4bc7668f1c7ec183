import { type Demand, demandOf } from './demand.ts';
import { elsewhereFirst } from './faults.ts';
import { fitOf, type MachineView } from './machine-fit.ts';
import { booked } from './machines.ts';
import { chosen, compareOptions, type Option, optionOf, type Placed } from './placement.ts';
import type { Claim } from './room.ts';

/** How a machine was as a choice after so many grants to it: what is not its last word is left where it stands until it comes first. */
type Weighed = Option & { index: number; after: number };

/** What one class may choose from. */
interface Choice {
  demand: Demand;
  machines: readonly MachineView[];
  /** The best last. */
  options: Weighed[];
  /** After how many grants each machine was weighed last. */
  last: number[];
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
  readonly #counts: number[];
  readonly #choices = new Map<string, Choice>();

  constructor(machines: readonly MachineView[], defaultArch: string) {
    this.#defaultArch = defaultArch;
    this.#machines = [...machines];
    this.#counts = machines.map(() => 0);
    for (const [index, { node }] of machines.entries()) this.#at.set(node, index);
  }

  /** Where the next job of that class goes; null: nowhere now. `kept`: machines that the class is kept from, the same at each call. */
  choose(key: string, tags: readonly string[], kept: ReadonlyMap<string, string> | undefined): Placed | null {
    let choice = this.#choices.get(key);
    if (choice === undefined) {
      choice = this.#choiceOf(tags, kept);
      this.#choices.set(key, choice);
    }
    const best = this.#fresh(choice, 1);
    if (best === undefined) return null;
    const second = this.#fresh(choice, 2);
    return chosen(best, second, choice.isOnlyOne);
  }

  /** A grant takes so much of that machine. */
  book(node: string, claim: Claim): void {
    const index = this.#at.get(node);
    if (index === undefined) return;
    this.#machines[index] = booked(this.#machines[index] as MachineView, claim);
    this.#counts[index] = (this.#counts[index] ?? 0) + 1;
    if (claim.gpus.length > 0) for (const choice of this.#choices.values()) this.#weigh(choice, index);
  }

  #choiceOf(tags: readonly string[], kept: ReadonlyMap<string, string> | undefined): Choice {
    const demand = demandOf(tags, this.#defaultArch);
    const machines = elsewhereFirst(this.#machines, kept, tags, this.#defaultArch);
    const choice: Choice = { demand, machines, options: [], last: [...this.#counts], isOnlyOne: false };
    let able = 0;
    for (const [index, machine] of machines.entries()) {
      const fit = fitOf(demand, machine);
      if (fit.ever) able += 1;
      if (fit.fits) choice.options.push({ ...optionOf(demand, machine, fit), index, after: this.#count(index) });
    }
    choice.isOnlyOne = able === 1 && machines.length > 1;
    choice.options.sort((a, b) => compareOptions(b, a));
    return choice;
  }

  #count(index: number): number {
    return this.#counts[index] ?? 0;
  }

  /** The option that is so many from the end, as its machine is now; undefined: there are not so many. */
  #fresh(choice: Choice, fromEnd: number): Option | undefined {
    for (;;) {
      const at = choice.options.length - fromEnd;
      const option = choice.options[at];
      if (option === undefined || option.after === this.#count(option.index)) return option;
      choice.options.splice(at, 1);
      if (choice.last[option.index] !== this.#count(option.index)) this.#weigh(choice, option.index);
    }
  }

  /** Puts a machine where it belongs among the options now; nowhere, if it has no room any more. */
  #weigh({ options, demand, machines, last }: Choice, index: number): void {
    const after = this.#count(index);
    last[index] = after;
    const now = this.#machines[index] as MachineView;
    // Kept from this class, if it is, by the same word.
    const { away } = machines[index] as MachineView;
    const machine = away === now.away ? now : { ...now, away };
    const fit = fitOf(demand, machine);
    if (!fit.fits) return;
    const option = { ...optionOf(demand, machine, fit), index, after };
    let [low, high] = [0, options.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (compareOptions(options[middle] as Option, option) > 0) low = middle + 1;
      else high = middle;
    }
    options.splice(low, 0, option);
  }
}
