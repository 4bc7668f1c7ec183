import { statfsSync } from 'node:fs';
import { type Disk, diskOf } from '../disk-use.ts';

const MiB = 1 << 20;
/** An engine that gave a pull up gives free what it had of it. */
const settledMs = 2_000;
/** Where nobody can see whether there is room again, a job is let try again after this. */
const againMs = 600_000;
const noSpace = /no space left on device|disk quota exceeded/i;

/** The engine's own disk is full: no fault of a job's. */
export function isNoSpace(error: unknown): boolean {
  for (let cause = error, depth = 0; cause instanceof Error && depth < 6; cause = cause.cause, depth++)
    if (noSpace.test(cause.message)) return true;
  return false;
}

/** Where the engine keeps images and containers, as far as it lies on this machine. */
export class ImageStore {
  readonly #folder: () => string | null;
  readonly #bootMs: () => number;
  #full: { atMs: number; freeBytes: number; image: string } | null = null;

  /** `folder`: null when it is not known, or elsewhere. */
  constructor(folder: () => string | null, bootMs: () => number) {
    this.#folder = folder;
    this.#bootMs = bootMs;
  }

  /** An image did not fit. */
  metFull(image: string): void {
    this.#full = { atMs: this.#bootMs(), freeBytes: this.#disk()?.freeBytes ?? 0, image };
  }

  /** Why no other job should try; null when there is more room than there was. */
  noRoom(): string | null {
    if (this.#full === null) return null;
    const { atMs, freeBytes, image } = this.#full;
    const sinceMs = this.#bootMs() - atMs;
    const disk = this.#disk();
    if (disk && sinceMs < settledMs) this.#full.freeBytes = Math.max(freeBytes, disk.freeBytes);
    const isFreer = disk !== null && disk.freeBytes - freeBytes > Math.max(32 * MiB, disk.totalBytes / 20);
    if (sinceMs > againMs || (sinceMs >= settledMs && isFreer)) {
      this.#full = null;
      return null;
    }
    const where = disk === null ? '' : `: ${this.#folder()} has ${Math.floor(disk.freeBytes / MiB)} MiB free`;
    return `the disk of the Docker Engine is too full for image ${image}${where}`;
  }

  #disk(): Disk | null {
    try {
      return diskOf(statfsSync(this.#folder() ?? ''));
    } catch {
      return null;
    }
  }
}
