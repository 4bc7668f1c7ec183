import { own } from '../../protocol/ids.ts';
import type { Gpu, GpuRoom, Measured, Room } from '../../protocol/report.ts';
import { cores, gib, gibNumber, listed, plural } from '../phrases.ts';
import { archName, type Demand, gpuName, gpuSlug, vramFits } from './demand.ts';
import { lackingRuntime, runtimeFor } from './runtimes.ts';

/** One machine as placement sees it: what it is, and what is left of it after everything that is booked. */
export interface MachineView {
  node: string;
  name: string;
  /** null until its first report. */
  measured: Measured | null;
  room: Room | null;
  /** Who has a GPU, in words, by uuid: "run 4813 has had it for 12 min". */
  holders: Readonly<Record<string, string>>;
  /** Runs, reservations and grants. */
  runs: number;
  witness: boolean;
  drained: boolean;
  /** Why it cannot be asked now: silent, dead, left, not heard, just refused; null when it can. */
  away: string | null;
  /** True when GitLab itself runs here. */
  isHost: boolean;
}

/** `ever`: could this machine take it if it were idle and willing? `because` is the one reason, without the name. */
export interface Fit {
  fits: boolean;
  ever: boolean;
  gpus: readonly string[];
  because: string;
}

/** The one reason why this machine cannot take the demand, or the GPUs with which it can. */
export function fitOf(demand: Demand, machine: MachineView): Fit {
  const never = neverReason(demand, machine);
  if (never !== null) return { fits: false, ever: false, gpus: [], because: never };
  const wait = unwillingReason(demand, machine) ?? roomReason(demand, machine);
  if (wait !== null) return { fits: false, ever: true, gpus: [], because: wait };
  const gpus = tightestGpus(demand, machine);
  if (gpus === null) return { fits: false, ever: true, gpus: [], because: gpuReason(demand, machine) };
  return { fits: true, ever: true, gpus, because: 'has room' };
}

const carries = (measured: Measured, name: string): boolean =>
  measured.labels.includes(name) || measured.executors.includes(name) || isExecutorAway(measured, name);
/** A machine names no executor while none can begin a job: who asks for one by name waits for it. */
const isExecutorAway = (measured: Measured, name: string): boolean =>
  measured.executors.length === 0 && measured.workProblems !== undefined && (name === 'docker' || name === 'process');

/** Names that only a GPU's model can answer on this machine. */
const models = (demand: Demand, measured: Measured): string[] =>
  demand.names.filter((name) => !carries(measured, name)).map((name) => name.toLowerCase());

const gpusNeeded = (demand: Demand, measured: Measured): number =>
  demand.names.length === 0 ? demand.gpus : Math.max(demand.gpus, models(demand, measured).length > 0 ? 1 : 0);

const gpuMatches = (demand: Demand, wanted: readonly string[], gpu: Gpu): boolean =>
  (demand.vendor === null || gpu.vendor === demand.vendor) &&
  vramFits(gpu.memoryBytes, demand.vramBytes) &&
  wanted.every((model) => gpuSlug(gpu.model) === model);

/** Why it could not take the demand if it were idle and willing; null when it could. */
export function neverReason(demand: Demand, machine: MachineView): string | null {
  if (demand.impossible !== null) return demand.impossible;
  if (machine.witness) return 'is a witness: it votes, but takes no work';
  if (demand.node !== null && demand.node !== machine.name) return `is not ${demand.node}`;
  const { measured } = machine;
  if (measured === null) return null;
  const arch = archName(measured.arch);
  if (arch !== demand.arch) return `is ${arch}, and the job needs ${demand.arch}`;
  const hasModel = (name: string): boolean =>
    measured.capacity.gpus.some((gpu) => gpuSlug(gpu.model) === name.toLowerCase());
  const missing = demand.names.find(
    (name) =>
      !carries(measured, name) && !isExecutorAway(measured, name) && !hasModel(name) && !mayBeBroken(measured, name),
  );
  if (missing !== undefined)
    return looksLikeGpu.test(missing) ? `has no GPU ${missing}` : `does not have the label ${missing}`;
  const gpu = neverGpuReason(demand, measured);
  if (gpu !== null) return gpu;
  // While its engine is away nobody knows what it has.
  if (demand.isolation.length > 0 && measured.executors.length > 0 && runtimeOf(demand, measured) === null)
    return `has no engine with a runtime ${lackingRuntime(demand.isolation)}`;
  const { cpuMillis, memoryBytes, diskBytes } = measured.capacity;
  if (cpuMillis < demand.cpuMillis) return `has ${cores(cpuMillis)} CPU, and the job needs ${cores(demand.cpuMillis)}`;
  const memory = memoryBytes - measured.reserveMemoryBytes;
  if (memory < demand.memoryBytes)
    return `has ${gib(Math.max(0, memory))} of memory for jobs, and the job needs ${gib(demand.memoryBytes)}`;
  if (diskBytes < demand.diskBytes) return `has ${gib(diskBytes)} of disk, and the job needs ${gib(demand.diskBytes)}`;
  return null;
}

