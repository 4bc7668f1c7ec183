import { gib, listed, plural } from '../phrases.ts';
import { type Demand, gpuName, gpuSlug, meantTag, needsSentence } from './demand.ts';
import { type Fit, fitOf, type MachineView } from './machine-fit.ts';
import { didYouMean } from './near-word.ts';

export interface Placed {
  node: string;
  name: string;
  gpus: readonly string[];
  because: string;
}

/**
 * Where a demand goes, or why it goes nowhere. `never`: no machine of this mesh could take it even when idle.
 * `verdicts` has every machine, in the order given, each with its one reason.
 */
export interface Placement {
  placed: Placed | null;
  never: boolean;
  because: string;
  verdicts: readonly ({ node: string; name: string } & Fit)[];
}

/**
 * Best fit. In this order: the tightest GPU that fits (a job without GPU goes where none is kept from others), a
 * machine whose owner is away and that is idle, one that does not host GitLab, the one with the smallest share in use.
 */
export function place(demand: Demand, machines: readonly MachineView[]): Placement {
  const verdicts = machines.map((machine) => ({ node: machine.node, name: machine.name, ...fitOf(demand, machine) }));
  const [best, second] = machines
    .map((machine, index) => ({ machine, verdict: verdicts[index] as (typeof verdicts)[number] }))
    .filter(({ verdict }) => verdict.fits)
    .map(({ machine, verdict }) => optionOf(demand, machine, verdict))
    .sort(compareOptions);
  if (best === undefined) {
    const never = verdicts.every((verdict) => !verdict.ever);
    return { placed: null, never, because: waitsBecause(demand, machines, verdicts, never), verdicts };
  }
  const able = verdicts.filter((verdict) => verdict.ever).length;
  const isOnlyOne = able === 1 && machines.length > 1;
  const because = chosenBecause(best, second, isOnlyOne);
  const placed = chosen(best, second, isOnlyOne);
  const judged = verdicts.map((verdict) => (verdict.node === placed.node ? { ...verdict, because } : verdict));
  return { placed, never: false, because: placed.because, verdicts: judged };
}

/** A machine that has room, and how good a choice it is. */
export interface Option {
  machine: MachineView;
  verdict: Fit;
  rank: number[];
}

export const optionOf = (demand: Demand, machine: MachineView, verdict: Fit): Option => ({
  machine,
  verdict,
  rank: rankOf(demand, machine, verdict),
});

/** The better one first. */
export const compareOptions = (a: Option, b: Option): number =>
  compareRanks(a.rank, b.rank) || (a.machine.name < b.machine.name ? -1 : 1);

/** The best of all options, with why it is better than the second. `isOnlyOne`: no other machine could ever take it. */
export function chosen(best: Option, second: Option | undefined, isOnlyOne: boolean): Placed {
  const { node, name } = best.machine;
  return { node, name, gpus: best.verdict.gpus, because: `${name}: ${chosenBecause(best, second, isOnlyOne)}` };
}

/** Smaller is better, position by position; the positions are named in `advantages`. */
function rankOf(demand: Demand, machine: MachineView, verdict: Fit): number[] {
  const { measured, room } = machine;
  if (measured === null || room === null) return [];
  const vram = measured.capacity.gpus
    .filter((gpu) => verdict.gpus.includes(gpu.uuid))
    .reduce((total, gpu) => total + gpu.memoryBytes, 0);
  // Alone on the largest card rather than beside another job on a small one.
  const isBeside = room.gpus.some((gpu) => gpu.held !== undefined && verdict.gpus.includes(gpu.uuid));
  const keepsGpuFrom = room.gpus.some((gpu) => gpu.held === undefined && !gpu.foreign) ? 1 : 0;
  const left = (room.cpuMillis - demand.cpuMillis) / Math.max(1, measured.capacity.cpuMillis);
  return [
    verdict.gpus.length > 0 ? vram + (isBeside ? 2 ** 50 : 0) : keepsGpuFrom,
    measured.owner === 'playing' ? 2 : measured.owner === 'present' ? 1 : 0,
    measured.usedCpuMillis >= measured.capacity.cpuMillis * 0.8 ? 1 : 0,
    machine.isHost ? 1 : 0,
    1 - left,
    machine.runs,
  ];
}

function compareRanks(a: readonly number[], b: readonly number[]): number {
  for (let at = 0; at < a.length; at++) if (a[at] !== b[at]) return (a[at] ?? 0) - (b[at] ?? 0);
  return 0;
}

const advantages = [
  'keeps the GPUs of others free',
  'nobody sits at it',
  'it is idle',
  'it does not host GitLab',
  'it has the most room left',
  'it has the fewest runs',
];

function chosenBecause(best: Option, second: Option | undefined, isOnlyOne: boolean): string {
  const gpus = (best.machine.measured?.capacity.gpus ?? []).filter((gpu) => best.verdict.gpus.includes(gpu.uuid));
  const shown = listed(gpus.map((gpu) => `${gpuName(gpu.model)} (${gib(gpu.memoryBytes)})`));
  // Room does not decide where a label, a size or an architecture has done so already.
  const only = isOnlyOne ? 'the only machine that could ever take it' : 'the only machine with room';
  if (second === undefined) return gpus.length > 0 ? `the only machine with a free GPU that fits, ${shown}` : only;
  const at = best.rank.findIndex((value, index) => value !== second.rank[index]);
  if (at === 0 && gpus.length > 0) return `${shown} is the tightest free GPU that fits`;
  const why = advantages[at] ?? 'first by name, all else equal';
  return gpus.length > 0 ? `${shown} fits, and ${why}` : why;
}

function waitsBecause(
  demand: Demand,
  machines: readonly MachineView[],
  verdicts: readonly ({ name: string } & Fit)[],
  never: boolean,
): string {
  if (machines.length === 0) return 'there is no machine in this mesh that takes work';
  if (demand.impossible !== null) return `can never run: ${demand.impossible}`;
  if (never)
    return `no approved machine could ever satisfy ${needsSentence(demand)}: ${neverDetail(verdicts)}${meant(demand, machines)}`;
  const able = verdicts.filter((verdict) => verdict.ever);
  const first = able[0];
  if (able.length === 1 && first)
    return `waits for ${first.name}, the only machine that could take it: ${first.because}`;
  return `waits for room: ${plural(able.length, 'machine')} could take it, none can now`;
}

/** A tag that nobody carries may be a typing mistake. */
function meant({ names, node }: Demand, machines: readonly MachineView[]): string {
  const labels = machines.flatMap(({ measured }) =>
    measured
      ? [...measured.labels, ...measured.executors, ...measured.capacity.gpus.map(({ model }) => gpuSlug(model))]
      : [],
  );
  const all = machines.map(({ name }) => name);
  if (node !== null && !all.includes(node))
    return didYouMean(
      `node-${node}`,
      all.map((name) => `node-${name}`),
    );
  const guesses = names.filter((name) => !labels.includes(name)).map((name) => meantTag(name, labels));
  const guess = guesses.find((one) => one !== null);
  return guess ? `; did you mean ${guess}?` : '';
}

const neverDetail = (verdicts: readonly ({ name: string } & Fit)[]): string => {
  const shown = verdicts.slice(0, 3).map((verdict) => `${verdict.name} ${verdict.because}`);
  return listed(verdicts.length > 3 ? [...shown, `${verdicts.length - 3} more`] : shown);
};
