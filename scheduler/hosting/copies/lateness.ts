import type { NodeId } from '../../../protocol/ids.ts';
import { span } from '../../phrases.ts';
import { copyTimings } from './copy-timings.ts';
import type { PushWait } from './push-wait.ts';
import type { StandbyRecord } from './standby-record.ts';
import type { TakenRounds } from './taken-rounds.ts';

export const lateMs = copyTimings.intervalMs + copyTimings.slackMs;

/** What arrives at one standby, of whichever rounds. */
interface Arriving {
  total: number;
  lastAt: number;
  /** The total at some times, oldest first. */
  samples: { at: number; total: number }[];
}

/**
 * How late each standby is with what the host took. A large round is given time while it arrives: as long as something of it was
 * heard of within the usual wait, and no longer than a slow line takes for what arrived. Time given is a removal put off, and a push
 * waits for that removal or for the round all the same (H10).
 */
export class Lateness {
  readonly #rounds: TakenRounds;
  readonly #wait: PushWait;
  readonly #arriving = new Map<NodeId, Arriving>();
  /** When the ledger was told first: nobody brought anything before, and what the agent of before took last is no standby's fault. */
  toldAt = 0;

  constructor(rounds: TakenRounds, wait: PushWait) {
    this.#rounds = rounds;
    this.#wait = wait;
  }

  /** So many bytes more arrived there; 0: it is heard of, and works on what did. */
  moved(node: NodeId, bytes: number, at: number): void {
    const known = this.#arriving.get(node) ?? { total: 0, lastAt: at, samples: [] };
    const newest = known.samples.at(-1);
    if (!newest || at - newest.at >= copyTimings.sampleMs) {
      known.samples = known.samples.filter((one) => one.at > at - copyTimings.arrivingMs);
      known.samples.push({ at, total: known.total });
    }
    known.total += bytes;
    known.lastAt = at;
    this.#arriving.set(node, known);
  }

  lackedSince(takenAt: number): number {
    return Math.max(takenAt, this.toldAt);
  }

  /** When it will have lacked a round for too long; Infinity while it lacks none. */
  lateAt(node: NodeId): number {
    const oldest = this.#rounds.oldestAfter(this.#wait.newestOf(node));
    return oldest ? this.#until(node, oldest.takenAt, lateMs) : Number.POSITIVE_INFINITY;
  }

  /** When a push will have waited for it for too long. */
  heldUpAt(node: NodeId): number {
    const round = this.#wait.lackedBy(node);
    const taken = round && this.#rounds.find(round);
    return taken ? this.#until(node, taken.takenAt, copyTimings.pushMs) : Number.POSITIVE_INFINITY;
  }

  /** Why it may be no member; null when it may. */
  whyOut(node: NodeId, record: StandbyRecord, at: number): string | null {
    const away = record.away ? `: ${record.away.because}` : '';
    if (record.hasLost) return 'has not got any more what it acknowledged';
    if (at >= this.heldUpAt(node)) return `lacks a round that a push waits for${away}`;
    if (at > this.lateAt(node)) return `lacks rounds of the last ${span(at - this.lateAt(node) + lateMs)}${away}`;
    return null;
  }

  #until(node: NodeId, takenAt: number, ms: number): number {
    const since = this.lackedSince(takenAt);
    const usual = since + ms;
    const known = this.#arriving.get(node);
    if (!known || known.lastAt < since) return usual;
    const before = known.samples.findLast((one) => one.at <= since)?.total ?? known.samples[0]?.total ?? known.total;
    const slowest = usual + (known.total - before) / copyTimings.leastBytesPerMs;
    return Math.max(usual, Math.min(slowest, known.lastAt + copyTimings.pushMs));
  }
}
