import { setTimeout as sleep } from 'node:timers/promises';
import { type DeliveryAge, firstTry, isGivenUp, nextDelivery } from '../../gitlab-bridge/delivery.ts';
import { type JobRef, type JobUpdate, patchTrace, updateJob } from '../../gitlab-bridge/gitlab-runner.ts';
import {
  contentRange,
  newTraceSender,
  nextQuestionAt,
  nextTraceAction,
  type TraceAction,
  type TraceAnswer,
  type TraceSender,
  type TraceSignal,
  traceAnswered,
  traceLimits,
} from '../../gitlab-bridge/trace.ts';
import type { GitlabReturn } from './gitlab-return.ts';
import { leaseLimits } from './run-lease.ts';
import type { TraceLog } from './trace-log.ts';

/**
 * A run's line to GitLab, as long as the run lives: sends the trace, says `running` when there is none, hears that the
 * job was cancelled or is no longer ours, and at the end delivers the result, as long as `deliveryLimits` say. One call at a time;
 * while the run lives on GitLab's word alone, one question more beside a call that is not answered yet.
 */
export interface GitlabLineOptions {
  /** Where GitLab is now: it may move while the run lives. */
  line(): JobRef;
  trace: TraceLog;
  acked: number;
  /** Its trace shows what its variables hold. */
  isDebugged?: boolean;
  bootMs(): number;
  /** ms between signs of life: short while the leader is silent (SAFETY J1). */
  keepAliveMs(): number;
  /** GitLab has bytes up to here. */
  onAcked(bytes: number): void;
  /** canceling: end the script, run after_script. over: the job is no longer ours, or ended at GitLab. */
  onVerdict(verdict: 'canceling' | 'over', because: string): void;
  returning?: GitlabReturn | undefined;
  /** ms since the job ended, by the clock on the wall: it counts over restarts of the agent, and reboots. */
  sinceEndMs?(): number;
}

type Delivery = { kind: 'delivered' } | { kind: 'disowned' | 'given-up'; because: string };

const patchTimeoutMs = 15_000;
/** A question on which the run's life hangs is not waited for longer: an older word gives no right any more. */
const urgentTimeoutMs = leaseLimits.rightMs;
/** After which a question is looked at again that is due and may not be asked yet. */
const dueAgainMs = 25;
/** GitLab's own refusals (no 5xx, no proxy's page) of the same patch before the result goes without the rest. */
const mostRefusals = 8;
/** The same of web pages of something before GitLab, each while GitLab itself took another call of this job. */
const mostPages = 5;

export class JobReporter {
  readonly #options: GitlabLineOptions;
  readonly #gone = new AbortController();
  #sender: TraceSender;
  #hurryTo = 0;
  #isFinal = false;
  #finalAt = 0;
  #refusals = 0;
  #pages = 0;
  #isAsked = false;
  /** When GitLab was last asked anything, and how long its last answer took. */
  #askedMs = Number.NEGATIVE_INFINITY;
  #tookMs = 0;
  #isAskedBeside = false;
  readonly #forgetReturn: () => void;
  #lastJobStatus: string | null = null;
  #wake: () => void = () => undefined;
  #loop: Promise<void> | null = null;

  constructor(options: GitlabLineOptions) {
    this.#options = options;
    this.#sender = newTraceSender(options.acked);
    options.trace.onGrow = () => this.wake();
    this.#forgetReturn = options.returning?.onBack(() => this.#tryNow()) ?? (() => undefined);
  }

  /** When GitLab last answered 2xx for this job, boot ms; -Infinity when never. */
  get heardAt(): number {
    return this.#sender.heardAt;
  }

