import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { JobRef } from '../../gitlab-bridge/gitlab-runner.ts';
import { isDebugged } from '../../gitlab-bridge/job-contract.ts';
import { type JobPayload, timeoutMsOf } from '../../gitlab-bridge/payload.ts';
import { traceLimits } from '../../gitlab-bridge/trace.ts';
import { jobVariables, lateVariables, type RunFacts, secretsOf } from '../../gitlab-bridge/variables.ts';
import { sentenceOf } from '../../protocol/errors.ts';
import type { Run } from '../../protocol/ledger.ts';
import type { Executor, LocalRun, Workspace } from '../ports.ts';
import { stackOf } from '../source-positions.ts';
import type { CacheStore } from './cache/cache-store.ts';
import { executorSpec, factsOf } from './executor-spec.ts';
import type { GitSources } from './git-sources.ts';
import { JobReporter } from './job-reporter.ts';
import { failure, good, planSteps } from './job-script.ts';
import { OwnerHold } from './owner-hold.ts';
import { artifacts } from './phases/artifacts.ts';
import type { Phase } from './phases/phase.ts';
import { clearPlace, preparing } from './phases/preparing.ts';
import { script } from './phases/script.ts';
import { removePlace } from './place-removal.ts';
import { isOver, type RunContext } from './run-context.ts';
import { RunEnding } from './run-ending.ts';
import { Gone, Halted, RunFailed } from './run-errors.ts';
import { faultAtEnd, faultLine } from './run-fault.ts';
import { Freezing } from './run-freezing.ts';
import { signOfLifeMs } from './run-lease.ts';
import { type RunOptions, runFolder } from './run-options.ts';
import { finishedProgress, newProgress, parseProgress, sinceThisBoot, type Verdict } from './run-progress.ts';
import { RunRecord } from './run-record.ts';
import { failed, jobUpdate, resultOf } from './run-result.ts';
import { TraceLog } from './trace-log.ts';
import { UploadTime } from './upload-time.ts';

/** In the order of a run's life; what stands in RunProgress says which of them is under way. */
const phases: readonly Phase[] = [preparing, script, artifacts];

/**
 * The life of one run on its node (SAFETY J4). The job and its token are on disk before this begins.
 *
 *     preparing -> steps -> artifacts -> finished -> delivered
 *
 * Every arrow is persisted before what follows it. The agent may be killed anywhere: another process makes a RunLifecycle
 * of the same record and goes on at the same place; a step that has begun is found again or the run has failed, it is never
 * begun twice. `stop` leaves everything as it is; `drop` ends it without a word.
 */
export class RunLifecycle {
  readonly #options: RunOptions;
  readonly #payload: JobPayload;
  readonly #record: RunRecord;
  readonly #freezing: Freezing;
  readonly #ending: RunEnding;
  readonly #context: RunContext;
  #wentBackMs = Number.NEGATIVE_INFINITY;
  #ended: Promise<void> | null = null;
  #isPlaceRemoved = false;
  /** Its machine's owner had it end. */
  #madeWay = false;
  /** What stood on disk of how far it got could not be read. */
  readonly #isProgressLost: boolean;
  readonly trace: TraceLog;
  readonly line: JobReporter;
  readonly owner: OwnerHold;

