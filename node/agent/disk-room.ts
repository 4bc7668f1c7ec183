import { randomFillSync } from 'node:crypto';
import { closeSync, existsSync, openSync, rmSync, statfsSync, statSync, writeSync } from 'node:fs';
import { join } from 'node:path';

const MiB = 1 << 20;
const lookEveryMs = 250;
/** An ended run needs a moment to be gone; then the next one is ended, should the disk still be full. */
export const betweenEndsMs = 20_000;
const reserveMostBytes = 8 * MiB;

const reserveFile = (home: string): string => join(home, 'reserve');

export interface Disk {
  totalBytes: number;
  /** For users that are not root, and what this agent itself may write. */
  freeBytes: number;
  ownBytes: number;
}

export function diskOf(folder: string): Disk {
  const { blocks, bfree, bavail, bsize } = statfsSync(folder);
  const isRoot = process.getuid?.() === 0;
  return { totalBytes: blocks * bsize, freeBytes: bavail * bsize, ownBytes: (isRoot ? bfree : bavail) * bsize };
}

/** With less than this it is full: 1 % of it, from 1 to 8 MiB. */
export const leastBytes = ({ totalBytes }: Disk): number => Math.min(8 * MiB, Math.max(MiB, totalBytes / 100));
export const isFull = (disk: Disk): boolean => disk.freeBytes < leastBytes(disk);

/**
 * Room that is kept for the moment when a job has taken all the rest: given free then, the store, the traces of the other
 * jobs and the clean-up go on. Real bytes by chance, so that no file system makes nothing of them. At most 5 % of the disk,
 * and only where as much again stays free.
 */
function keepReserve(home: string): boolean {
  const path = reserveFile(home);
  const disk = diskOf(home);
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

/** True when there was one. */
export function freeReserve(home: string): boolean {
  const had = existsSync(reserveFile(home));
  rmSync(reserveFile(home), { force: true });
  return had;
}

export interface DiskRoomOptions {
  home: string;
  bootMs(): number;
  /** Runs whose script may go on here; each says what it has of a disk (stat's dev). */
  running(): { run: string; job: number; usedBytes(device: number): Promise<number> }[];
  endRun(run: string, because: string): void;
  /** Full: a sentence, with the job that was ended, if one was; room again: null. */
  onFull(because: string | null): void;
}

/** Who has most of a full disk. Null where that is little: a disk that others have filled is not a job's fault. */
export async function largestRun(
  running: ReturnType<DiskRoomOptions['running']>,
  disk: Disk,
  device: number,
): Promise<{ run: string; job: number; size: string } | null> {
  const used = await Promise.all(running.map(async (one) => ({ ...one, bytes: await one.usedBytes(device) })));
  const largest = used.sort((a, b) => b.bytes - a.bytes)[0];
  if (largest === undefined || largest.bytes < Math.max(MiB, disk.totalBytes / 100)) return null;
  return { run: largest.run, job: largest.job, size: `${Math.round(largest.bytes / MiB)} MiB` };
}

/**
 * Watches the disk of the home. Full: the reserve is given free at once, this node takes no jobs, and the run that has filled
 * it is ended, with the reason; the others go on. With room again the reserve is made anew.
 */
export class DiskRoom {
  readonly #options: DiskRoomOptions;
  #timer: NodeJS.Timeout | null = null;
  #isLooking = false;
  #isFull = false;
  #fullAtMs = Number.NEGATIVE_INFINITY;
  #endedAtMs = Number.NEGATIVE_INFINITY;
  /** Why this node takes no jobs now. */
  problem: string | null = null;

  constructor(options: DiskRoomOptions) {
    this.#options = options;
  }

  start(): void {
    this.#timer = setInterval(() => void this.look(), lookEveryMs);
    void this.look();
  }

  stop(): void {
    if (this.#timer) clearInterval(this.#timer);
  }

  /** Whether it was full at some time since then (boot ms): what could not be written then may be why a script failed. */
  wasFullSince(bootMs: number): boolean {
    return this.#fullAtMs >= bootMs;
  }

  async look(): Promise<void> {
    if (this.#isLooking) return;
    this.#isLooking = true;
    try {
      const disk = diskOf(this.#options.home);
      if (isFull(disk)) await this.#isFullNow(disk);
      else this.#hasRoom();
    } catch {
      // The home itself is gone: whoever needs it says so.
    } finally {
      this.#isLooking = false;
    }
  }

  async #isFullNow(disk: Disk): Promise<void> {
    const { home, bootMs } = this.#options;
    this.#fullAtMs = bootMs();
    freeReserve(home);
    if (!this.#isFull) {
      this.#isFull = true;
      this.#say(`its disk is full: ${home} has ${Math.floor(disk.freeBytes / MiB)} MiB free`);
    }
    if (bootMs() - this.#endedAtMs < betweenEndsMs) return;
    const largest = await largestRun(this.#options.running(), disk, statSync(home).dev);
    if (largest === null) return;
    this.#endedAtMs = bootMs();
    this.#say(`its disk is full: job ${largest.job}, which has ${largest.size} of it, was ended`);
    this.#options.endRun(
      largest.run,
      `the disk of this machine is full, and this job has ${largest.size} of it: it is ended so that the others go on`,
    );
  }

  #hasRoom(): void {
    const hasReserve = keepReserve(this.#options.home);
    if (!this.#isFull || !hasReserve) return;
    this.#isFull = false;
    this.#endedAtMs = Number.NEGATIVE_INFINITY;
    this.#say(null);
  }

  #say(because: string | null): void {
    this.problem = because;
    this.#options.onFull(because);
  }
}
