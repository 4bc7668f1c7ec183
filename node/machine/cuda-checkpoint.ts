import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { AutogitError } from '../../protocol/errors.ts';
import { execClean, findProgram } from '../clean-spawn.ts';
import type { GpuSuspender, GpuUse } from '../ports.ts';
import { showBytes } from '../settings/quantities.ts';
import { memory } from './memory.ts';
import { nvidiaDriver, nvidiaSmiPlaces } from './nvidia-smi.ts';

/** The driver's first version that can do it, and the first with which processes may share GPU memory with others. */
const leastDriver = 550;
const severalDriver = 570;
/** Besides what moves into main memory, so much must stay free there: a machine that swaps is no gain for its owner. */
const marginBytes = 512 << 20;
/** 80 GiB at 1 GiB/s, which a slow bus has. */
const moveMs = 90_000;
const askMs = 8_000;
const mib = 1 << 20;

interface CudaCheckpointPlaces {
  /** The program, and where it is looked for. */
  program: string;
  path: string | undefined;
  smi: readonly string[];
  /** Of the driver that is loaded. */
  version: string;
  /** /proc and the control groups. */
  proc: string;
  cgroups: string;
}

const usualPlaces = (): CudaCheckpointPlaces => ({
  program: 'cuda-checkpoint',
  path: `${process.env.PATH ?? ''}:/usr/local/bin:/usr/local/cuda/bin:/opt/cuda/bin`,
  smi: nvidiaSmiPlaces,
  version: nvidiaDriver,
  proc: '/proc',
  cgroups: '/sys/fs/cgroup',
});

const readOr = (file: string): string => {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return '';
  }
};

/** `NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.14  …` and the open module's `… for x86_64  570.86.15  …`: 550; null where it is none. */
export function driverMajor(text: string): number | null {
  const found = /Kernel Module\s+(?:for \S+\s+)?(\d{3,4})\.\d/.exec(text);
  return found ? Number(found[1]) : null;
}

/** Pids and MiB of `--query-compute-apps=pid,used_memory --format=csv,noheader,nounits`; one pid on several cards is added up. */
export function parseUses(text: string): GpuUse[] {
  const found = new Map<number, GpuUse>();
  for (const line of text.split('\n')) {
    const [pid = '', used = ''] = line.split(',').map((cell) => cell.trim());
    if (!/^\d{1,10}$/.test(pid)) continue;
    const bytes = /^\d{1,9}$/.test(used) ? Number(used) * mib : null;
    const known = found.get(Number(pid));
    const sum = bytes === null || known?.bytes === null ? null : (known?.bytes ?? 0) + bytes;
    found.set(Number(pid), { pid: Number(pid), bytes: sum });
  }
  return [...found.values()];
}

/**
 * NVIDIA's `cuda-checkpoint`, a program of its own that the owner installs (github.com/NVIDIA/cuda-checkpoint): a driver
 * from 550 on moves what one process has in GPU memory into main memory, and back. Of 550 to 569 it takes no process that
 * shares GPU memory with others, so a run with several is refused; managed memory (UVM) it takes with none, and tells so
 * only when it is tried.
 */
export class CudaCheckpoint implements GpuSuspender {
  readonly #places: CudaCheckpointPlaces;

  constructor(places: Partial<CudaCheckpointPlaces> = {}) {
    this.#places = { ...usualPlaces(), ...places };
  }

  async usesOf(pids: ReadonlySet<number>): Promise<GpuUse[]> {
    for (const smi of this.#places.smi) {
      if (findProgram(smi, this.#places.path) === null) continue;
      const args = ['--query-compute-apps=pid,used_memory', '--format=csv,noheader,nounits'];
      const text = await this.#run(smi, args, askMs).catch((cause: Error) => {
        const said = cause.message.trim().split('\n').at(-1)?.slice(0, 200);
        throw new AutogitError('executor-failed', `nvidia-smi does not tell what it has: ${said}`, { cause });
      });
      return parseUses(text).filter(({ pid }) => pids.has(pid));
    }
    throw new AutogitError('executor-failed', 'there is no nvidia-smi here, which tells what it has');
  }

