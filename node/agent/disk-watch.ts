import type { Disk } from '../disk-use.ts';

const MiB = 1 << 20;
/** An ended run needs a moment to be gone; then the next one is ended, should the disk still be full. */
const betweenEndsMs = 20_000;

/** With less than this it is full: 1 % of it, from 1 to 8 MiB. */
export const leastBytes = ({ totalBytes }: Disk): number => Math.min(8 * MiB, Math.max(MiB, totalBytes / 100));
export const isFull = (disk: Disk): boolean => disk.freeBytes < leastBytes(disk);

export interface DiskWatchOptions {
  home: string;
  bootMs(): number;
  /** Runs whose script may go on here; each says what it has of a disk (stat's dev). */
  running(): { run: string; job: number; usedBytes(device: number): Promise<number> }[];
  endRun(run: string, because: string): void;
  /** Full: a sentence, with the job that was ended, if one was; room again: null. */
  onFull(because: string | null): void;
}

interface Largest {
  run: string;
  job: number;
  /** For people. */
  size: string;
}

/** Who has most of a full disk. Null where that is little: a disk that others have filled is not a job's fault. */
async function largestRun(
  running: ReturnType<DiskWatchOptions['running']>,
  disk: Disk,
  device: number,
): Promise<Largest | null> {
  const used = await Promise.all(running.map(async (one) => ({ ...one, bytes: await one.usedBytes(device) })));
  const largest = used.sort((a, b) => b.bytes - a.bytes)[0];
  if (largest === undefined || largest.bytes < Math.max(MiB, disk.totalBytes / 100)) return null;
  return { run: largest.run, job: largest.job, size: `${Math.round(largest.bytes / MiB)} MiB` };
}

/** Looks at one disk again and again, one look at a time; when it is full, the run that has most of it can be ended. */
export abstract class DiskWatch<O extends DiskWatchOptions = DiskWatchOptions> {
  protected readonly options: O;
  readonly #everyMs: number;
  #timer: NodeJS.Timeout | null = null;
  #isLooking = false;
  #fullAtMs = Number.NEGATIVE_INFINITY;
  #endedAtMs = Number.NEGATIVE_INFINITY;
  /** Why this node takes no jobs now. */
  problem: string | null = null;

  constructor(options: O, everyMs: number) {
    this.options = options;
    this.#everyMs = everyMs;
  }

  start(): void {
    this.#timer = setInterval(() => void this.look(), this.#everyMs);
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
      await this.check();
    } catch {
      // What it looks at is gone: whoever needs it says so.
    } finally {
      this.#isLooking = false;
    }
  }

  /** One look. May throw when there is nothing to look at. */
  protected abstract check(): Promise<void>;

  protected notedFull(): void {
    this.#fullAtMs = this.options.bootMs();
  }

  protected say(because: string | null): void {
    this.problem = because;
    this.options.onFull(because);
  }

  /** Ends the run that has most of it; not while the one before may still be on its way out. `full`: what is full. */
  protected async endLargest(disk: Disk, device: number, full: string): Promise<Largest | null> {
    const { bootMs, running, endRun } = this.options;
    if (bootMs() - this.#endedAtMs < betweenEndsMs) return null;
    const largest = await largestRun(running(), disk, device);
    if (largest === null) return null;
    this.#endedAtMs = bootMs();
    const { run, size } = largest;
    endRun(run, `${full}, and this job has ${size} of it: it is ended so that the others go on`);
    return largest;
  }

  /** The next time it is full is another one. */
  protected forgetEnd(): void {
    this.#endedAtMs = Number.NEGATIVE_INFINITY;
  }
}