const runtimeOf = ({ isolation }: Demand, { runtimes = [] }: Measured): string | null =>
  runtimeFor(isolation, runtimes);

const looksLikeGpu = /^(?:geforce-|quadro-)?(?:rtx|gtx|rx|arc|tesla|quadro|titan|radeon|mi)-?[a-z]?\d/i;
const vendorNames = { nvidia: 'NVIDIA', amd: 'AMD', intel: 'Intel' } as const;

/** A driver that does not answer does not name its cards either: who asks for one waits for the driver. */
const mayBeBroken = (measured: Measured, name: string): boolean =>
  gpuProblem(measured) !== null && looksLikeGpu.test(name);
const gpuProblem = (measured: Measured): string | null => measured.gpuProblems?.[0] ?? null;

function neverGpuReason(demand: Demand, measured: Measured): string | null {
  const needed = gpusNeeded(demand, measured);
  if (needed === 0 || gpuProblem(measured) !== null) return null;
  const all = measured.capacity.gpus;
  if (all.length === 0) return 'has no GPU';
  const ofVendor = all.filter((gpu) => demand.vendor === null || gpu.vendor === demand.vendor);
  if (ofVendor.length === 0) return `has no ${vendorNames[demand.vendor ?? 'nvidia']} GPU`;
  const fitting = all.filter((gpu) => gpuMatches(demand, models(demand, measured), gpu));
  if (fitting.length >= needed) return null;
  const largest = Math.max(...ofVendor.map((gpu) => gpu.memoryBytes));
  if (!vramFits(largest, demand.vramBytes)) return `has no GPU of more than ${gib(largest)}`;
  if (fitting.length === 0) return `has no single GPU with all of ${listed(demand.tags)}`;
  return `has ${plural(fitting.length, 'GPU')} that would fit, and the job needs ${needed}`;
}

/** Why it takes no such job now, whatever room it has; null when it would. */
export function unwillingReason(demand: Demand, machine: MachineView): string | null {
  if (machine.away !== null) return machine.away;
  const { measured, room } = machine;
  if (measured === null || room === null) return 'has not reported yet';
  if (!measured.healthy) return `is unhealthy: ${measured.unhealthyBecause ?? 'it does not say why'}`;
  if (machine.drained) return 'is drained: it takes no new work';
  if (measured.paused === 'all') return measured.pausedBecause ?? 'is paused by its owner';
  const [problem] = measured.workProblems ?? [];
  if (problem) return `takes no jobs now: ${problem.sentence}`;
  if (measured.executors.length === 0) return 'has no executor: Docker does not answer and process is not switched on';
  if (demand.isolation.length > 0 && runtimeOf(demand, measured) === null)
    return `has no engine with a runtime ${lackingRuntime(demand.isolation)}`;
  if (gpusNeeded(demand, measured) > 0) {
    if (measured.paused === 'gpu') return measured.pausedBecause ?? 'its owner wants its GPU: no GPU work';
    if (measured.owner === 'playing') return playsSentence(measured);
  }
  return null;
}

/** Why an owner who plays keeps GPU work away. */
export const playsSentence = ({ pausedBecause, plays }: Measured): string =>
  pausedBecause ?? `owner is playing${plays === undefined ? '' : ` (${plays})`}: no GPU work`;

function roomReason(demand: Demand, { measured, room, runs }: MachineView): string | null {
  if (measured === null || room === null) return 'has not reported yet';
  if (measured.maxRuns !== null && runs >= measured.maxRuns) return `already has ${plural(runs, 'run')}, its limit`;
  if (room.cpuMillis < demand.cpuMillis)
    return `has ${cores(room.cpuMillis)} of ${cores(measured.capacity.cpuMillis)} CPU free, and the job needs ${cores(demand.cpuMillis)}`;
  if (room.memoryBytes < demand.memoryBytes)
    return `has ${gibNumber(room.memoryBytes)} of ${gib(measured.capacity.memoryBytes)} of memory free, and the job needs ${gib(demand.memoryBytes)}`;
  if (room.diskBytes < demand.diskBytes)
    return `has ${gib(room.diskBytes)} of disk free, and the job needs ${gib(demand.diskBytes)}`;
  return null;
}

