import { readFileSync } from 'node:fs';
import { readdir, readFile, statfs } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { limits } from '../../protocol/limits.ts';
import type { Measured } from '../../protocol/report.ts';
import { archName } from '../../scheduler/jobs/demand.ts';
import { type Clock, systemClock } from '../clock.ts';
import type { Machine } from '../ports.ts';
import { CpuLoad } from './cpu-load.ts';
import type { GpuSample } from './gpu-nvidia.ts';
import { isForeign, playLastsMs } from './gpu-owner.ts';
import { type PlayedGpu, playedGpus } from './gpu-played.ts';
import { type SysfsPaths, sysfsGpus, sysfsPaths } from './gpu-sysfs.ts';
import { memory } from './memory.ts';
import { NvidiaSmi } from './nvidia-smi.ts';
import { isLocalScreen, parentOf } from './processes.ts';

export interface MachineOptions {
  /** The disk of this folder is the one that jobs fill. */
  folder: string;
  labels: readonly string[];
  /** Executors that work here. */
  executors: readonly string[];
  maxRuns: number | null;
  reserveMemoryBytes: number;
  playGpus: readonly PlayedGpu[];
  /** What the owner switched off by hand; the agent keeps it. */
  pause?: () => { paused: Measured['paused']; because: string | null };
  /** A sentence while the store cannot be written, else null. */
  storeProblem?: () => string | null;
  clock?: Clock;
  /** For tests: roots of /proc, /sys, and another nvidia-smi. */
  proc?: string;
  sysfs?: SysfsPaths;
  nvidiaSmi?: string;
  sessions?: string;
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
export function createMachine(options: MachineOptions): Machine & { gpuProblems(): readonly string[] } {
  const clock = options.clock ?? systemClock();
  const gpus = new Gpus(options, clock);
  const cpu = new CpuLoad(options.proc);
  const os = osName(readOr('/etc/os-release'), readOr('/proc/sys/kernel/osrelease'));
  return {
    bootMs: clock.bootMs,
    bootId: clock.bootId,
    gpuProblems: () => gpus.problems,
    async measure(runGpuPids) {
      const [load, { total, available }, disk, graphics] = await Promise.all([
        cpu.percent(),
        memory(),
        diskOf(options.folder),
        gpus.look(runGpuPids),
      ]);
      const cpuMillis = availableParallelism() * 1000;
      const memoryBytes = Math.min(total, cgroupMemory());
      const { paused, because } = options.pause?.() ?? { paused: 'no' as const, because: null };
      const unhealthyBecause = options.storeProblem?.() ?? diskProblem(disk);
      return {
        arch: archName(process.arch),
        os,
        capacity: { cpuMillis, memoryBytes, diskBytes: disk.total, gpus: graphics.samples.map(({ gpu }) => gpu) },
        usedCpuMillis: Math.min(cpuMillis, Math.max(0, Math.round((cpuMillis * load) / 100))),
        usedMemoryBytes: Math.min(memoryBytes, Math.max(0, total - available)),
        usedDiskBytes: disk.total - disk.free,
        gpus: graphics.samples.map((sample) => ({
          uuid: sample.gpu.uuid,
          usedBytes: sample.usedBytes ?? 0,
          busyPercent: sample.busyPercent ?? 0,
          foreign: graphics.foreign.has(sample.gpu.uuid),
        })),
        labels: [...options.labels],
        executors: [...options.executors],
        maxRuns: options.maxRuns,
        reserveMemoryBytes: options.reserveMemoryBytes,
        owner: graphics.foreign.size > 0 ? 'playing' : graphics.isPresent ? 'present' : 'away',
        paused,
        pausedBecause: because,
        healthy: unhealthyBecause === null,
        unhealthyBecause,
      };
    },
  };
}

function readOr(file: string, fallback = ''): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return fallback;
  }
}

interface Disk {
  total: number;
  free: number;
}

/** `free` is what this user may still write: the part kept for root does not count. */
async function diskOf(folder: string): Promise<Disk> {
  const { blocks, bavail, bsize } = await statfs(folder);
  return { total: blocks * bsize, free: bavail * bsize };
}

export const diskProblem = ({ total, free }: Disk): string | null =>
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
  foreign: ReadonlySet<string>;
  isPresent: boolean;
}

/** The GPUs and who uses them; looked at every 10 s in the background, so that a slow driver delays no report. */
class Gpus {
  problems: readonly string[] = [];
  readonly #options: MachineOptions;
  readonly #clock: Clock;
  #smi: NvidiaSmi | null = null;
  #last: Graphics | null = null;
  #lookedAt = Number.NEGATIVE_INFINITY;
  #looking: Promise<Graphics> | null = null;
  readonly #foreignUntil = new Map<string, number>();

  constructor(options: MachineOptions, clock: Clock) {
    this.#options = options;
    this.#clock = clock;
  }

  async look(runPids: ReadonlySet<number>): Promise<Graphics> {
    if (this.#clock.bootMs() - this.#lookedAt >= gpuEveryMs && !this.#looking) {
      this.#lookedAt = this.#clock.bootMs();
      this.#looking = this.#lookNow(runPids).finally(() => {
        this.#looking = null;
      });
    }
    return this.#last ?? (await (this.#looking as Promise<Graphics>));
  }

  async #lookNow(runPids: ReadonlySet<number>): Promise<Graphics> {
    this.#smi ??= new NvidiaSmi((await memory()).total, this.#options.nvidiaSmi);
    const [nvidia, others, isPresent] = await Promise.all([
      this.#smi.sample(),
      sysfsGpus(this.#options.sysfs ?? sysfsPaths),
      hasLocalScreen(this.#options.sessions ?? '/run/systemd/sessions'),
    ]);
    this.problems = nvidia.problems;
    const samples = [...nvidia.samples, ...others, ...playedGpus(this.#options.playGpus)].slice(0, limits.gpus);
    this.#last = { samples, foreign: this.#foreign(samples, runPids), isPresent };
    return this.#last;
  }

  #foreign(samples: readonly GpuSample[], pids: ReadonlySet<number>): ReadonlySet<string> {
    const now = this.#clock.bootMs();
    const ours = { pids, parentOf: parentOf(this.#options.proc) };
    for (const sample of samples)
      if (isForeign(sample, ours)) this.#foreignUntil.set(sample.gpu.uuid, now + playLastsMs);
    return new Set([...this.#foreignUntil].filter(([, until]) => until > now).map(([uuid]) => uuid));
  }
}

async function hasLocalScreen(folder: string): Promise<boolean> {
  const names = await readdir(folder).catch(() => [] as string[]);
  const sessions = await Promise.all(
    names.filter((name) => !name.endsWith('.ref')).map((name) => readFile(join(folder, name), 'utf8').catch(() => '')),
  );
  return sessions.some(isLocalScreen);
}
