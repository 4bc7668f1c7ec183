import { type RoundName, roundText } from '../../../protocol/round-name.ts';
import { type Pressure, thin } from '../../../scheduler/hosting/copies/thinning.ts';
import { bulkBeside } from './bulk-beside.ts';
import type { Replica } from './replica-ports.ts';
import type { RoundDisk } from './round-disk.ts';
import { pressureAt } from './round-room.ts';

interface RoundThinningOptions {
  hot: Replica;
  bulk: Replica;
  disk: RoundDisk;
  /** What stays of each part, whatever its age. */
  pins(): { hot: readonly RoundName[]; bulk: readonly RoundName[] };
  fails(error: unknown): void;
}

/** Lets the host's older rounds go, beside the loop that makes them: deleting waits for the file system's cleaner, and no push does. */
export class RoundThinning {
  readonly #options: RoundThinningOptions;
  #pressure: Pressure = 0;
  #running: Promise<void> | null = null;

  constructor(options: RoundThinningOptions) {
    this.#options = options;
  }

  /** One at a time. */
  begin(): void {
    this.#running ??= this.#thin()
      .catch((error: unknown) => this.#options.fails(error))
      .finally(() => {
        this.#running = null;
      });
  }

  async ended(): Promise<void> {
    await this.#running;
  }

  async #thin(): Promise<void> {
    const { hot, bulk, disk, pins } = this.#options;
    this.#pressure = pressureAt(disk.room(), this.#pressure);
    await hot.remove(thin(hot.rounds(), new Set(pins().hot.map(roundText)), this.#pressure));
    // What was the bulk part when a round was taken stays as long as that, or nobody could be given back both.
    const beside = hot.rounds().flatMap((one) => bulkBeside(one, bulk.rounds())?.name ?? []);
    await bulk.remove(thin(bulk.rounds(), new Set([...pins().bulk, ...beside].map(roundText)), this.#pressure));
  }
}
