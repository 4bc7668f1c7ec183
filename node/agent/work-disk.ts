import { stat, statfs } from 'node:fs/promises';
import type { Clock } from '../clock.ts';
import { deviceOf } from '../disk-use.ts';
import type { Log } from '../log.ts';
import type { Executor } from '../ports.ts';
import {
  betweenEndsMs,
  type Disk,
  DiskRoom,
  type DiskRoomOptions,
  diskOf,
  isFull,
  largestRun,
  leastBytes,
} from './disk-room.ts';

const lookEveryMs = 1_000;

interface WorkDiskOptions extends DiskRoomOptions {
  /** Where runs write, as far as it is known; it may come to be known later. */
  folder(): string | null;
}

interface DisksOptions {
  home: string;
  clock: Pick<Clock, 'bootMs'>;
  log: Pick<Log, 'info' | 'error'>;
  executors: readonly Executor[];
}

/** Both disks of a member: that of its home, and that of its runs. */
export function disksOf(
  { home, clock, log, executors }: DisksOptions,
  { onChange, ...runs }: Pick<DiskRoomOptions, 'running' | 'endRun'> & { onChange(): void },
): [DiskRoom, WorkDisk] {
  const both: DiskRoomOptions = {
    ...runs,
    home,
    bootMs: clock.bootMs,
    onFull: (because) => {
      if (because === null) log.info('its disk has room again');
      else log.error(because);
      onChange();
    },
  };
  return [new DiskRoom(both), new WorkDisk({ ...both, folder: () => executors[0]?.workFolder?.() ?? null })];
}

/**
 * The disk that runs write on, where it is another than that of the home (`DiskRoom`): an engine's own, a work folder that
 * is mounted. The agent's own state is not on it, so this node still leads and votes when it is full; it takes no jobs,
 * the run that has most of it is ended, and what fails meanwhile has failed for the disk.
 */
export class WorkDisk {
  readonly #options: WorkDiskOptions;
  #timer: NodeJS.Timeout | null = null;
  #isLooking = false;
  #fullAtMs = Number.NEGATIVE_INFINITY;
  #endedAtMs = Number.NEGATIVE_INFINITY;
  /** Why this node takes no jobs now. */
  problem: string | null = null;

  constructor(options: WorkDiskOptions) {
    this.#options = options;
  }

  start(): void {
    this.#timer = setInterval(() => void this.look(), lookEveryMs);
    void this.look();
  }

  stop(): void {
    if (this.#timer) clearInterval(this.#timer);
  }

  /** Whether it was full at some time since then (boot ms); asked when a script has failed, so it is looked at now too. */
  wasFullSince(bootMs: number): boolean {
    if (this.#fullAtMs >= bootMs) return true;
    try {
      const folder = this.#options.folder();
      if (folder === null || deviceOf(folder) === deviceOf(this.#options.home)) return false;
      return isFull(diskOf(folder));
    } catch {
      return false;
    }
  }

  async look(): Promise<void> {
    if (this.#isLooking) return;
    this.#isLooking = true;
    try {
      const found = await this.#disk();
      if (found === null || found.disk.freeBytes >= 2 * leastBytes(found.disk)) this.#say(null);
      else if (isFull(found.disk)) await this.#isFullNow(found);
    } catch {
      // The folder is gone: whoever needs it says so.
    } finally {
      this.#isLooking = false;
    }
  }

  /** Not by the calls that wait: it may be a network's disk that hangs. */
  async #disk(): Promise<{ folder: string; disk: Disk; device: number } | null> {
    const folder = this.#options.folder();
    if (folder === null) return null;
    const [home, { dev: device }] = await Promise.all([stat(this.#options.home), stat(folder)]);
    if (device === home.dev) return null;
    const { blocks, bavail, bsize } = await statfs(folder);
    const freeBytes = bavail * bsize;
    return { folder, disk: { totalBytes: blocks * bsize, freeBytes, ownBytes: freeBytes }, device };
  }

  async #isFullNow({ folder, disk, device }: { folder: string; disk: Disk; device: number }): Promise<void> {
    const { bootMs, running, endRun } = this.#options;
    this.#fullAtMs = bootMs();
    if (this.problem === null) this.#say(`the disk that its jobs write on is full (${folder})`);
    if (bootMs() - this.#endedAtMs < betweenEndsMs) return;
    const largest = await largestRun(running(), disk, device);
    if (largest === null) return;
    this.#endedAtMs = bootMs();
    endRun(
      largest.run,
      `the disk of this machine is full (${folder}), and this job has ${largest.size} of it: it is ended so that the others go on`,
    );
  }

  #say(problem: string | null): void {
    if (problem === this.problem) return;
    this.problem = problem;
    this.#options.onFull(problem);
  }
}
