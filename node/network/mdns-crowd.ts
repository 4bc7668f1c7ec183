import { limits } from '../../protocol/limits.ts';

/** With so many other agents on one LAN it is enough that some of them ask and answer. */
const crowd = limits.smallMesh;
/** ms for which an agent that was heard counts as present. */
const memoryMs = 60_000;
const most = 64;
const gapMs = { alone: 20, perAgent: 50 };

/**
 * The agents that speak mDNS on this LAN, by label. Every agent hears every answer, whichever of them asked: so in a crowd
 * each of them asks and answers less, and the cost does not grow with the square of their number. Times are monotonic ms.
 */
export class MdnsCrowd {
  /** When each agent was last heard; the one heard longest ago comes first. */
  #heard = new Map<string, number>();
  #askedAt = Number.NEGATIVE_INFINITY;

  /** An agent other than this one answered, or said where it is. */
  heard(label: string, now: number): void {
    this.#heard.delete(label);
    this.#heard.set(label, now);
    for (const [old, at] of this.#heard) {
      if (this.#heard.size <= most && now - at < memoryMs) break;
      this.#heard.delete(old);
    }
  }

  /** Another agent asked who is there. */
  asked(now: number): void {
    this.#askedAt = now;
  }

  /** True when a question at `now` would be one too many: another agent of a crowd asked in the last `ms`. */
  isAskedFor(ms: number, now: number): boolean {
    return now - this.#askedAt < ms && this.#count(now - memoryMs) >= crowd;
  }

  /** True when so many were heard since `since` that asking once more would tell little. */
  hasAnsweredSince(since: number): boolean {
    return this.#count(since) >= crowd;
  }

  /** ms that must lie between two answers of this agent. */
  answerGapMs(now: number): number {
    const count = this.#count(now - memoryMs);
    return count < crowd ? gapMs.alone : gapMs.perAgent * count;
  }

  #count(since: number): number {
    let count = 0;
    for (const at of this.#heard.values()) if (at >= since) count += 1;
    return count;
  }
}