  async refusal(uses: readonly GpuUse[]): Promise<string | null> {
    const text = readOr(this.#places.version);
    const major = driverMajor(text);
    if (text === '') return 'there is no NVIDIA driver here';
    if (major === null) return 'NVIDIA’s driver does not say which it is';
    if (major < leastDriver) return `NVIDIA’s driver is ${major}, and it takes ${leastDriver} or newer`;
    if (this.#program() === null) return 'cuda-checkpoint is not installed: github.com/NVIDIA/cuda-checkpoint';
    if (uses.length > 1 && major < severalDriver)
      return `${uses.length} of its processes use the GPU, which takes driver ${severalDriver} or newer (here ${major})`;
    const unknown = uses.find(({ bytes }) => bytes === null);
    if (unknown) return 'the driver does not tell how much GPU memory it has';
    return this.#memoryRefusal(uses);
  }

  /** Of the machine, and of each process's own limit: what moves counts as the process's. */
  async #memoryRefusal(uses: readonly GpuUse[]): Promise<string | null> {
    const needed = uses.reduce((sum, { bytes }) => sum + (bytes ?? 0), 0);
    const { available } = await memory();
    if (available < needed + marginBytes)
      return `${showBytes(needed)} of GPU memory have no room in main memory, of which ${showBytes(available)} are free`;
    for (const { pid, bytes } of uses) {
      const free = this.#roomInGroup(pid);
      if (free !== null && free < (bytes ?? 0))
        return `${showBytes(bytes ?? 0)} of GPU memory do not fit below the job's own limit, of which ${showBytes(free)} are left: ask for more by a tag mem-<n>g`;
    }
    return null;
  }

  /** What a process's memory group has left; null without a limit. */
  #roomInGroup(pid: number): number | null {
    const { proc, cgroups } = this.#places;
    const lines = readOr(join(proc, String(pid), 'cgroup')).split('\n');
    for (const line of lines) {
      const [hierarchy, controllers = '', ...rest] = line.split(':');
      const path = rest.join(':');
      const isOne = controllers.split(',').includes('memory');
      if (!isOne && hierarchy !== '0') continue;
      const folder = isOne ? join(cgroups, 'memory', path) : join(cgroups, path);
      const [limit, used] = isOne
        ? ['memory.limit_in_bytes', 'memory.usage_in_bytes']
        : ['memory.max', 'memory.current'];
      if (!existsSync(join(folder, limit))) continue;
      const [most, now] = [limit, used].map((file) => Number(readOr(join(folder, file)).trim()));
      // `max`, and version 1's nearly 2^63: no limit.
      if (most !== undefined && now !== undefined && most > 0 && most < 2 ** 60) return Math.max(0, most - now);
    }
    return null;
  }

  async suspend(uses: readonly GpuUse[]): Promise<void> {
    const done: number[] = [];
    for (const { pid } of uses)
      try {
        await this.#toggle(pid);
        done.push(pid);
      } catch (error) {
        await this.resume(done).catch(() => undefined);
        throw error;
      }
  }

  async resume(pids: readonly number[]): Promise<void> {
    let failed: unknown = null;
    for (const pid of pids) {
      if (!existsSync(join(this.#places.proc, String(pid)))) continue;
      // From driver 570 on it tells; what an agent that died meanwhile had not come to is left alone.
      const state = await this.#ask(['--get-state', '--pid', String(pid)], askMs).catch(() => '');
      if (/\brunning\b/i.test(state)) continue;
      await this.#toggle(pid).catch((error: unknown) => {
        failed ??= error;
      });
    }
    if (failed !== null) throw failed;
  }

  #program(): string | null {
    return findProgram(this.#places.program, this.#places.path);
  }

  async #toggle(pid: number): Promise<void> {
    await this.#ask(['--toggle', '--pid', String(pid)], moveMs);
  }

  #ask(args: string[], timeoutMs: number): Promise<string> {
    const program = this.#program();
    if (program === null) throw new AutogitError('executor-failed', 'cuda-checkpoint is not installed any more');
    return this.#run(program, args, timeoutMs);
  }

  #run(program: string, args: string[], timeoutMs: number): Promise<string> {
    const { path } = this.#places;
    const options = {
      timeout: timeoutMs,
      killSignal: 'SIGKILL' as const,
      maxBuffer: 1 << 20,
      env: { ...process.env, PATH: path },
    };
    return new Promise((resolve, reject) => {
      execClean(program, args, options, (error, stdout) => {
        if (error === null) return resolve(stdout);
        const late = `${program.split('/').at(-1)} did not end within ${timeoutMs / 1000} s`;
        reject(new AutogitError('executor-failed', error.killed ? late : error.message, { cause: error }));
      });
    });
  }
}
