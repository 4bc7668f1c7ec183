import type { GpuRoom, Measured, Room } from '../../protocol/report.ts';
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
    .map(({ machine, verdict }) => ({ machine, verdict, rank: rankOf(demand, machine, verdict.gpus) }))
    .sort(compareOptions);
  if (best === undefined) {
    const never = verdicts.every((verdict) => !verdict.ever);
    return { placed: null, never, because: waitsBecause(demand, machines, verdicts, never), verdicts };
  }
  const able = verdicts.filter((verdict) => verdict.ever).length;
  const isOnlyOne = able === 1 && machines.length > 1;
  const better = second === undefined ? null : best.rank.findIndex((value, index) => value !== second.rank[index]);
  const because = chosenBecause(best.machine, best.verdict.gpus, better, isOnlyOne);
  const placed = chosen(best.machine, best.verdict.gpus, better, isOnlyOne);
  const judged = verdicts.map((verdict) => (verdict.node === placed.node ? { ...verdict, because } : verdict));
  return { placed, never: false, because: placed.because, verdicts: judged };
}

/** A machine that has room, and how good a choice it is. */
interface Option {
  machine: MachineView;
  verdict: Fit;
  rank: readonly number[];
}

/** The better one first. */
const compareOptions = (a: Option, b: Option): number =>
  compareRanks(a.rank, b.rank) || (a.machine.name < b.machine.name ? -1 : 1);

/**
 * The best of all options, with why it is better than the second. `gpus`: their uuids. `better`: the first position at which their
 * ranks differ, -1 at none; null: there is no second. `isOnlyOne`: no other machine could ever take it.
 */
export function chosen(
  machine: MachineView,
  gpus: readonly string[],
  better: number | null,
  isOnlyOne: boolean,
): Placed {
  const { node, name } = machine;
  return { node, name, gpus, because: `${name}: ${chosenBecause(machine, gpus, better, isOnlyOne)}` };
}

/** How many numbers a rank has. */
export const rankLength = 6;

/** How good a choice a machine with room is, with those GPUs of it. Smaller is better, position by position; the positions are named in `advantages`. */
export function rankOf(demand: Demand, machine: MachineView, gpus: readonly string[]): readonly number[] {
  const { measured, room } = machine;
  if (measured === null || room === null) return [];
  return [
    gpus.length > 0 ? takenVram(measured, room, gpus) : room.gpus.some(isFree) ? 1 : 0,
    measured.owner === 'playing' ? 2 : measured.owner === 'present' ? 1 : 0,
    measured.usedCpuMillis >= measured.capacity.cpuMillis * 0.8 ? 1 : 0,
    machine.isHost ? 1 : 0,
    shareInUse(room.cpuMillis, demand, measured.capacity.cpuMillis),
    machine.runs,
  ];
}

/** Where in a rank the two figures stand that every grant changes, also one that takes no GPU. */
export const placeOf = { share: 4, runs: 5 } as const;

/** How much of a machine's CPU is in use with the job; `freeMillis`: what is free without it. */
export const shareInUse = (freeMillis: number, { cpuMillis }: Pick<Demand, 'cpuMillis'>, ofMillis: number): number =>
  1 - (freeMillis - cpuMillis) / Math.max(1, ofMillis);

/** Nobody has it, so that a job without a GPU may keep it from others. */
const isFree = (gpu: GpuRoom): boolean => gpu.held === undefined && !gpu.foreign;

function takenVram(measured: Measured, room: Room, gpus: readonly string[]): number {
  const vram = measured.capacity.gpus
    .filter((gpu) => gpus.includes(gpu.uuid))
    .reduce((total, gpu) => total + gpu.memoryBytes, 0);
  // Alone on the largest card rather than beside another job on a small one.
  const isBeside = room.gpus.some((gpu) => gpu.held !== undefined && gpus.includes(gpu.uuid));
  return vram + (isBeside ? 2 ** 50 : 0);
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

function chosenBecause(
  machine: MachineView,
  gpus: readonly string[],
  better: number | null,
  isOnlyOne: boolean,
): string {
  // Room does not decide where a label, a size or an architecture has done so already.
  if (gpus.length === 0 && better === null)
    return isOnlyOne ? 'the only machine that could ever take it' : 'the only machine with room';
  const why = advantages[better ?? -1] ?? 'first by name, all else equal';
  if (gpus.length === 0) return why;
  const taken = (machine.measured?.capacity.gpus ?? []).filter((gpu) => gpus.includes(gpu.uuid));
  const shown = listed(taken.map((gpu) => `${gpuName(gpu.model)} (${gib(gpu.memoryBytes)})`));
  if (better === null) return `the only machine with a free GPU that fits, ${shown}`;
  return better === 0 ? `${shown} is the tightest free GPU that fits` : `${shown} fits, and ${why}`;
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
