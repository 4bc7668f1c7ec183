import { AutogitError, sentenceOf } from '../../protocol/errors.ts';
import { span } from '../../scheduler/phrases.ts';
import { frozenBy } from '../executors/run-members.ts';
import type { GpuUse } from '../ports.ts';
import { showBytes } from '../settings/quantities.ts';
import type { RunContext } from './run-context.ts';
import type { Verdict } from './run-progress.ts';

/** How a run makes way for its machine's owner without ending. `orEnds`: where `suspend` cannot be done it ends, else it is frozen. */
export interface HoldWish {
  how: 'freeze' | 'suspend';
  orEnds: boolean;
  /** Who wants what, as a part of a sentence: "its owner plays". */
  because: string;
}

/** `held`: it stands still, and what that frees. `refused`: it must end instead. `none`: it is ending anyway, or over. */
export type HoldOutcome = { kind: 'held' | 'refused'; said: string } | { kind: 'none' };

/** From the least on. */
const asks = ['freeze', 'suspend', 'suspend/end'] as const;
const askOf = ({ how, orEnds }: HoldWish): (typeof asks)[number] => (how === 'suspend' && orEnds ? 'suspend/end' : how);

const total = (uses: readonly GpuUse[]): number | null =>
  uses.every(({ bytes }) => bytes !== null) ? uses.reduce((sum, { bytes }) => sum + (bytes ?? 0), 0) : null;

/**
 * A run that stands still for its machine's owner. It is written down before it is done, so that the next agent process finds it held.
 * Its time at GitLab goes on: GitLab ends a job by its own clock, and the job's token with it.
 */
export class OwnerHold {
  readonly #run: RunContext;
  readonly #fail: (because: string) => void;
  #isGoingOn = false;

  constructor(run: RunContext, fail: (because: string) => void) {
    this.#run = run;
    this.#fail = fail;
    const { held } = run.record.progress;
    if (held !== null)
      void run.freezing.standStill(
        async () => undefined,
        () => false,
      );
  }

  get isHeld(): boolean {
    return this.#run.record.progress.held !== null;
  }

