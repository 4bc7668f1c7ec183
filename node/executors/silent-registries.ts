import { showDuration } from '../settings/quantities.ts';

/** So long a registry that kept a job waiting for nothing is not asked again whether it has something newer. */
const rememberedMs = 180_000;
/** One that says no at once costs the next job nothing either. */
const slowMs = 1000;
/** Names of registries are the jobs' own words. */
const most = 64;

/**
 * Registries that a firewall drops, or that stand behind a dead link: to learn that takes ten seconds, and each job of a home without
 * internet paid them. In memory alone, as the next agent may be on another network.
 */
export class SilentRegistries {
  readonly #now: () => number;
  readonly #since = new Map<string, number>();

  /** `now` in ms, for tests. */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  /** It was waited for so long, and gave no answer. */
  silent(registry: string, waitedMs: number): void {
    if (waitedMs < slowMs) return;
    this.#since.delete(registry);
    this.#since.set(registry, this.#now());
    const [oldest] = this.#since.keys();
    if (this.#since.size > most && oldest !== undefined) this.#since.delete(oldest);
  }

  answered(registry: string): void {
    this.#since.delete(registry);
  }

  /** When it did not answer and when it is asked again, as a part of a sentence; null: it may be asked. */
  words(registry: string): string | null {
    const since = this.#since.get(registry);
    if (since === undefined) return null;
    const agoMs = this.#now() - since;
    if (agoMs >= rememberedMs) {
      this.#since.delete(registry);
      return null;
    }
    return `did not answer ${showDuration(agoMs)} ago, and is asked again in ${showDuration(rememberedMs - agoMs)}`;
  }
}
