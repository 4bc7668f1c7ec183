import { lookup } from 'node:dns/promises';

const timings = {
  /** Programs are given mDNS, or it is taken from them, by a person. */
  againMs: 600_000,
  /** It may have been nobody's for a moment, as GitLab moved. */
  soonMs: 30_000,
} as const;

/**
 * Whether the programs of this machine find GitLab's name, as its C library does it for them: the agent itself needs nobody for that. One
 * look at a time, and only where somebody wants to know.
 */
export class NameFound {
  readonly #lookup: (name: string) => Promise<unknown>;
  readonly #now: () => number;
  #name = '';
  #missed = 0;
  #dueAt = 0;

  constructor(find: (name: string) => Promise<unknown> = lookup, now: () => number = () => performance.now()) {
    this.#lookup = find;
    this.#now = now;
  }

  /** Of a name that somebody answers to now. True once two looks in a row found nothing. */
  isMissing(name: string): boolean {
    if (name !== this.#name) [this.#name, this.#missed, this.#dueAt] = [name, 0, 0];
    if (this.#now() >= this.#dueAt) {
      this.#dueAt = Number.POSITIVE_INFINITY;
      void this.#look(name);
    }
    return this.#missed >= 2;
  }

  async #look(name: string): Promise<void> {
    const isFound = await this.#lookup(name).then(
      () => true,
      () => false,
    );
    if (name !== this.#name) return;
    this.#missed = isFound ? 0 : this.#missed + 1;
    this.#dueAt = this.#now() + (this.#missed === 1 ? timings.soonMs : timings.againMs);
  }
}