  /** Only a run that prepares, or is in its script: what comes behind it is short, needs no GPU, and would hang. */
  get #isAtWork(): boolean {
    const { record, ending, steps } = this.#run;
    const { phase, verdict, step, begun } = record.progress;
    // after_script has five minutes, over which it would be ended with nothing tidied.
    const isAfter = phase === 'steps' && begun && steps[step]?.isAfterScript === true;
    const isAtWork = (phase === 'preparing' || phase === 'steps') && verdict.state === 'success' && !isAfter;
    return isAtWork && ending.verdict === null && !ending.signal.aborted;
  }

  /** It is frozen, and more is asked for now than was then: its GPU memory, or that it ends without. */
  asksForMore(wish: HoldWish): boolean {
    const { held } = this.#run.record.progress;
    if (held === null || held.suspended.length > 0 || this.#run.record.run.gpus.length === 0) return false;
    return asks.indexOf(askOf(wish)) > asks.indexOf(held.asked);
  }

  hold(wish: HoldWish): Promise<HoldOutcome> {
    return this.#hold(wish, askOf(wish));
  }

  /** `asked`: what it was asked for first, which is not tried at each look anew. */
  async #hold(wish: HoldWish, asked: (typeof asks)[number]): Promise<HoldOutcome> {
    const { record, freezing, options } = this.#run;
    if (this.isHeld || !this.#isAtWork || freezing.isFrozen) return { kind: 'none' };
    const isPlaceToo = (): boolean => record.progress.phase === 'steps' || this.#run.isInHook === true;
    const { uses, unknown } = isPlaceToo() ? await this.#gpuUses() : { uses: [], unknown: null };
    const refusal = wish.how === 'suspend' ? (unknown ?? (await this.#refusal(uses))) : null;
    // The driver may have taken seconds to answer.
    if (this.isHeld || !this.#isAtWork || freezing.isFrozen) return { kind: 'none' };
    if (refusal !== null && wish.orEnds) return { kind: 'refused', said: refusal };
    const isSuspended = wish.how === 'suspend' && uses.length > 0 && refusal === null;
    const suspended = isSuspended ? uses.map(({ pid }) => pid) : [];
    const freed = isPlaceToo() ? this.#freed(uses, isSuspended, refusal) : 'its script has not begun, and waits';
    const said = `stands still, ${wish.because}: ${freed}`;
    await record.advance({ held: { sinceBootMs: options.clock.bootMs(), said, suspended, asked } });
    let hasMoved = false;
    try {
      await freezing.standStill(async () => {
        if (isSuspended) await options.gpuSuspender?.suspend(uses);
        hasMoved = isSuspended;
        if (!this.#isAtWork) throw new AutogitError('executor-failed', 'its script is over');
      }, isPlaceToo);
    } catch (error) {
      if (hasMoved) await this.#putBack(suspended);
      await record.advance({ held: null });
      if (!this.#isAtWork) return { kind: 'none' };
      const because = sentenceOf(error);
      options.log.warn(`job ${record.run.job} does not stand still: ${because}`);
      if (!isSuspended || wish.orEnds) return { kind: 'refused', said: because };
      // What the driver said stays in the sentence: a process that it failed with may be broken.
      return this.#hold({ ...wish, how: 'freeze', because: `${wish.because} (not suspended: ${because})` }, asked);
    }
    record.tell({ held: said });
    return { kind: 'held', said };
  }

  /** It goes on; also where another reason to stand still remains. */
  async goOn(): Promise<void> {
    const { record, freezing, options } = this.#run;
    const { held } = record.progress;
    if (held === null || this.#isGoingOn) return;
    this.#isGoingOn = true;
    try {
      await freezing.goOn(async () => {
        // Written down as done once it is: an agent that ends meanwhile leaves it to the next one.
        if (held.suspended.length > 0) await this.#putBack(held.suspended);
        const heldMs = record.progress.heldMs + Math.max(0, options.clock.bootMs() - held.sinceBootMs);
        await record.advance({ held: null, heldMs });
        record.tell({ held: undefined });
      });
    } finally {
      this.#isGoingOn = false;
    }
  }

  /** A run that is ended does not stand still for its end; nor does one whose script is over. */
  tick(): void {
    const { ending, record } = this.#run;
    const { verdict, signal } = ending;
    // What is told is not kept with what is done: an agent that ends in between leaves the one without the other.
    const said = record.progress.held?.said;
    if (record.run.held !== said) record.tell({ held: said });
    // The signal is another one by the time at which after_script waits.
    if (this.isHeld && (verdict !== null || signal.aborted))
      void this.goOn().catch((error: Error) => this.#run.options.log.warn(error.message));
  }

  /** Of one that has met its time: that is no fault of a job which could not use it. */
  lateVerdict(timeoutMs: number): Verdict {
    const { held, heldMs } = this.#run.record.progress;
    const now = held === null ? 0 : this.#run.options.clock.bootMs() - held.sinceBootMs;
    const limit = `${Math.round(timeoutMs / 1000)} s`;
    const stood = heldMs + now;
    return stood > 0
      ? {
          ...{ state: 'failed', cause: 'owner', exitCode: null },
          because: `it stood still for ${span(stood)} for the owner of its machine, and its time at GitLab, ${limit}, is over`,
        }
      : { state: 'failed', cause: 'timeout', exitCode: null, because: `execution took longer than ${limit}` };
  }

  async #putBack(pids: readonly number[]): Promise<void> {
    await this.#run.options.gpuSuspender
      ?.resume(pids)
      .catch((error: Error) => this.#fail(`what it had in GPU memory cannot be put back: ${error.message}`));
  }

  /** `unknown`: why nobody can say what it has there, so that it cannot be moved either. */
  async #gpuUses(): Promise<{ uses: GpuUse[]; unknown: string | null }> {
    const { workspace, record, options } = this.#run;
    const { gpus } = record.run;
    if (gpus.length === 0 || !options.gpuSuspender) return { uses: [], unknown: null };
    if (options.gpusByUuid(gpus).some(({ vendor }) => vendor !== 'nvidia'))
      return { uses: [], unknown: 'only NVIDIA’s drivers can do it' };
    const freezer = await workspace?.freezer?.().catch(() => null);
    const pids = new Set((freezer ? frozenBy(freezer) : []).map(({ pid }) => pid));
    if (pids.size === 0) return { uses: [], unknown: null };
    return options.gpuSuspender.usesOf(pids).then(
      (uses) => ({ uses, unknown: null }),
      (error: Error) => ({ uses: [], unknown: error.message }),
    );
  }

  /** Nothing of it lies in GPU memory: nothing is to be moved. */
  async #refusal(uses: readonly GpuUse[]): Promise<string | null> {
    return uses.length === 0 ? null : ((await this.#run.options.gpuSuspender?.refusal(uses)) ?? null);
  }

  #freed(uses: readonly GpuUse[], isSuspended: boolean, refusal: string | null): string {
    const bytes = total(uses);
    const much = bytes === null ? 'what it has' : showBytes(bytes);
    if (isSuspended) return `its processor and its GPU are free, ${much} moved from GPU memory into main memory`;
    if (this.#run.record.run.gpus.length === 0) return 'its processor is free, its memory is not';
    const keeps = uses.length > 0 && bytes !== null ? `it keeps ${much} of GPU memory` : 'it keeps its GPU memory';
    const why = refusal === null ? '' : ` (not suspended: ${refusal})`;
    return `its processor and its GPU's time are free, ${keeps}${why}`;
  }
}