  get #isRefused(): boolean {
    return this.#refusals >= mostRefusals || this.#pages >= mostPages;
  }

  get acked(): number {
    return this.#sender.acked;
  }

  start(): void {
    this.#loop ??= this.#run();
  }

  /** Something changed that `keepAliveMs` or the trace knows: look again. */
  wake(): void {
    this.#wake();
  }

  /** What is in the trace now goes out at once, e.g. the first bytes of the script. */
  hurry(): void {
    this.#hurryTo = this.#options.trace.length;
    this.wake();
  }

  /** Asks GitLab at once how the job is: somebody may be canceling it, and its script may say nothing for long. */
  askNow(): void {
    this.#isAsked = true;
    this.wake();
  }

  /** Ends the line without a word to GitLab. */
  async stop(): Promise<void> {
    this.#gone.abort();
    this.#forgetReturn();
    this.#wake();
    await this.#loop;
  }

  /** Sends the rest of the trace, then the result, until GitLab has it, disowns the run, it is given up, or `stop`. Null when stopped. */
  async deliver(update: () => JobUpdate): Promise<Delivery | null> {
    this.#isFinal = true;
    this.#finalAt = this.#options.bootMs();
    // Once more at least: what stood in the way may be gone.
    if (this.#pages >= mostPages) this.#pages = mostPages - 1;
    this.#tryNow();
    await this.#loop;
    if (this.#gone.signal.aborted) return null;
    if (this.#sender.phase === 'ended') return this.#ended(update().state);
    for (let tries = firstTry; ; ) {
      const answer = await updateJob(this.#options.line(), this.#whole(update()), { signal: this.#gone.signal });
      if (this.#gone.signal.aborted) return null;
      this.#lastJobStatus = answer.jobStatus ?? this.#lastJobStatus;
      const next = nextDelivery(tries, answer, this.#age(), this.#sender.phase === 'live');
      if (next.kind === 'over') return this.#ended(update().state, next.because);
      if (next.kind !== 'again') return next;
      if (answer.status === 'away') this.#options.returning?.away();
      tries = next.tries;
      await this.#sleep(next.afterMs);
      if (this.#gone.signal.aborted) return null;
    }
  }

  #age(): DeliveryAge {
    const { bootMs, sinceEndMs } = this.#options;
    return { triedMs: bootMs() - this.#finalAt, sinceEndMs: sinceEndMs?.() ?? 0 };
  }

  /** The sum is of the whole trace: left out where GitLab has another, or could not be given all of it. */
  #whole(update: JobUpdate): JobUpdate {
    const { shift, acked } = this.#sender;
    if (shift === 0 && acked >= this.#options.trace.length) return update;
    const { output: _output, ...rest } = update;
    return rest;
  }

  /** GitLab is back: no back-off holds any more. */
  #tryNow(): void {
    this.#sender = { ...this.#sender, failures: 0, nextAt: Math.min(this.#sender.nextAt, this.#options.bootMs()) };
    this.wake();
  }

  #ended(state: JobUpdate['state'], because = 'GitLab says that the job is over'): Delivery {
    // The answer to an earlier attempt was lost: GitLab has the result.
    if (this.#lastJobStatus === state) return { kind: 'delivered' };
    // A job that GitLab itself ended (cancelled, failed by timeout) has its end there already.
    const isKnown = this.#lastJobStatus !== null && /^(canceled|failed|success)$/.test(this.#lastJobStatus);
    return { kind: 'disowned', because: isKnown ? `the job is ${this.#lastJobStatus} at GitLab` : because };
  }

  async #run(): Promise<void> {
    const { trace, bootMs, keepAliveMs } = this.#options;
    while (!this.#gone.signal.aborted && this.#sender.phase !== 'ended') {
      if (this.#isFinal && (this.#sender.acked >= trace.length || this.#isRefused || isGivenUp(this.#age()))) return;
      const action = nextTraceAction(this.#sender, {
        atMs: bootMs(),
        lengthBytes: trace.length,
        isUrgent: this.#isFinal || this.#hurryTo > this.#sender.acked,
        keepAliveMs: keepAliveMs(),
      });
      if (this.#isAsked) {
        this.#isAsked = false;
        await this.#perform({ kind: 'keep-alive' });
      } else if (action.kind === 'wait') await this.#pause(action.untilMs - bootMs());
      else await this.#perform(action);
    }
  }

  async #perform(action: Exclude<TraceAction, { kind: 'wait' }>): Promise<void> {
    const { askedMs, answer } = await this.#askAndMore(action);
    if (this.#gone.signal.aborted) return;
    const { before, sender, verdict } = this.#heard(action, askedMs, answer);
    this.#sender = sender;
    this.#refusals =
      action.kind === 'patch' && sender.failures > 0 && answer.status !== 'away' ? this.#refusals + 1 : 0;
    if (sender.acked !== before.acked) {
      this.#pages = 0;
      this.#options.onAcked(sender.acked);
    }
    if (answer.status === 'away' && answer.page === undefined && answer.retryAfterS === null)
      this.#options.returning?.away();
    this.#tell(verdict, before, answer);
    if (verdict === 'over' || action.kind !== 'patch' || answer.page === undefined) return;
    // Something before GitLab takes no patch.
    const beside = await this.#askBeside(patchTimeoutMs);
    if (beside !== null) this.#pages = beside.status === 'away' ? 0 : this.#pages + 1;
  }

  /** While the run lives on GitLab's word alone, a call that is answered slowly keeps no question back. */
  async #askAndMore(action: Exclude<TraceAction, { kind: 'wait' }>): Promise<{ askedMs: number; answer: TraceAnswer }> {
    const { bootMs, keepAliveMs } = this.#options;
    const askedMs = bootMs();
    this.#askedMs = askedMs;
    const answered = new AbortController();
    const asking = this.#ask(action).finally(() => answered.abort());
    while (!answered.signal.aborted) {
      const leftMs = nextQuestionAt(this.#askedMs, this.#tookMs, keepAliveMs()) - bootMs();
      if (leftMs <= 0 && this.#mayAskBeside) {
        void this.#askBeside(urgentTimeoutMs);
        continue;
      }
      // Looked at again soon: the leader may fall silent while GitLab thinks. Due, but none may be asked: soon, not at once.
      const waitMs = Math.min(leftMs > 0 ? leftMs : dueAgainMs, leaseLimits.askMs);
      await sleep(waitMs, undefined, { signal: answered.signal }).catch(() => undefined);
    }
    const answer = await asking;
    if (answer.status !== 'away') this.#tookMs = bootMs() - askedMs;
    return { askedMs, answer };
  }

  /** The run lives on GitLab's answers. */
  get #isUrgent(): boolean {
    return this.#options.keepAliveMs() < traceLimits.keepAliveMs;
  }

  get #mayAskBeside(): boolean {
    return this.#isUrgent && !this.#isAskedBeside && !this.#isFinal && this.#sender.phase !== 'ended';
  }

  /** Does GitLab take another call of this job than the one that it does not take, or not answer? Also a sign of life. */
  async #askBeside(timeoutMs: number): Promise<TraceAnswer | null> {
    const { line, bootMs } = this.#options;
    this.#isAskedBeside = true;
    const askedMs = bootMs();
    this.#askedMs = askedMs;
    const answer = await updateJob(line(), { state: 'running' }, { timeoutMs, signal: this.#gone.signal });
    this.#isAskedBeside = false;
    if (this.#gone.signal.aborted) return null;
    const { before, sender, verdict } = this.#heard({ kind: 'keep-alive' }, askedMs, answer);
    this.#sender = { ...sender, failures: before.failures, nextAt: before.nextAt };
    this.#tell(verdict, before, answer);
    return answer;
  }

  /** What an answer says of the job, and what it makes of the sender. */
  #heard(action: Exclude<TraceAction, { kind: 'wait' }>, askedMs: number, answer: TraceAnswer) {
    const { trace, bootMs } = this.#options;
    this.#lastJobStatus = answer.jobStatus ?? this.#lastJobStatus;
    const now = { askedMs, atMs: bootMs(), lengthBytes: trace.length };
    return { before: this.#sender, ...traceAnswered(this.#sender, action, answer, now) };
  }

  #tell(verdict: TraceSignal, before: TraceSender, answer: TraceAnswer): void {
    if (verdict === 'over') this.#options.onVerdict('over', this.#because(answer));
    else if (verdict === 'canceling' && before.phase === 'live')
      this.#options.onVerdict('canceling', 'the job was cancelled in GitLab');
  }

  #ask(action: Exclude<TraceAction, { kind: 'wait' }>): Promise<TraceAnswer> {
    const { trace, line, isDebugged = false } = this.#options;
    const { signal } = this.#gone;
    if (action.kind === 'keep-alive') {
      const timeoutMs = this.#isUrgent ? urgentTimeoutMs : patchTimeoutMs;
      return updateJob(line(), { state: 'running' }, { timeoutMs, signal });
    }
    const range = contentRange(this.#sender, action.from, action.to);
    const patch = { bytes: trace.read(action.from, action.to), range, isDebugged };
    return patchTrace(line(), patch, { timeoutMs: patchTimeoutMs, signal });
  }

  #because(answer: TraceAnswer): string {
    if (answer.jobStatus) return `the job is ${answer.jobStatus} at GitLab`;
    return `GitLab disowned the job (HTTP ${answer.status})`;
  }

  /** Waits; only `stop`, or GitLab's return, ends it early. */
  #sleep(ms: number): Promise<void> {
    const { returning } = this.#options;
    const { signal } = this.#gone;
    return returning ? returning.pause(ms, signal) : sleep(ms, undefined, { signal }).catch(() => undefined);
  }

  /** Waits, or until something wakes it. */
  #pause(ms: number): Promise<void> {
    if (this.#gone.signal.aborted) return Promise.resolve();
    return new Promise((resolve) => {
      const timer = Number.isFinite(ms) ? setTimeout(() => this.#wake(), Math.min(Math.max(ms, 1), 60_000)) : null;
      this.#wake = () => {
        if (timer) clearTimeout(timer);
        this.#wake = () => undefined;
        resolve();
      };
    });
  }
}
