import { stat, statfs } from 'node:fs/promises';
import type { Clock } from '../clock.ts';
import { type Disk, deviceOf, diskOf } from '../disk-use.ts';
import type { Log } from '../log.ts';
import type { Executor } from '../ports.ts';
import { DiskWatch, type DiskWatchOptions, isFull, leastBytes } from './disk-watch.ts';
import { diskAt, HomeDisk } from './home-disk.ts';

const lookEveryMs = 1_000;

interface WorkDiskOptions extends DiskWatchOptions {
  /** Where runs write; null while that is not known yet. */
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
  { onChange, ...runs }: Pick<DiskWatchOptions, 'running' | 'endRun' | 'giveWay' | 'giveBack'> & { onChange(): void },
): [HomeDisk, WorkDisk] {
  const both: DiskWatchOptions = {
    ...runs,
    home,
    bootMs: clock.bootMs,
    onFull: (because) => {
      if (because === null) log.info('its disk has room again');
      else log.error(because);
      onChange();
    },
  };
  return [new HomeDisk(both), new WorkDisk({ ...both, folder: () => executors[0]?.workFolder?.() ?? null })];
}

/**
 * The disk that runs write on, where it is another than that of the home (`HomeDisk`): an engine's own, a work folder that
 * is mounted. The agent's own state is not on it, so this node still leads and votes when it is full; it takes no jobs,
 * the run that has most of it is ended, and what fails meanwhile has failed for the disk.
 */
export class WorkDisk extends DiskWatch<WorkDiskOptions> {
  /** The store lies there, open: it stays where it is as long as this process lives. */
  #homeDevice: number | null = null;

  constructor(options: WorkDiskOptions) {
    super(options, lookEveryMs);
  }

  /** Also looks at the disk now: this is asked when a script has failed, perhaps sooner than the next look. */
  override wasFullSince(bootMs: number): boolean {
    if (super.wasFullSince(bootMs)) return true;
    try {
      const folder = this.options.folder();
      if (folder === null || deviceOf(folder) === deviceOf(this.options.home)) return false;
      return isFull(diskAt(folder));
    } catch {
      return false;
    }
  }

  protected override async check(): Promise<void> {
    const found = await this.#disk();
    if (found === null || found.disk.freeBytes >= 2 * leastBytes(found.disk)) this.#setProblem(null);
    else if (isFull(found.disk)) await this.#handleFull(found);
  }

  /** Asks without blocking the event loop: the folder may lie on a network's disk that hangs. Null: not a disk of its own. */
  async #disk(): Promise<{ folder: string; disk: Disk; device: number } | null> {
    const folder = this.options.folder();
    if (folder === null) return null;
    this.#homeDevice ??= (await stat(this.options.home)).dev;
    const { dev: device } = await stat(folder);
    return device === this.#homeDevice ? null : { folder, disk: diskOf(await statfs(folder)), device };
  }

  async #handleFull({ folder, disk, device }: { folder: string; disk: Disk; device: number }): Promise<void> {
    this.notedFull();
    if (this.problem === null) this.#setProblem(`the disk that its jobs write on is full (${folder})`);
    await this.endLargest(disk, device, `the disk of this machine is full (${folder})`);
  }

  #setProblem(problem: string | null): void {
    if (problem !== this.problem) this.say(problem);
  }
}
