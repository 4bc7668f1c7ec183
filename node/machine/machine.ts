import { readFileSync } from 'node:fs';
import { statfs } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { limits } from '../../protocol/limits.ts';
import type { Measured } from '../../protocol/report.ts';
import { archName } from '../../scheduler/jobs/demand.ts';
import { type Clock, systemClock } from '../clock.ts';
import { diskOf } from '../disk-use.ts';
import type { Machine } from '../ports.ts';
import type { PlayedGpu } from '../settings/settings.ts';
import { CpuLoad } from './cpu-load.ts';
import type { GpuSample } from './gpu-nvidia.ts';
import { type OwnersUse, ownersUse, playLastsMs } from './gpu-owner.ts';
import { playedGpus } from './gpu-played.ts';
import { areAsleep, type SysfsPaths, sysfsGpus, sysfsPaths } from './gpu-sysfs.ts';
import { memory } from './memory.ts';
import { NvidiaSmi } from './nvidia-smi.ts';
import { type OwnerPlaces, OwnerSignals } from './owner-signals.ts';
import { parentOf } from './processes.ts';

export interface MachineOptions {
  /** The disk of this folder is the one that jobs fill. */
  folder: string;
  labels: readonly string[];
  /** Caches of its jobs are for other machines, too. */
  sharesCaches?: boolean;
  /** Executors that work here. */
  executors: readonly string[];
  /** Those of them that work at this moment; without it all. */
  workingExecutors?: () => readonly string[];
  /** Why none of them begins a job now. */
  workProblems?: () => NonNullable<Measured['workProblems']>;
  maxRuns: number | null;
  reserveMemoryBytes: number;
  playGpus: readonly PlayedGpu[];
  /** What the owner switched off by hand; the agent keeps it. */
  pause?: () => { paused: Measured['paused']; because: string | null };
  /** A sentence while the store cannot be written, else null. */
  storeProblem?: () => string | null;
  /** Runtimes by which jobs can be isolated here. */
  runtimes?: () => readonly string[];
  /** Why jobs cannot be given this machine's NVIDIA cards, though the driver works; else null. */
  gpuProblem?: () => string | null;
  /** Pids of what runs here with a GPU; none of them, nor a child of theirs, is a program of the owner. */
  gpuProcesses?: () => Promise<ReadonlySet<number>>;
  clock?: Clock;
  /** Two runs may have one GPU. */
  sharesGpus?: boolean;
  /** A full-screen window counts as play. */
  seesFullScreen?: boolean;
  /** For tests: other roots of /sys and of what the desktop tells, and another nvidia-smi. */
  sysfs?: SysfsPaths;
  nvidiaSmi?: string;
  sessions?: string;
  desktop?: Partial<OwnerPlaces>;
}

/** GPUs are asked so often, in ms: nvidia-smi costs some 50 ms of CPU. */
const gpuEveryMs = 10_000;
/** A disk with less than this share free: nothing new may begin here. */
const leastDiskShare = 0.01;

/** `Debian GNU/Linux 12 (bookworm)`, and that it is WSL where it is. */
export function osName(release: string, kernel: string): string {
  const name = /^PRETTY_NAME="?([^"\n]*)"?$/m.exec(release)?.[1] ?? 'Linux';
  return (/microsoft/i.test(kernel) ? `${name} (WSL2)` : name).slice(0, 64);
}

