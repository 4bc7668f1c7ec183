import { sentenceOf } from '../../../protocol/errors.ts';
import type { Clock } from '../../clock.ts';
import type { Disk } from '../../disk-use.ts';
import type { Log } from '../../log.ts';
import { showBytes } from '../../settings/quantities.ts';
import type { RoundDisk } from './round-disk.ts';
import { isFull } from './round-room.ts';

interface TroubleOptions {
  disk: RoundDisk;
  /** Why these data are not all in a round. */
  unprotected(): Promise<string | null>;
  clock: Pick<Clock, 'bootMs'>;
  log: Pick<Log, 'warn'>;
}

/** Whether all of the data are in a round is looked at so often. */
const lookMs = 60_000;

/** Why the host makes no round, or one that not all of its data are in. */
export class RoundTrouble {
  readonly #options: TroubleOptions;
  #lookedMs = Number.NEGATIVE_INFINITY;
  /** No round is made. */
  failing: string | null = null;
  unprotected: string | null = null;

  constructor(options: TroubleOptions) {
    this.#options = options;
  }

  get words(): string | null {
    return this.failing ?? this.unprotected;
  }

  /** Said once, until one was made again. */
  fails(error: unknown): void {
    const { disk, log } = this.#options;
    const room = roomOf(disk);
    const full =
      room && isFull(room) ? `the disk of GitLab's data is full, ${showBytes(room.freeBytes)} are left: ` : '';
    const words = `${full}${sentenceOf(error)}`.slice(0, 400);
    if (words !== this.failing) log.warn(`no copy can be made: ${words}`);
    this.failing = words;
    this.#lookedMs = Number.NEGATIVE_INFINITY;
  }

  works(): void {
    this.failing = null;
  }

  async look(): Promise<void> {
    const now = this.#options.clock.bootMs();
    if (now - this.#lookedMs < lookMs) return;
    this.unprotected = await this.#options.unprotected();
    this.#lookedMs = now;
  }
}

/** Null where the disk cannot even be asked. */
function roomOf(disk: RoundDisk): Disk | null {
  try {
    return disk.room();
  } catch {
    return null;
  }
}
