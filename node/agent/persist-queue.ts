import type { EffectOf, Write } from '../../scheduler/effects.ts';
import type { Store } from '../ports.ts';

const retryMs = { first: 100, most: 5_000 };

interface PersistQueueOptions {
  store: Pick<Store, 'write'>;
  /** Called in order, once each, when the effect's writes are on disk. */
  done(effect: EffectOf<'persist'>): void;
  /** The store failed (true) or works again (false): a node that cannot write must not lead. */
  failing(failing: boolean, because: string): void;
}

/**
 * Life of a `persist`: queued -> written with fsync -> its `then` is done. One write is in flight at a time; what
 * comes meanwhile goes out as one batch after it (group commit), so that order holds and one fsync serves many.
 * A failing store keeps everything queued and is tried again: nothing is said that is not on disk.
 */
export class PersistQueue {
  #waiting: EffectOf<'persist'>[] = [];
  #isBusy = false;
  #isClosed = false;
  #idle: (() => void)[] = [];
  readonly #options: PersistQueueOptions;

  constructor(options: PersistQueueOptions) {
    this.#options = options;
  }

  add(effect: EffectOf<'persist'>): void {
    this.#waiting.push(effect);
    if (!this.#isBusy) void this.#drain();
  }

  /** Resolves when everything queued so far is on disk. */
  async settled(): Promise<void> {
    if (!this.#isBusy && this.#waiting.length === 0) return;
    await new Promise<void>((resolve) => this.#idle.push(resolve));
  }

  close(): void {
    this.#isClosed = true;
  }

  async #drain(): Promise<void> {
    this.#isBusy = true;
    while (this.#waiting.length > 0 && !this.#isClosed) {
      const batch = this.#waiting;
      this.#waiting = [];
      const last = new Map<string, Write>();
      for (const effect of batch) for (const write of effect.writes) last.set(write.key, write);
      await this.#write([...last.values()]);
      if (this.#isClosed) break;
      for (const effect of batch) this.#options.done(effect);
    }
    this.#isBusy = false;
    for (const resolve of this.#idle.splice(0)) resolve();
  }

  async #write(writes: Write[]): Promise<void> {
    for (let wait = 0; !this.#isClosed; wait = Math.min(retryMs.most, Math.max(retryMs.first, wait * 2))) {
      if (wait > 0) await new Promise((resolve) => setTimeout(resolve, wait));
      try {
        await this.#options.store.write(writes);
        if (wait > 0) this.#options.failing(false, 'the store can be written again');
        return;
      } catch (error) {
        this.#options.failing(true, `the store cannot be written: ${error instanceof Error ? error.message : error}`);
      }
    }
  }
}
