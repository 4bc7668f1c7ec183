import { setTimeout as sleep } from 'node:timers/promises';
import type { Run } from '../../protocol/ledger.ts';
import type { Measured } from '../../protocol/report.ts';
import { triedAgain } from '../../scheduler/job-wish.ts';
import type { HoldWish, OwnerHold } from '../runs/owner-hold.ts';
import type { GiveWay, Way } from '../settings/give-way.ts';
import { ownerWishes, type PauseState, wayFor } from './owner-wishes.ts';

/** What is needed to have runs make way for the machine's owner. */
interface GivingWayTools {
  rules: GiveWay;
  pause(): PauseState;
  measured(): Measured | null;
  /** Runs of this node. */
  runs(): readonly Run[];
  holdOf(run: string): Pick<OwnerHold, 'isHeld' | 'hold' | 'goOn' | 'asksForMore'> | undefined;
  /** Ends its script: the run fails with that sentence, which retries count as the machine's fault. */
  end(run: string, because: string): void;
  /** Runs the job again; whoever does it looks first whether GitLab has done so by itself. */
  retry(job: number): Promise<unknown>;
  warn(sentence: string): void;
  info(sentence: string): void;
}

/** A whole card's memory takes seconds to move; who asked is answered before. */
const answerMs = 30_000;
const lookEveryMs = 1_000;
/** ms; after_script, artifacts and a GitLab that is away come before a job is run again. */
const patienceMs = 3_600_000;

/**
 * Has each run of this node do what its owner wants of it now: looked at each second, anew from what is measured, so that a run
 * which comes late makes way too, one that an earlier agent process held goes on, and nothing is forgotten in between.
 */
export class GivingWay {
  readonly #tools: GivingWayTools;
  /** Runs that were ended, for good. */
  readonly #ended = new Set<string>();
  #timer: NodeJS.Timeout | null = null;
  #looking: Promise<string[]> | null = null;
  #isStopped = false;

  constructor(tools: GivingWayTools) {
    this.#tools = tools;
  }

  start(): void {
    this.#timer = setInterval(() => void this.look(), lookEveryMs).unref();
  }

  stop(): void {
    this.#isStopped = true;
    if (this.#timer) clearInterval(this.#timer);
  }

  /** What `pause --now` would make of each run. */
  plan(what: 'gpu' | 'all', way: Way | null): { job: number; way: Way }[] {
    const { runs, rules, measured } = this.#tools;
    const now = { paused: what, because: null, now: { what, way } };
    const wishes = ownerWishes(now, measured());
    return runs().flatMap((run) => {
      const found = wayFor(run, wishes, rules);
      return found === null ? [] : { job: run.job, way: found.way };
    });
  }

  /** What was done in this look, a sentence a job. Never throws. */
  async look(): Promise<string[]> {
    // One that is under way may have looked before what is asked for now was known.
    if (this.#looking !== null) await this.#looking;
    this.#looking ??= this.#look().finally(() => {
      this.#looking = null;
    });
    return this.#looking;
  }

  /** For who waits for an answer: where it takes longer, `what` happens all the same. */
  async lookSoon(what: string, limitMs = answerMs): Promise<string[]> {
    const late = sleep(limitMs, [`${what}; how far it is: autogit-node status`], { ref: false });
    return Promise.race([this.look(), late]);
  }

  async #look(): Promise<string[]> {
    const tools = this.#tools;
    const wishes = ownerWishes(tools.pause(), tools.measured());
    const runs = tools.runs();
    for (const run of this.#ended) if (!runs.some((one) => one.run === run)) this.#ended.delete(run);
    const said = await Promise.all(
      runs.map((run) =>
        this.#one(run, wayFor(run, wishes, tools.rules)).catch((error: Error) => {
          tools.warn(`job ${run.job} and this machine's owner: ${error.message}`);
          return null;
        }),
      ),
    );
    return said.flatMap((sentence) => sentence ?? []);
  }

  async #one(run: Run, wish: ReturnType<typeof wayFor>): Promise<string | null> {
    const hold = this.#tools.holdOf(run.run);
    if (hold === undefined || this.#ended.has(run.run) || this.#isStopped) return null;
    if (wish === null || wish.way === 'finish') {
      if (!hold.isHeld) return null;
      await hold.goOn();
      // Something else may have it stand still, until which it is asked again.
      if (!hold.isHeld) this.#tools.info(`job ${run.job} goes on: this machine's owner no longer wants what it uses`);
      return null;
    }
    if (wish.way === 'end') return this.#end(run, wish.because);
    const how = wish.way === 'freeze' ? 'freeze' : 'suspend';
    const asked: HoldWish = { how, orEnds: wish.way === 'suspend/end', because: wish.because };
    if (hold.isHeld) {
      if (!hold.asksForMore(asked)) return null;
      // What stands still cannot be suspended.
      await hold.goOn();
    }
    const outcome = await hold.hold(asked);
    if (outcome.kind === 'none') return null;
    if (outcome.kind === 'refused')
      return this.#end(run, `${wish.because}, and it cannot stand still: ${outcome.said}`);
    this.#tools.info(`job ${run.job} ${outcome.said}`);
    return `job ${run.job} ${outcome.said}`;
  }

  #end(run: Run, because: string): string {
    this.#ended.add(run.run);
    this.#tools.end(run.run, because);
    void this.#runAgain(run, because);
    return `job ${run.job} ends now, and runs again elsewhere`;
  }

  async #runAgain({ run, job }: Run, because: string): Promise<void> {
    const { runs, retry, warn } = this.#tools;
    for (const end = performance.now() + patienceMs; performance.now() < end; ) {
      await sleep(200, undefined, { ref: false });
      if (this.#isStopped) return;
      const now = runs().find((one) => one.run === run);
      // Gone, given away, canceled by a person, or its script had ended by itself just before: nobody's to run again.
      if (now === undefined || now.state === 'lost' || now.state === 'discarded') return;
      if (now.result !== null && now.result.because !== because) return;
      if (now.state !== 'delivered') continue;
      return retry(job).then(
        () => undefined,
        (error: Error) => {
          // Its own `retry:` was sooner.
          if (!error.message.includes(triedAgain))
            warn(`job ${job}, which was ended for this machine's owner, is not run again: ${error.message}`);
        },
      );
    }
  }
}
