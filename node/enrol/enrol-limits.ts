/** How much enrolling one machine may ask of us. */
export const enrolLimits = {
  /** Conversations at the same time, of all newcomers. */
  atOnce: 16,
  atOncePerAddress: 8,
  /** Knocks from one address in a row, and ms until one more is free again. */
  burst: 20,
  refillMs: 3000,
  /** ms for a newcomer's next word before its knock is pending. */
  idleMs: 30_000,
  /** ms that a knock may wait for a person. */
  pendingMs: 15 * 60_000,
  /** A pending newcomer hears from us so often, ms. */
  pulseMs: 10_000,
} as const;

/** A bucket of knocks per address; addresses that were quiet are forgotten. */
export class KnockRate {
  #buckets = new Map<string, { left: number; at: number }>();

  /** True when one more knock from there is allowed at `now` (ms); counts it. */
  allows(address: string, now: number): boolean {
    const old = this.#buckets.get(address);
    const refilled = old ? (now - old.at) / enrolLimits.refillMs : 0;
    const left = Math.min(enrolLimits.burst, (old?.left ?? enrolLimits.burst) + refilled);
    if (left < 1) {
      this.#buckets.set(address, { left, at: now });
      return false;
    }
    this.#buckets.delete(address);
    this.#buckets.set(address, { left: left - 1, at: now });
    for (const [one, { at }] of this.#buckets) {
      if (this.#buckets.size <= 256 && now - at < enrolLimits.burst * enrolLimits.refillMs) break;
      this.#buckets.delete(one);
    }
    return true;
  }
}
