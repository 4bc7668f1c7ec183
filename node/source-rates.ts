interface RateLimits {
  /** In a row from one source, and ms until one more is free again. */
  burst: number;
  refillMs: number;
  /** Of more of them than that nothing is known. */
  sources: number;
}

/** A bucket for each source, such as an address. Those that were quiet until theirs was full again are forgotten. */
export class SourceRates {
  readonly #limits: RateLimits;
  /** The one that was heard last comes last. */
  readonly #buckets = new Map<string, { left: number; at: number }>();

  constructor(limits: RateLimits) {
    this.#limits = limits;
  }

  /** True when one more from there is allowed at `now` (ms); counts it. */
  take(source: string, now: number): boolean {
    const { burst, refillMs, sources } = this.#limits;
    const known = this.#buckets.get(source) ?? { left: burst, at: now };
    const left = Math.min(burst, known.left + Math.max(0, now - known.at) / refillMs);
    const may = left >= 1;
    this.#buckets.delete(source);
    this.#buckets.set(source, { left: may ? left - 1 : left, at: now });
    for (const [oldest, { at }] of this.#buckets) {
      if (this.#buckets.size <= sources && now - at < burst * refillMs) break;
      this.#buckets.delete(oldest);
    }
    return may;
  }

  get size(): number {
    return this.#buckets.size;
  }
}
