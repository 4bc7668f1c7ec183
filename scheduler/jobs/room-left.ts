import type { Demand } from './demand.ts';
import type { MachineView } from './machine-fit.ts';
import { booked } from './machines.ts';
import { shareInUse } from './placement.ts';
import { type Claim, less } from './room.ts';

/**
 * What is left of each machine while one pass over the queue gives it away, by its place among all machines. Most grants take no GPU
 * and so change four numbers, which stand in columns: a pass looks at them tens of thousands of times. Everything else of a
 * machine stays as it was seen, but for its GPUs, which few grants take.
 */
export class RoomLeft {
  /** As they were seen, with the grants that took GPUs. */
  readonly #machines: MachineView[];
  readonly #cpuMillis: Float64Array;
  readonly #memoryBytes: Float64Array;
  readonly #diskBytes: Float64Array;
  readonly #runs: Float64Array;
  /** Of each machine, what its owner lets run at once. */
  readonly #mostRuns: Float64Array;
  readonly #ofMillis: Float64Array;

  constructor(machines: readonly MachineView[]) {
    const count = machines.length;
    this.#machines = [...machines];
    this.#cpuMillis = new Float64Array(count);
    this.#memoryBytes = new Float64Array(count);
    this.#diskBytes = new Float64Array(count);
    this.#runs = new Float64Array(count);
    this.#mostRuns = new Float64Array(count);
    this.#ofMillis = new Float64Array(count);
    for (let index = 0; index < count; index++) {
      const { measured } = machines[index]!;
      this.#mostRuns[index] = measured?.maxRuns ?? Number.POSITIVE_INFINITY;
      this.#ofMillis[index] = measured?.capacity.cpuMillis ?? 0;
      this.#readDown(index);
    }
  }

  #readDown(index: number): void {
    const { room, runs } = this.#machines[index]!;
    this.#cpuMillis[index] = room?.cpuMillis ?? 0;
    this.#memoryBytes[index] = room?.memoryBytes ?? 0;
    this.#diskBytes[index] = room?.diskBytes ?? 0;
    this.#runs[index] = runs;
  }

  /** The machine as it is now. */
  at(index: number): MachineView {
    const machine = this.#machines[index]!;
    if (machine.room === null || machine.runs === this.#runs[index]) return machine;
    const now: MachineView = {
      ...machine,
      runs: this.#runs[index]!,
      room: {
        ...machine.room,
        cpuMillis: this.#cpuMillis[index]!,
        memoryBytes: this.#memoryBytes[index]!,
        diskBytes: this.#diskBytes[index]!,
      },
    };
    this.#machines[index] = now;
    return now;
  }

  /** One more run is there, with what it claims; a machine without a report has no room that could be taken. */
  take(index: number, claim: Claim): void {
    if (this.#machines[index]!.room === null) return;
    if (claim.gpus.length > 0) {
      this.#machines[index] = booked(this.at(index), claim);
      return this.#readDown(index);
    }
    this.#cpuMillis[index] = less(this.#cpuMillis[index]!, claim.cpuMillis);
    this.#memoryBytes[index] = less(this.#memoryBytes[index]!, claim.memoryBytes);
    this.#diskBytes[index] = less(this.#diskBytes[index]!, claim.diskBytes);
    this.#runs[index]! += 1;
  }

  /** Whether what is left of a machine is enough, its GPUs aside: `fitOf` says which of it is not. */
  hasRoom(index: number, demand: Demand): boolean {
    return (
      this.#runs[index]! < this.#mostRuns[index]! &&
      this.#cpuMillis[index]! >= demand.cpuMillis &&
      this.#memoryBytes[index]! >= demand.memoryBytes &&
      this.#diskBytes[index]! >= demand.diskBytes
    );
  }

  /** As in a rank. */
  share = (index: number, demand: Demand): number =>
    shareInUse(this.#cpuMillis[index]!, demand, this.#ofMillis[index]!);

  runs = (index: number): number => this.#runs[index]!;
}