  /** `slots`: of a run that begins here; one that goes on has its own. */
  constructor(
    options: RunOptions,
    executor: Executor,
    { sources, caches }: { sources: GitSources; caches: CacheStore },
    local: LocalRun,
    payload: JobPayload,
    slots?: RunFacts['slots'],
  ) {
    const { bootMs } = options.clock;
    this.#options = options;
    this.#payload = payload;
    const folder = runFolder(options.home, local.run.run);
    this.trace = new TraceLog(folder, secretsOf(payload), payload.features?.token_mask_prefixes ?? []);
    this.#ending = new RunEnding(this.trace);
    const { result } = local.run;
    const lost = result === null ? newProgress(bootMs(), slots) : finishedProgress(result, bootMs());
    const progress = parseProgress(local.progress);
    this.#isProgressLost = progress === null;
    this.#record = new RunRecord(options, local, sinceThisBoot(progress ?? lost, bootMs()), this.#ending.halted);
    this.line = new JobReporter({
      line: () => this.#job(),
      trace: this.trace,
      acked: Math.min(local.traceOffset, this.trace.length),
      isDebugged: isDebugged(payload),
      bootMs,
      keepAliveMs: () => signOfLifeMs(this.#freezing.contact(), traceLimits.keepAliveMs),
      onAcked: (bytes) => void this.#record.save({ traceOffset: bytes }).catch(() => undefined),
      onVerdict: (verdict, because) => (verdict === 'over' ? this.#leave(this.#why(because)) : this.#cancel(because)),
      returning: options.gitlabReturn,
      sinceEndMs: () => options.clock.wallMs() - (this.run.finishedAt ?? options.clock.wallMs()),
    });
    this.#freezing = new Freezing(this, options, (frozen) => this.#record.tell({ frozen }));
    const factsAt = (place: { projectDir: string; buildsDir?: string }): RunFacts =>
      factsOf(options, payload, this.run, this.slots, place);
    this.#context = {
      options,
      executor,
      payload,
      steps: planSteps(payload),
      record: this.#record,
      ending: this.#ending,
      freezing: this.#freezing,
      uploadTime: new UploadTime(bootMs),
      trace: this.trace,
      line: this.line,
      sources,
      caches,
      folder,
      workspace: null,
      job: () => this.#job(),
      spec: () => executorSpec(this.#record.local, payload, options, factsAt),
      late: (workspace) => lateVariables(payload, factsAt(workspace)),
      variables: (workspace) => jobVariables(payload, factsAt(workspace)),
    };
    this.owner = new OwnerHold(this.#context, (because) => this.fail(because));
  }

  get run(): Run {
    return this.#record.run;
  }

  /** The place where the script runs; null before and after. */
  get workspace(): Workspace | null {
    return this.#context.workspace;
  }

  get slots(): RunFacts['slots'] {
    return this.#record.progress.slots;
  }

  get isPreparing(): boolean {
    return this.#record.progress.phase === 'preparing';
  }

  get isOver(): boolean {
    return isOver(this.#context);
  }

  /** Lives until the end, `stop` or `drop`; never throws. */
  live(): Promise<void> {
    this.#ended ??= this.#live().finally(() => this.line.stop());
    return this.#ended;
  }

  /** Looks at timeout and contact; called a few times a second. */
  tick(): void {
    if (this.isOver || this.#ending.halted.aborted) return;
    const { uploadTime } = this.#context;
    const { phase, sinceBootMs, verdict } = this.#record.progress;
    const timeoutMs = timeoutMsOf(this.#payload);
    const endMs = sinceBootMs + timeoutMs;
    const hasOwnTime = phase === 'steps' && this.#isInAfterScript();
    const isLate =
      phase === 'artifacts'
        ? uploadTime.isOver(endMs, verdict.state === 'success')
        : this.#options.clock.bootMs() >= endMs && verdict.state === 'success';
    if (isLate && !hasOwnTime && !this.#ending.signal.aborted) this.#ending.end(this.owner.lateVerdict(timeoutMs));
    this.owner.tick();
    this.#freezing.tick();
  }

  /** For the watchdog: boot ms until which it may go on if nothing more is heard, and whether it is held frozen here. */
  beat(): { mayRunUntilBootMs: number; held: boolean } {
    return { mayRunUntilBootMs: this.#freezing.mayRunUntilMs(), held: this.#freezing.isFrozen };
  }

  /** Frozen until GitLab has confirmed this very run: GitLab was restored (SAFETY J8), or this agent was away (J1). */
  verify(): void {
    this.#freezing.verify();
  }

  /** GitLab goes on from a copy, or was restored: it may know nothing of this run any more. */
  gitlabWentBack(): void {
    this.#wentBackMs = this.#options.clock.bootMs();
    this.verify();
  }

  /** Why the run is no longer ours, where GitLab has not confirmed it since it went back. */
  #why(because: string): string {
    if (this.#wentBackMs === Number.NEGATIVE_INFINITY || this.line.heardAt > this.#wentBackMs) return because;
    return `${because}: it was put back to a state in which this run had not begun`;
  }

  /** The agent goes, the run stays. */
  async stop(): Promise<void> {
    this.#ending.halt();
    await this.line.stop();
    await this.#ended;
  }

  /** Only while it is prepared: a line within a step's output would be another one after a restart. */
  note(sentence: string): void {
    if (this.isPreparing) this.trace.say(`${sentence}\n`);
  }

  /** Ends the script for a reason of this machine's, or of its owner's: the run fails with it, and after_script is done. */
  fail(because: string, cause: 'system' | 'owner' = 'system'): void {
    if (this.isOver) return;
    this.#ending.end({ state: 'failed', cause, exitCode: null, because });
    this.#madeWay = cause === 'owner' && this.#ending.verdict?.because === because;
  }

  /** The run is no longer ours: ends it at once, tells nobody, forgets it. */
  async drop(because: string): Promise<void> {
    this.#leave(because);
    await this.#ended;
  }

  async #live(): Promise<void> {
    // In turns of its own: that the job is here, the line to GitLab and the place are milliseconds each, in which no timer of the agent runs.
    await nextTurn();
    await nextTurn();
    this.line.start();
    try {
      await nextTurn();
      if (this.#record.progress.phase !== 'finished') await this.#toTheEnd();
      await this.#deliver();
    } catch (error) {
      if (error instanceof Halted || this.#ending.halted.aborted) return;
      if (error instanceof Gone) return this.#disowned(error.message);
      this.#options.log.error(`run of job ${this.run.job}: ${stackOf(error)}`);
      await this.#disowned(`this node failed: ${sentenceOf(error)}`);
    }
  }

  /** Everything up to a persisted result. */
  async #toTheEnd(): Promise<void> {
    let verdict: Verdict;
    try {
      if (this.trace.failure !== null) throw new RunFailed('system', this.trace.failure);
      await this.#throughPhases();
      verdict = this.#record.progress.verdict;
      // A cancel that came in the last moment, or to an after_script that was let end.
      if (verdict.state === 'success') verdict = this.#ending.verdict ?? verdict;
    } catch (error) {
      this.#ending.checkGone();
      if (error instanceof Halted || error instanceof Gone) throw error;
      verdict = this.#ending.verdict ?? failed(error);
    }
    if (verdict.state === 'success') this.trace.say(good('Job succeeded'), 'end');
    else this.trace.say(failure(`Job ${verdict.state}: ${verdict.because}`), 'end');
    const fault = await faultAtEnd(verdict, this.#record.progress, this.#context.workspace ?? this.#lostPlace());
    if (fault) this.trace.say(faultLine(fault, this.#madeWay), 'fault');
    this.trace.seal();
    const result = resultOf(verdict, this.#payload);
    const finishedAt = this.#options.clock.wallMs();
    const end = { state: 'finished' as const, finishedAt, result, frozen: false, ...(fault && { fault }) };
    await this.#record.keep(end, { phase: 'finished', verdict });
    // A clean-up that hangs must not keep the result from GitLab.
    void this.#removePlace();
  }

  /** From the phase that stands on disk to the last one. */
  async #throughPhases(): Promise<void> {
    const record = this.#record;
    if (this.run.startedAt !== null && this.#isProgressLost) {
      await clearPlace(this.#context);
      throw new RunFailed('system', 'the record of how far the run got cannot be read: it is not run again');
    }
    const left = phases.slice(phases.findIndex(({ name }) => name === record.progress.phase));
    await left[0]?.resume(this.#context);
    for (const [index, phase] of left.entries()) {
      await phase.run(this.#context);
      const next = left[index + 1];
      if (next) await record.advance({ phase: next.name });
    }
  }

  async #deliver(): Promise<void> {
    const { verdict } = this.#record.progress;
    const delivery = await this.line.deliver(() => jobUpdate(verdict, this.#payload, this.trace));
    if (delivery === null) throw new Halted('the agent stops');
    if (delivery.kind === 'given-up') return this.#giveUp(delivery.because);
    if (delivery.kind === 'disowned') return this.#disowned(this.#why(delivery.because));
    // `because` stays why it ran here; how it ended stands in `result`.
    await this.#record.keep({ state: 'delivered' });
  }

  /** GitLab takes the result no more, if it ever comes back: whoever looks after this machine should know. */
  async #giveUp(because: string): Promise<void> {
    const sentence = `the result of job ${this.run.job} is given up, GitLab did not take it for a day: ${because}`;
    this.#options.log.error(sentence);
    this.#options.onGivenUp?.(sentence);
    await this.#disowned(sentence);
  }

  /** GitLab ended the job itself, or does not know it any more. */
  async #disowned(because: string): Promise<void> {
    await this.workspace?.kill(0).catch(() => undefined);
    await this.#removePlace();
    const isCanceled = /\bcanceled\b/.test(because);
    const result = isCanceled ? { state: 'canceled' as const, exitCode: null, reason: null, because } : this.run.result;
    const finishedAt = this.run.finishedAt ?? this.#options.clock.wallMs();
    const state = isCanceled ? 'delivered' : 'discarded';
    await this.#record.keep({ state, because, result, finishedAt, frozen: false });
  }

  #cancel(because: string): void {
    const { phase, verdict } = this.#record.progress;
    if (verdict.state === 'canceled' || this.isOver || (verdict.state === 'failed' && phase !== 'artifacts')) return;
    const canceled: Verdict = { state: 'canceled', cause: null, exitCode: null, because };
    // after_script is where people give back what they took elsewhere: it ends in its own time, and begins where it has not yet.
    if (phase === 'steps' && this.#isInAfterScript()) this.#ending.verdict ??= canceled;
    else this.#ending.end(canceled);
  }

  #isInAfterScript(): boolean {
    return this.#context.steps[this.#record.progress.step]?.isAfterScript === true;
  }

  /** Ends the run without a word to GitLab. */
  #leave(because: string): void {
    if (this.#record.progress.phase !== 'finished') this.#ending.leave(because);
  }

  #job(): JobRef {
    return { url: this.#options.gitlabUrl() ?? this.#record.local.url, job: this.run.job, token: this.#payload.token };
  }

  async #removePlace(): Promise<void> {
    const { folder, workspace } = this.#context;
    const lost = workspace === null ? this.#lostPlace() : null;
    this.#context.workspace = null;
    this.#isPlaceRemoved = true;
    await rm(join(folder, 'upload'), { force: true }).catch(() => undefined);
    const warn = (because: string): void => this.#options.log.warn(`clean-up of job ${this.run.job}: ${because}`);
    // An engine that is away answers late or never: nobody waits for it.
    if (lost) void removePlace(lost, warn, this.#ending.halted);
    if (workspace) await removePlace(workspace, warn, this.#ending.halted);
  }

  /** Made by an agent process before this one, and not found again before the run ended: its engine was away. */
  #lostPlace(): Pick<Workspace, 'remove'> | null {
    const { handle } = this.#record.local;
    if (handle === null || this.#isPlaceRemoved) return null;
    const { executor, spec } = this.#context;
    return { remove: async () => (await executor.adopt(spec(), handle))?.remove() };
  }
}
