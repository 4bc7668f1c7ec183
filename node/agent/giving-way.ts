import { setTimeout as sleep } from 'node:timers/promises';
import type { Run } from '../../protocol/ledger.ts';
import type { Measured } from '../../protocol/report.ts';
import { triedAgain } from '../../scheduler/job-wish.ts';
import type { HoldWish, OwnerHold } from '../runs/owner-hold.ts';
import type { GiveWay, Way } from '../settings/give-way.ts';
import type { OwedRetries, OwedRetry } from './owed-retries.ts';
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
  /** Jobs that are to run again are on disk from before they end, so that the agent may end meanwhile. */
  owed: Pick<OwedRetries, 'load' | 'add' | 'settle'>;
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
  /** Runs whose end is waited for. */
  readonly #owing = new Set<string>();
  /** By run: what is done with it, and what follows where it was asked for meanwhile. */
  readonly #turns = new Map<string, { now: Promise<string | null>; next: Promise<string | null> | null }>();
  #timer: NodeJS.Timeout | null = null;
  #isStopped = false;

  constructor(tools: GivingWayTools) {
    this.#tools = tools;
  }

  /** Goes on with what the agent process before this one owed, too. Never throws. */
  async start(): Promise<void> {
    this.#timer = setInterval(() => void this.look(), lookEveryMs).unref();
    // One that still runs is ended again where it is in the way still; else it goes on, and nothing is owed for it.
    for (const owed of await this.#tools.owed.load()) void this.#runAgain(owed);
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

  /** What was done in this look, a sentence a job. A run whose memory moves holds up no other. Never throws. */
  async look(): Promise<string[]> {
    const runs = this.#tools.runs();
    for (const run of this.#ended) if (!runs.some((one) => one.run === run)) this.#ended.delete(run);
    const said = await Promise.all(runs.map(({ run }) => this.#inTurn(run)));
    return said.flatMap((sentence) => sentence ?? []);
  }

  /** One that is under way may have looked before what is asked for now was known: one more follows it, whoever else asks. */
  #inTurn(run: string): Promise<string | null> {
    const turn = this.#turns.get(run);
    if (turn === undefined) return this.#begin(run);
    turn.next ??= turn.now.then(() => this.#begin(run));
    return turn.next;
  }

  #begin(run: string): Promise<string | null> {
    const now = this.#lookAt(run);
    const turn = { now, next: null };
    this.#turns.set(run, turn);
    void now.then(() => {
      if (turn.next === null) this.#turns.delete(run);
    });
    return now;
  }

  /** For who waits for an answer: where it takes longer, `what` happens all the same. */
  async lookSoon(what: string, limitMs = answerMs): Promise<string[]> {
    const late = sleep(limitMs, [`${what}; how far it is: autogit-node status`], { ref: false });
    return Promise.race([this.look(), late]);
  }

  async #lookAt(id: string): Promise<string | null> {
    const { pause, measured, runs, rules, warn } = this.#tools;
    const run = runs().find((one) => one.run === id);
    if (run === undefined) return null;
    return this.#one(run, wayFor(run, ownerWishes(pause(), measured()), rules)).catch((error: Error) => {
      warn(`job ${run.job} and this machine's owner: ${error.message}`);
      return null;
    });
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

  async #end({ run, job }: Run, because: string): Promise<string> {
    this.#ended.add(run);
    const owed = { run, job, because };
    await this.#tools.owed.add(owed);
    this.#tools.end(run, because);
    void this.#runAgain(owed);
    return `job ${job} ends now, and runs again elsewhere`;
  }

  async #runAgain(owed: OwedRetry): Promise<void> {
    const { retry, warn } = this.#tools;
    if (this.#owing.has(owed.run)) return;
    this.#owing.add(owed.run);
    if (await this.#isDue(owed))
      await retry(owed.job).catch((error: Error) => {
        // Its own `retry:` was sooner.
        if (!error.message.includes(triedAgain))
          warn(`job ${owed.job}, which was ended for this machine's owner, is not run again: ${error.message}`);
      });
    // What is asked while the agent ends is asked once more by the next one, which is told that it was done.
    if (this.#isStopped) return;
    await this.#tools.owed.settle(owed.run);
    this.#owing.delete(owed.run);
  }

  /** Resolves with true when GitLab has its end, and it ended so. */
  async #isDue({ run, because }: OwedRetry): Promise<boolean> {
    for (const end = performance.now() + patienceMs; performance.now() < end; ) {
      await sleep(200, undefined, { ref: false });
      if (this.#isStopped) return false;
      const now = this.#tools.runs().find((one) => one.run === run);
      // Gone, given away, canceled by a person, or its script had ended by itself just before: nobody's to run again.
      if (now === undefined || now.state === 'lost' || now.state === 'discarded') return false;
      if (now.result !== null && now.result.because !== because) return false;
      if (now.state === 'delivered') return true;
    }
    return false;
  }
}
