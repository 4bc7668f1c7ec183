import { setTimeout as sleep } from 'node:timers/promises';

/** Which of two that want this machine's lines goes first: push, then round, then bulk, then a whole copy of either part. */
export type Urgency = 'push' | 'round' | 'bulk' | 'copy';

const order: readonly Urgency[] = ['push', 'round', 'bulk', 'copy'];

const limits = {
  /** One that is more urgent and stands still holds nobody up for longer, at each of his chunks. */
  waitMs: 1_000,
  lookMs: 5,
} as const;

/**
 * Whose turn it is on the lines to all standbys: what is less urgent waits at each chunk while something more urgent is under
 * way, so that a whole copy of hours adds a chunk's time to a push, and no more.
 */
export class Turns {
  readonly #underWay = new Map<object, Urgency>();

  /** From now on; ended by what is returned. */
  begin(urgency: Urgency): { ready(signal: AbortSignal): Promise<void>; end(): void } {
    const key = {};
    this.#underWay.set(key, urgency);
    return {
      ready: (signal) => this.#ready(urgency, signal),
      end: () => void this.#underWay.delete(key),
    };
  }

  async #ready(urgency: Urgency, signal: AbortSignal): Promise<void> {
    const since = performance.now();
    while (!signal.aborted && this.#isBehind(urgency) && performance.now() - since < limits.waitMs)
      await sleep(limits.lookMs, undefined, { signal }).catch(() => undefined);
  }

  #isBehind(urgency: Urgency): boolean {
    return [...this.#underWay.values()].some((other) => order.indexOf(other) < order.indexOf(urgency));
  }
}