/** Of a GPU's memory a desktop's own windows may have some; a GPU with less free than this share is not free. */
const freeShare = 0.85;

const roomFor = (gpu: Gpu, room: Room): GpuRoom | undefined => room.gpus.find((other) => other.uuid === gpu.uuid);

/** Uuids of the tightest free GPUs that fit: smallest first, then the least busy. Null: so many are not free now. */
export function tightestGpus(demand: Demand, machine: MachineView): readonly string[] | null {
  const { measured, room } = machine;
  if (measured === null || room === null) return null;
  const needed = gpusNeeded(demand, measured);
  if (needed === 0) return [];
  const wanted = models(demand, measured);
  const free = measured.capacity.gpus.filter(
    (gpu) => gpuMatches(demand, wanted, gpu) && gpuBusyReason(demand, gpu, room, machine) === null,
  );
  if (free.length < needed) return null;
  const sharing = (gpu: Gpu): number => (roomFor(gpu, room)?.held === undefined ? 0 : 1);
  if (free.length > 1)
    free.sort(
      (a, b) =>
        sharing(a) - sharing(b) ||
        a.memoryBytes - b.memoryBytes ||
        (roomFor(a, room)?.busyPercent ?? 0) - (roomFor(b, room)?.busyPercent ?? 0),
    );
  return free.slice(0, needed).map(({ uuid }) => uuid);
}

/** Why `tightestGpus` found none. */
function gpuReason(demand: Demand, machine: MachineView): string {
  const { measured, room } = machine;
  if (measured === null || room === null) return 'has not reported yet';
  const needed = gpusNeeded(demand, measured);
  const wanted = models(demand, measured);
  const fitting = measured.capacity.gpus.filter((gpu) => gpuMatches(demand, wanted, gpu));
  const reasonOf = (gpu: Gpu): string | null => gpuBusyReason(demand, gpu, room, machine);
  const busy = fitting.find((gpu) => reasonOf(gpu) !== null);
  const reason = busy ? reasonOf(busy) : null;
  const problem = gpuProblem(measured);
  if (problem !== null && fitting.length < needed) return `its GPUs do not all work: ${problem}`;
  if (needed > 1) {
    const free = fitting.filter((gpu) => reasonOf(gpu) === null);
    return `has ${free.length} of ${needed} GPUs free: its ${gpuName(busy?.model ?? '')} ${reason}`;
  }
  if (measured.capacity.gpus.length === 1) return `its only GPU ${reason}`;
  if (fitting.length === 1) return `its ${gpuName(busy?.model ?? '')}, the only GPU that fits, ${reason}`;
  return `all ${fitting.length} GPUs that fit are taken: its ${gpuName(busy?.model ?? '')} ${reason}`;
}

/** So many runs at most have one GPU: more would each be too slow for whoever waits for it. */
const mostOnOne = 2;

/** Another may have it too: the owner shares his GPUs, and all of them say how much of its memory they need. */
const mayShare = (
  demand: Demand,
  gpu: Gpu,
  { shared }: Pick<GpuRoom, 'shared'>,
  { measured }: Pick<MachineView, 'measured'>,
): boolean =>
  measured?.sharesGpus === true &&
  demand.vramBytes > 0 &&
  shared !== undefined &&
  shared.runs < mostOnOne &&
  vramFits(gpu.memoryBytes - shared.bytes, demand.vramBytes);

function gpuBusyReason(demand: Demand, gpu: Gpu, all: Room, machine: MachineView): string | null {
  const room = roomFor(gpu, all);
  if (room === undefined) return 'is not measured';
  if (room.problem !== undefined) return `does not work: ${room.problem}`;
  const isHeld = room.held !== undefined && !mayShare(demand, gpu, room, machine);
  if (!isHeld && !room.foreign && room.memoryBytes >= demand.vramBytes * freeShare) return null;
  const free = `has ${gibNumber(room.memoryBytes)} of ${gib(gpu.memoryBytes)} free`;
  if (isHeld) return `${free}: ${own(machine.holders, gpu.uuid) ?? 'another run has it'}`;
  return room.foreign ? `${free}: ${room.usedBy ?? 'another program'} of its owner uses it` : free;
}