/** Capacity and load of this computer, GPUs included. Measuring every 2 s costs less than 1 % of a core. */
export function createMachine(options: MachineOptions): Machine {
  const clock = options.clock ?? systemClock();
  const gpus = new Gpus(options, clock);
  const cpu = new CpuLoad();
  const os = osName(readOr('/etc/os-release'), readOr('/proc/sys/kernel/osrelease'));
  return {
    bootMs: clock.bootMs,
    bootId: clock.bootId,
    async measure() {
      const [load, { total, available }, disk, looked] = await Promise.all([
        cpu.percent(),
        memory(),
        diskAt(options.folder),
        gpus.look(),
      ]);
      const graphics = kept(looked, options.gpuProblem?.() ?? null);
      const cpuMillis = availableParallelism() * 1000;
      const memoryBytes = Math.min(total, cgroupMemory());
      const { paused, because } = options.pause?.() ?? { paused: 'no' as const, because: null };
      const workProblems = options.workProblems?.() ?? [];
      const unhealthyBecause = options.storeProblem?.() ?? diskProblem(disk);
      return {
        arch: archName(process.arch),
        os,
        capacity: { cpuMillis, memoryBytes, diskBytes: disk.total, gpus: graphics.samples.map(({ gpu }) => gpu) },
        usedCpuMillis: Math.min(cpuMillis, Math.max(0, Math.round((cpuMillis * load) / 100))),
        usedMemoryBytes: Math.min(memoryBytes, Math.max(0, total - available)),
        usedDiskBytes: disk.total - disk.free,
        gpus: graphics.samples.map((sample) => gpuLoad(sample, graphics.used.get(sample.gpu.uuid))),
        ...(graphics.problems.length > 0 ? { gpuProblems: graphics.problems } : {}),
        ...(workProblems.length > 0 ? { workProblems: workProblems.slice(0, 8) } : {}),
        labels: [...options.labels],
        executors: [...(options.workingExecutors?.() ?? options.executors)],
        ...(options.sharesGpus ? { sharesGpus: true as const } : {}),
        ...runtimesTold(options.runtimes?.() ?? []),
        maxRuns: options.maxRuns,
        ...(options.sharesCaches && options.executors.length > 0 ? { caches: true as const } : {}),
        reserveMemoryBytes: options.reserveMemoryBytes,
        owner: graphics.plays !== null ? 'playing' : graphics.isPresent ? 'present' : 'away',
        ...(graphics.plays === null ? {} : { plays: sentence(graphics.plays) }),
        paused,
        pausedBecause: because,
        healthy: unhealthyBecause === null,
        unhealthyBecause,
      };
    },
  };
}

const runtimesTold = (names: readonly string[]): Pick<Measured, 'runtimes'> =>
  names.length === 0 ? {} : { runtimes: [...names] };

function readOr(file: string, fallback = ''): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return fallback;
  }
}

interface DiskSpace {
  total: number;
  free: number;
}

async function diskAt(folder: string): Promise<DiskSpace> {
  const { totalBytes: total, freeBytes: free } = diskOf(await statfs(folder));
  return { total, free };
}

export const diskProblem = ({ total, free }: DiskSpace): string | null =>
  total > 0 && free / total < leastDiskShare
    ? `its disk has ${Math.floor(free / 2 ** 20)} MiB free, less than 1 %`
    : null;

/** The memory limit of the cgroup that the agent lives in; Infinity without one. */
function cgroupMemory(): number {
  const path = /^0::(.*)$/m.exec(readOr('/proc/self/cgroup'))?.[1] ?? '/';
  const limit = Number(readOr(join('/sys/fs/cgroup', path, 'memory.max')).trim());
  return limit > 0 ? limit : Number.POSITIVE_INFINITY;
}

interface Graphics {
  samples: GpuSample[];
  /** By uuid: the program of the owner that has it, now or within the last minute. */
  used: ReadonlyMap<string, OwnersUse>;
  /** Sentences, at most 8. */
  problems: string[];
  isPresent: boolean;
  /** What its owner plays, now or within the last minute, as a part of a sentence; null: nothing that is seen. */
  plays: string | null;
}

/** With what keeps jobs from the cards: they stay in the capacity, so that jobs wait for them and are told why. */
function kept(graphics: Graphics, problem: string | null): Graphics {
  const isKept = ({ gpu }: GpuSample): boolean => gpu.vendor === 'nvidia';
  if (problem === null || !graphics.samples.some(isKept)) return graphics;
  const samples = graphics.samples.map((one) => (isKept(one) ? { problem, ...one } : one));
  return { ...graphics, samples, problems: [sentence(problem), ...graphics.problems].slice(0, 8) };
}

