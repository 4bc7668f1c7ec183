import type { Effect, EffectOf } from '../../scheduler/effects.ts';
import type { Happened, Input } from '../../scheduler/inputs.ts';
import type { CoreState } from '../../scheduler/state.ts';
import { step } from '../../scheduler/step.ts';
import type { Store } from '../ports.ts';
import { PersistQueue } from './persist-queue.ts';

/** Performs every effect but `persist`, which is the loop's own. Must not throw. */
type EffectHandler = (effect: Exclude<Effect, { kind: 'persist' }>) => void;

interface CoreLoopOptions {
  state: CoreState;
  store: Pick<Store, 'write'>;
  clock: { bootMs(): number; wallMs(): number };
  perform: EffectHandler;
  storeFailing(failing: boolean, because: string): void;
  /** A broken invariant: the agent must end with its numbers. */
  crashed(error: unknown): void;
}

/** setTimeout's limit; the loop simply looks again. */
const longestTimerMs = 60_000;

/**
 * Runs the pure core in the real world: inputs in, one at a time; effects out, in order; one timer for `wakeAt`.
 * Inputs that effects cause are queued, never nested, so that each step sees the state that the one before it left.
 */
export class CoreLoop {
  state: CoreState;
  readonly #options: CoreLoopOptions;
  readonly #queue: Input[] = [];
  readonly #persist: PersistQueue;
  #isRunning = false;
  #isStopped = false;
  #timer: NodeJS.Timeout | null = null;
  #wakeAt = Number.POSITIVE_INFINITY;
  #timerFor = Number.POSITIVE_INFINITY;
  /** Boot time less the monotonic clock, as the last input found them. */
  #bootAhead = 0;

  constructor(options: CoreLoopOptions) {
    this.#options = options;
    this.state = options.state;
    this.#persist = new PersistQueue({
      store: options.store,
      done: (effect) => {
        this.#performAll(effect.then);
        this.feed({ kind: 'persisted', part: effect.part, seq: effect.seq });
      },
      failing: options.storeFailing,
    });
  }

  /** Tells the core what happened; the time is read here, fresh. */
  feed(happened: Happened): void {
    if (this.#isStopped) return;
    const { bootMs, wallMs } = this.#options.clock;
    const at = bootMs();
    this.#bootAhead = at - performance.now();
    this.#queue.push({ ...happened, at, wallMs: wallMs() });
    if (!this.#isRunning) this.#run();
  }

  /** Finds out whether the store can still be written. */
  lookAtStore(): void {
    this.#persist.look();
  }

  async stop(): Promise<void> {
    await this.#persist.end();
    this.halt();
  }

  /** Stops at once, as a crash would: what is not on disk is lost. */
  halt(): void {
    this.#isStopped = true;
    this.#persist.close();
    if (this.#timer) clearTimeout(this.#timer);
  }

  #run(): void {
    this.#isRunning = true;
    try {
      for (let input = this.#queue.shift(); input && !this.#isStopped; input = this.#queue.shift()) {
        const { state, effects, wakeAt } = step(this.state, input);
        this.state = state;
        this.#wakeAt = wakeAt;
        this.#performAll(effects);
      }
      this.#schedule();
    } catch (error) {
      this.halt();
      this.#options.crashed(error);
    } finally {
      this.#isRunning = false;
    }
  }

  /**
   * What goes to other machines first: it has the longer way, over the network and to their disks. Then this disk, and what
   * may be said only after it is in `then`; the rest last.
   */
  #performAll(effects: readonly Effect[]): void {
    for (const effect of effects) if (effect.kind === 'send') this.#options.perform(effect);
    for (const effect of effects) if (effect.kind === 'persist') this.#persist.add(effect as EffectOf<'persist'>);
    for (const effect of effects)
      if (effect.kind !== 'send' && effect.kind !== 'persist') this.#options.perform(effect);
  }

  #schedule(): void {
    if (this.#timer && this.#timerFor === this.#wakeAt) return;
    if (this.#timer) clearTimeout(this.#timer);
    this.#timer = null;
    this.#timerFor = this.#wakeAt;
    if (this.#isStopped || this.#wakeAt === Number.POSITIVE_INFINITY) return;
    // By the monotonic clock: to read boot time once more, from a file, is a fortieth of an idle leader. A timer knows no suspend either.
    const now = performance.now() + this.#bootAhead;
    const wait = Math.min(longestTimerMs, Math.max(0, Math.ceil(this.#wakeAt - now)));
    this.#timer = setTimeout(() => {
      this.#timer = null;
      this.feed({ kind: 'ticked' });
    }, wait);
  }
}
