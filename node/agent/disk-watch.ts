import type { Disk } from '../disk-use.ts';

const MiB = 1 << 20;
/** ms between two ends of runs: an ended run needs a moment to free its files before the disk is judged again. */
const betweenEndsMs = 20_000;

/** A disk with less than this free is full: 1 % of the disk, at least 1 and at most 8 MiB. */
export const leastBytes = ({ totalBytes }: Disk): number => Math.min(8 * MiB, Math.max(MiB, totalBytes / 100));
export const isFull = (disk: Disk): boolean => disk.freeBytes < leastBytes(disk);

export interface DiskWatchOptions {
  home: string;
  bootMs(): number;
  /** Runs whose script may go on here; `usedBytes` says what a run has of a disk, which is named by `dev` of stat. */
  running(): { run: string; job: number; usedBytes(device: number): Promise<number> }[];
  endRun(run: string, because: string): void;
  /** Gives back what is only there to save time, of the home's disk; bytes that came back. */
  giveWay?(bytes: number): Promise<number>;
  /** Removes what is kept for later jobs; false where there was nothing of that. */
  giveBack?(): Promise<boolean>;
  /** Called with a sentence when the disk is full (it names the job that was ended, if one was), with null when room is back. */
  onFull(because: string | null): void;
}

interface Largest {
  run: string;
  job: number;
  /** What it has of the disk, in words for people. */
  size: string;
}

/** The run that has most of a full disk. Null where that is little: a disk that others have filled is no fault of a job. */
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

  /** Was the disk full at some time since `bootMs`? Then a script may have failed because it could not write. */
  wasFullSince(bootMs: number): boolean {
    return this.#fullAtMs >= bootMs;
  }

  async look(): Promise<void> {
    if (this.#isLooking) return;
    this.#isLooking = true;
    try {
      await this.check();
    } catch {
      // The folder is gone. Whoever needs it fails with a sentence of its own.
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

  /** Ends the run that has most of the disk, unless one was ended a moment ago. `full` begins the sentence: which disk is full. */
  protected async endLargest(disk: Disk, device: number, full: string): Promise<Largest | null> {
    const { bootMs, running, endRun, giveBack } = this.options;
    // No job ends for the sake of what may be of use to another one.
    if (await giveBack?.()) return null;
    if (bootMs() - this.#endedAtMs < betweenEndsMs) return null;
    const largest = await largestRun(running(), disk, device);
    if (largest === null) return null;
    this.#endedAtMs = bootMs();
    const { run, size } = largest;
    endRun(run, `${full}, and this job has ${size} of it: it is ended so that the others go on`);
    return largest;
  }

  /** The disk has room: when it is full again, a run may be ended at once. */
  protected forgetEnd(): void {
    this.#endedAtMs = Number.NEGATIVE_INFINITY;
  }
}