/** A card that does not work counts as foreign too, so that a node of an earlier version gives it no work either. */
const gpuLoad = (sample: GpuSample, use: OwnersUse | undefined): Measured['gpus'][number] => ({
  uuid: sample.gpu.uuid,
  usedBytes: sample.usedBytes ?? 0,
  busyPercent: sample.busyPercent ?? 0,
  foreign: use !== undefined || sample.problem !== undefined,
  ...(use ? { usedBy: use.name } : {}),
  ...(sample.problem === undefined ? {} : { problem: sentence(sample.problem) }),
});

/** A driver's words, short enough and printable for a report. */
const sentence = (text: string): string =>
  text
    .replace(/[^\x20-\x7e]+/g, ' ')
    .trim()
    .slice(0, 200);

/** The GPUs and who uses them; looked at every 10 s in the background, so that a slow driver delays no report. */
class Gpus {
  readonly #options: MachineOptions;
  readonly #clock: Clock;
  #smi: NvidiaSmi | null = null;
  #last: Graphics | null = null;
  #lookedAt = Number.NEGATIVE_INFINITY;
  #looking: Promise<Graphics> | null = null;
  readonly #signals: OwnerSignals;
  #plays: { what: string; until: number } | null = null;
  readonly #usedUntil = new Map<string, { use: OwnersUse; until: number }>();

  constructor(options: MachineOptions, clock: Clock) {
    this.#options = options;
    this.#clock = clock;
    const { sessions, desktop } = options;
    this.#signals = new OwnerSignals(options.seesFullScreen ?? true, { ...(sessions && { sessions }), ...desktop });
  }

  async look(): Promise<Graphics> {
    if (this.#clock.bootMs() - this.#lookedAt >= gpuEveryMs && !this.#looking) {
      this.#lookedAt = this.#clock.bootMs();
      this.#looking = this.#lookNow().finally(() => {
        this.#looking = null;
      });
    }
    return this.#last ?? (await (this.#looking as Promise<Graphics>));
  }

  async #lookNow(): Promise<Graphics> {
    const sysfs = this.#options.sysfs ?? sysfsPaths;
    this.#smi ??= new NvidiaSmi((await memory()).total, this.#options.nvidiaSmi, () => areAsleep('0x10de', sysfs));
    const none = async (): Promise<ReadonlySet<number>> => new Set();
    const { gpuProcesses = none } = this.#options;
    // Asked before and after: a run may begin or end while the driver is asked, and would count as the owner's for a minute.
    const before = await gpuProcesses();
    const [nvidia, others, seen] = await Promise.all([this.#smi.sample(), sysfsGpus(sysfs), this.#signals.look()]);
    const pids = new Set([...before, ...(await gpuProcesses())]);
    const samples = [...nvidia.samples, ...others, ...playedGpus(this.#options.playGpus)].slice(0, limits.gpus);
    const problems = nvidia.problems.slice(0, 8).map(sentence);
    const used = this.#used(samples, pids);
    this.#last = { samples, used, problems, isPresent: seen.isPresent, plays: this.#whatPlays(used, seen.plays) };
    return this.#last;
  }

  /** A game in its menu, or minimized for a moment, goes on counting. */
  #whatPlays(used: ReadonlyMap<string, OwnersUse>, told: string | null): string | null {
    const now = this.#clock.bootMs();
    const onGpu = [...used.values()].find(({ plays }) => plays)?.name ?? null;
    if (told !== null) this.#plays = { what: told, until: now + playLastsMs };
    if (this.#plays !== null && this.#plays.until <= now) this.#plays = null;
    return onGpu ?? this.#plays?.what ?? null;
  }

  #used(samples: readonly GpuSample[], pids: ReadonlySet<number>): ReadonlyMap<string, OwnersUse> {
    const now = this.#clock.bootMs();
    const ours = { pids, parentOf };
    for (const sample of samples) {
      const use = ownersUse(sample, ours);
      if (use) this.#usedUntil.set(sample.gpu.uuid, { use, until: now + playLastsMs });
    }
    return new Map([...this.#usedUntil].flatMap(([uuid, { use, until }]) => (until > now ? [[uuid, use]] : [])));
  }
}
