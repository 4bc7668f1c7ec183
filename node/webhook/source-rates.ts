export const rateLimits = { aMinute: 60, sources: 1024 };

/** How much each source may still send: 60 at once, and one more each second. Of sources that nobody heard of lately nothing is kept. */
export class SourceRates {
  /** The one that was heard last comes last. */
  readonly #left = new Map<string, { left: number; at: number }>();

  /** False: it has sent too much. `atMs`: monotonic. */
  take(source: string, atMs: number): boolean {
    const known = this.#left.get(source) ?? { left: rateLimits.aMinute, at: atMs };
    const gained = (Math.max(0, atMs - known.at) * rateLimits.aMinute) / 60_000;
    const left = Math.min(rateLimits.aMinute, known.left + gained);
    const may = left >= 1;
    this.#left.delete(source);
    this.#left.set(source, { left: may ? left - 1 : left, at: atMs });
    for (const oldest of this.#left.keys()) {
      if (this.#left.size <= rateLimits.sources) break;
      this.#left.delete(oldest);
    }
    return may;
  }

  get size(): number {
    return this.#left.size;
  }
}
