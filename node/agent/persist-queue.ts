import { sentenceOf } from '../../protocol/errors.ts';
import type { EffectOf, Write } from '../../scheduler/effects.ts';
import { counts } from '../metrics/counts.ts';
import type { Store } from '../ports.ts';

const retryMs = { first: 100, most: 5_000 };
/** What nobody waits for is written this many ms later at most, together with what comes meanwhile. */
const batchWindowMs = 20;

interface PersistQueueOptions {
  store: Pick<Store, 'write'>;
  /** Called in order, once each, when the effect's writes are on disk. */
  done(effect: EffectOf<'persist'>): void;
  /** The store failed (true) or works again (false): a node that cannot write must not lead. */
  failing(failing: boolean, because: string): void;
}

/** True when nothing is sent after it and it promises nothing new, so that nobody waits for its fsync. */
const mayWaitForBatch = ({ writes, then }: EffectOf<'persist'>): boolean =>
  then.length === 0 && writes.every(({ key }) => key === 'committed');

/**
 * Life of a `persist`: queued -> written with fsync -> its `then` is done. One write is in flight at a time; what
 * comes meanwhile goes out as one batch after it (group commit), so that order holds and one fsync serves many.
 * What nobody waits for (a ledger that is accepted on this disk already is committed now) waits a moment for the next
 * write instead of making it wait for an fsync of its own: to the core this is a disk that is slower at times.
 * A failing store keeps everything queued and is tried again: nothing is said that is not on disk.
 */
export class PersistQueue {
  #waiting: EffectOf<'persist'>[] = [];
  #isBusy = false;
  #isLookWanted = false;
  #isClosed = false;
  #isEnding = false;
  #idle: (() => void)[] = [];
  #batchWindow: NodeJS.Timeout | null = null;
  readonly #options: PersistQueueOptions;

  constructor(options: PersistQueueOptions) {
    this.#options = options;
  }

  add(effect: EffectOf<'persist'>): void {
    for (const { key, value } of effect.writes) if (key === 'accepted' && value !== null) counts.accepted(value.stamp);
    this.#waiting.push(effect);
    if (!this.#isBusy && !this.#mayWait()) void this.#drain();
  }

  /** Writes nothing, to disk: one that fails is found out by a leader that has nothing to write, too. */
  look(): void {
    if (this.#isBusy || this.#waiting.length > 0) return;
    this.#isLookWanted = true;
    void this.#drain(true);
  }

  /** True when all that is queued may wait for a batch, and nobody waits for the queue; a timer then ends the wait. */
  #mayWait(): boolean {
    if (this.#idle.length > 0 || !this.#waiting.every(mayWaitForBatch)) return false;
    this.#batchWindow ??= setTimeout(() => {
      this.#batchWindow = null;
      void this.#drain(true);
    }, batchWindowMs);
    return true;
  }

  async #settled(): Promise<void> {
    if (!this.#isBusy && this.#waiting.length === 0) return;
    const settled = new Promise<void>((resolve) => this.#idle.push(resolve));
    if (!this.#isBusy) void this.#drain();
    await settled;
  }

  /** Resolves when everything queued so far is on disk, or at the first write that fails from now on: a disk that takes nothing keeps no agent from ending. It is closed then. */
  async end(): Promise<void> {
    this.#isEnding = true;
    await this.#settled();
    this.close();
  }

  close(): void {
    this.#isClosed = true;
    this.#endWait();
  }

  #endWait(): void {
    if (this.#batchWindow) clearTimeout(this.#batchWindow);
    this.#batchWindow = null;
  }

  /** `isDue`: what is queued has waited long enough. */
  async #drain(isDue = false): Promise<void> {
    this.#endWait();
    this.#isBusy = true;
    for (let first = isDue; this.#hasWork() && !this.#isClosed; first = false) {
      if (!first && this.#mayWait()) break;
      this.#isLookWanted = false;
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

  #hasWork(): boolean {
    return this.#waiting.length > 0 || this.#isLookWanted;
  }

  async #write(writes: Write[]): Promise<void> {
    for (let wait = 0; !this.#isClosed; wait = Math.min(retryMs.most, Math.max(retryMs.first, wait * 2))) {
      if (wait > 0) await new Promise((resolve) => setTimeout(resolve, wait));
      const began = performance.now();
      try {
        await this.#options.store.write(writes);
        counts.storeSeconds.add((performance.now() - began) / 1000);
        if (wait > 0) this.#options.failing(false, 'the store can be written again');
        return;
      } catch (error) {
        this.#options.failing(true, `the store cannot be written: ${sentenceOf(error)}`);
        if (this.#isEnding) this.close();
      }
    }
  }
}
