import { randomFillSync } from 'node:crypto';
import { closeSync, existsSync, openSync, rmSync, statfsSync, statSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { type Disk, diskOf } from '../disk-use.ts';
import { DiskWatch, type DiskWatchOptions, isFull, leastBytes } from './disk-watch.ts';

const MiB = 1 << 20;
const lookEveryMs = 250;
const reserveMostBytes = 8 * MiB;

const reserveFile = (home: string): string => join(home, 'reserve');

export const diskAt = (folder: string): Disk => diskOf(statfsSync(folder));

/**
 * Makes the reserve, a file that keeps some of the disk for the moment when a job has taken all the rest: removed then, it lets
 * the store, the traces of the other jobs and the clean-up go on. Its bytes are random, so that no file system compresses them
 * to nothing. It takes at most 5 % of the disk, and is made only where as much again stays free. True when it is there.
 */
function keepReserve(home: string): boolean {
  const path = reserveFile(home);
  const disk = diskAt(home);
  const bytes = Math.floor(Math.min(reserveMostBytes, disk.totalBytes / 20));
  if (existsSync(path) && statSync(path).size >= bytes) return true;
  if (disk.freeBytes < 2 * bytes + leastBytes(disk)) return false;
  const block = randomFillSync(Buffer.alloc(Math.min(MiB, bytes)));
  const file = openSync(path, 'w', 0o600);
  try {
    for (let done = 0; done < bytes; ) done += writeSync(file, block, 0, Math.min(block.length, bytes - done));
    return true;
  } catch {
    rmSync(path, { force: true });
    return false;
  } finally {
    closeSync(file);
  }
}

/** Removes the reserve; true when there was one. */
export function freeReserve(home: string): boolean {
  const had = existsSync(reserveFile(home));
  rmSync(reserveFile(home), { force: true });
  return had;
}

/**
 * Watches the disk of the home. When it is full, the reserve is given free at once, this node takes no jobs, and the run that
 * has filled the disk is ended with the reason; the others go on. When there is room again, the reserve is made anew.
 */
export class HomeDisk extends DiskWatch {
  #isFull = false;

  constructor(options: DiskWatchOptions) {
    super(options, lookEveryMs);
  }

  protected override async check(): Promise<void> {
    const disk = diskAt(this.options.home);
    if (isFull(disk)) await this.#handleFull(disk);
    else this.#handleRoom();
  }

  async #handleFull(disk: Disk): Promise<void> {
    const { home } = this.options;
    this.notedFull();
    freeReserve(home);
    if (!this.#isFull) {
      this.#isFull = true;
      this.say(`its disk is full: ${home} has ${Math.floor(disk.freeBytes / MiB)} MiB free`);
    }
    // What is only there to save time goes before a job does.
    if (((await this.options.giveWay?.(Math.max(64 * MiB, disk.totalBytes / 50))) ?? 0) > 0) return;
    const ended = await this.endLargest(disk, statSync(home).dev, 'the disk of this machine is full');
    if (ended) this.say(`its disk is full: job ${ended.job}, which has ${ended.size} of it, was ended`);
  }

  #handleRoom(): void {
    const hasReserve = keepReserve(this.options.home);
    if (!this.#isFull || !hasReserve) return;
    this.#isFull = false;
    this.forgetEnd();
    this.say(null);
  }
}
