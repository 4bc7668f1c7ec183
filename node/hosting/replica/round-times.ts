import type { RoundName } from '../../../protocol/round-name.ts';
import type { Clock } from '../../clock.ts';
import type { Replica, Round } from './replica-ports.ts';

interface RoundTimesOptions {
  era: number;
  epoch: number;
  clock: Pick<Clock, 'bootMs' | 'bootId' | 'wallMs'>;
}

/** A round that is about to be taken. */
export interface NextRound {
  name: RoundName;
  /** Boot time of its taking. */
  bootMs: number;
  /** By the host's own count of time (`DatedRound`). */
  atMs: number;
}

/** Names of a host's rounds, and when they were taken: both go on from what the rounds say that lie here. */
export class RoundTimes {
  readonly #options: RoundTimesOptions;
  #number = 0;
  #atMs = 0;
  #lastBootMs = 0;

  constructor(options: RoundTimesOptions) {
    this.#options = options;
  }

  /** Of the newest round that lies here; null where none does. */
  resume(newest: Round | null): void {
    const { era, epoch, clock } = this.#options;
    if (newest?.name.era === era && newest.name.epoch === epoch) this.#number = newest.name.number;
    this.#atMs = newest?.atMs ?? 0;
    this.#lastBootMs = clock.bootMs();
  }

  /** Also of a round that comes to nothing: a number is used once only. `above`: the highest that is used elsewhere. */
  next(above: number): NextRound {
    const { era, epoch, clock } = this.#options;
    const bootMs = clock.bootMs();
    this.#atMs += Math.max(0, bootMs - this.#lastBootMs);
    this.#lastBootMs = bootMs;
    this.#number = Math.max(this.#number, above) + 1;
    return { name: { era, epoch, number: this.#number }, bootMs, atMs: this.#atMs };
  }

  /** By boot time: of this boot exactly, of an earlier one as far as the wall clock is to be believed. */
  takenAt(replica: Replica, round: Round): number {
    const { clock } = this.#options;
    const moment = replica.momentOf(round);
    if (moment?.boot === clock.bootId()) return Math.min(moment.ms, clock.bootMs());
    return clock.bootMs() - Math.max(0, clock.wallMs() - round.wallMs);
  }
}
