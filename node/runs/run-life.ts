import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { JobLine } from '../../gitlab-bridge/gitlab-runner.ts';
import { type JobPayload, timeoutMsOf } from '../../gitlab-bridge/payload.ts';
import { traceLimits } from '../../gitlab-bridge/trace.ts';
import { jobVariables, lateVariables, type RunFacts, secretsOf } from '../../gitlab-bridge/variables.ts';
import type { Run } from '../../protocol/ledger.ts';
import type { Executor, ExecutorSpec, LocalRun, Workspace } from '../ports.ts';
import { signOfLifeMs } from './contact.ts';
import type { GitSources } from './git-sources.ts';
import { GitlabLine } from './gitlab-line.ts';
import { failure, good, type PlannedStep, planSteps, warning } from './job-script.ts';
import { removePlace } from './place-removal.ts';
import { abandonMs, RunEnding } from './run-ending.ts';
import { Freezing } from './run-freezing.ts';
import { executorSpec, factsOf, Gone, Halted, type RunDeskOptions, RunFailed, runFolder } from './run-host.ts';
import { prepareRun } from './run-preparing.ts';
import { newProgress, parseProgress, type RunProgress, type Verdict } from './run-progress.ts';
import { failed, isWanted, jobUpdate, resultOf } from './run-result.ts';
import type { RunScene } from './run-scene.ts';
import { runStep } from './run-step.ts';
import { uploadArtifacts } from './run-uploads.ts';
import { TraceLog } from './trace-log.ts';
import { UploadTime } from './upload-time.ts';

/**
 * The life of one run on its node (SAFETY J4). The job and its token are on disk before this begins.
 *
 *     preparing -> steps -> artifacts -> finished -> delivered
 *
 * Every arrow is persisted before what follows it. The agent may be killed anywhere: another process makes a RunLife of
 * the same record and goes on at the same place; a step that has begun is found again or the run has failed, it is never
 * begun twice. `stop` leaves everything as it is; `drop` ends it without a word.
 */
export class RunLife {
  readonly #options: RunDeskOptions;
  readonly #executor: Executor;
  readonly #payload: JobPayload;
  readonly #steps: PlannedStep[];
  readonly #scene: RunScene;
  readonly #freezing: Freezing;
  readonly #ending: RunEnding;
  readonly #uploadTime: UploadTime;
  #local: LocalRun;
  #progress: RunProgress;
  #workspace: Workspace | null = null;
  #ended: Promise<void> | null = null;
  readonly trace: TraceLog;
  readonly line: GitlabLine;

  /** `slots`: of a run that begins here; one that goes on has its own. */
  constructor(
    options: RunDeskOptions,
    executor: Executor,
    sources: GitSources,
    local: LocalRun,
    payload: JobPayload,
    slots?: RunFacts['slots'],
  ) {
    this.#options = options;
    this.#executor = executor;
    this.#payload = payload;
    this.#local = local;
    this.#steps = planSteps(payload);
    this.#progress = parseProgress(local.progress) ?? newProgress(options.clock.bootMs(), slots);
    const folder = runFolder(options.home, local.run.run);
    this.trace = new TraceLog(folder, secretsOf(payload), payload.features?.token_mask_prefixes ?? []);
    this.#ending = new RunEnding(this.trace);
    this.#uploadTime = new UploadTime(options.clock.bootMs);
    this.line = new GitlabLine({
      line: () => this.#line(),
      trace: this.trace,
      acked: Math.min(local.traceOffset, this.trace.length),
      bootMs: options.clock.bootMs,
      keepAliveMs: () => signOfLifeMs(this.#freezing.contact(), traceLimits.keepAliveMs),
      onAcked: (bytes) => void this.#save({ traceOffset: bytes }).catch(() => undefined),
      onVerdict: (verdict, because) => (verdict === 'over' ? this.#leave(because) : this.#cancel(because)),
      returning: options.gitlabReturn,
    });
    this.#freezing = new Freezing(this, options, (frozen) => this.#change({ frozen }));
    const life = this;
    this.#scene = {
      options,
      payload,
      trace: this.trace,
      sources,
      folder,
      line: () => life.#line(),
      late: (workspace) => lateVariables(payload, life.#factsAt(workspace)),
      variables: (workspace) => jobVariables(payload, life.#factsAt(workspace)),
      get signal() {
        return life.#ending.signal;
      },
      checkEnd: () => life.#ending.check(),
      away: (isAway) => life.#uploadTime.away(isAway),
    };
  }

  get run(): Run {
    return this.#local.run;
  }

  /** The place where the script runs; null before and after. */
  get workspace(): Workspace | null {
    return this.#workspace;
  }

  get slots(): RunFacts['slots'] {
    return this.#progress.slots;
  }

  get isPreparing(): boolean {
    return this.#progress.phase === 'preparing';
  }

  get isOver(): boolean {
    return this.#progress.phase === 'finished' || this.#ending.goneBecause !== null;
  }

  /** Lives until the end, `stop` or `drop`; never throws. */
  live(): Promise<void> {
    this.#ended ??= this.#live().finally(() => this.line.stop());
    return this.#ended;
  }

  /** Looks at timeout and contact; called a few times a second. */
  tick(): void {
    if (this.isOver || this.#ending.halted.aborted) return;
    const { phase, step, sinceBootMs, verdict } = this.#progress;
    const timeoutMs = timeoutMsOf(this.#payload);
    const endMs = sinceBootMs + timeoutMs;
    const hasOwnTime = phase === 'steps' && this.#steps[step]?.isAfterScript === true;
    const isLate =
      phase === 'artifacts'
        ? this.#uploadTime.isOver(endMs, verdict.state === 'success')
        : this.#options.clock.bootMs() >= endMs && verdict.state === 'success';
    if (isLate && !hasOwnTime && !this.#ending.signal.aborted)
      this.#ending.end({
        state: 'failed',
        cause: 'timeout',
        exitCode: null,
        because: `execution took longer than ${Math.round(timeoutMs / 1000)} s`,
      });
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

  /** Ends the script for a reason of this machine's: the run fails with it, and after_script is done. */
  fail(because: string): void {
    if (!this.isOver) this.#ending.end({ state: 'failed', cause: 'system', exitCode: null, because });
  }

  /** The run is no longer ours: ends it at once, tells nobody, forgets it. */
  async drop(because: string): Promise<void> {
    this.#leave(because);
    await this.#ended;
  }

  async #live(): Promise<void> {
    this.line.start();
    try {
      if (this.#progress.phase !== 'finished') await this.#toTheEnd();
      await this.#deliver();
    } catch (error) {
      if (error instanceof Halted || this.#ending.halted.aborted) return;
      if (error instanceof Gone) return this.#disowned(error.message);
      this.#options.log.error(`run of job ${this.run.job}: ${(error as Error).stack ?? String(error)}`);
      await this.#disowned(`this node failed: ${(error as Error).message}`);
    }
  }

  /** Everything up to a persisted result. */
  async #toTheEnd(): Promise<void> {
    let verdict: Verdict;
    try {
      if (this.trace.failure !== null) throw new RunFailed('system', this.trace.failure);
      if (this.run.startedAt !== null && parseProgress(this.#local.progress) === null) {
        await this.#clearPlace();
        throw new RunFailed('system', 'the record of how far the run got cannot be read: it is not run again');
      }
      if (this.#progress.phase === 'preparing') await this.#prepare();
      else await this.#adopt();
      await this.#script();
      verdict = await this.#artifacts();
      // A cancel that came in the last moment, or to an after_script that was let end.
      if (verdict.state === 'success') verdict = this.#ending.verdict ?? verdict;
    } catch (error) {
      this.#ending.checkGone();
      if (error instanceof Halted || error instanceof Gone) throw error;
      verdict = this.#ending.verdict ?? failed(error);
    }
    if (verdict.state === 'success') this.trace.say(good('Job succeeded'), 'end');
    else this.trace.say(failure(`Job ${verdict.state}: ${verdict.because}`), 'end');
    this.trace.seal();
    this.#progress = { ...this.#progress, phase: 'finished', verdict };
    const result = resultOf(verdict, this.#payload);
    await this.#change({ state: 'finished', finishedAt: this.#options.clock.wallMs(), result, frozen: false }, true);
    // A clean-up that hangs must not keep the result from GitLab.
    void this.#removePlace();
  }

  async #prepare(): Promise<void> {
    const spec = this.#spec();
    const wasBegun = this.run.startedAt !== null;
    if (!wasBegun) await this.#change({ state: 'running', startedAt: this.#options.clock.wallMs() }, true);
    else {
      this.trace.say('The agent of this node was restarted: preparing again\n');
      await this.#clearPlace();
    }
    const { signal } = this.#ending;
    const prepared = prepareRun(this.#scene, this.#executor, spec, async (workspace) => {
      // Made after the run was given up: nobody else will remove it.
      if (signal.aborted && this.isOver) return workspace.remove();
      this.#workspace = workspace;
      await this.#save({ handle: workspace.handle });
    });
    this.#workspace = await this.#ending.until('preparing the job', prepared, abandonMs.preparing);
    this.#progress = { ...this.#progress, phase: 'steps' };
    await this.#save({});
  }

  /** Removes what an agent process before this one left of the place. */
  async #clearPlace(): Promise<void> {
    const spec = this.#spec();
    const clearing = this.#executor.adopt(spec, this.#local.handle ?? '').then((left) => left?.remove());
    await this.#ending
      .until('clearing what was left', clearing, abandonMs.place)
      .catch((error: Error) => this.#options.log.warn(error.message));
    this.#ending.check();
  }

  async #adopt(): Promise<void> {
    const { handle } = this.#local;
    const finding =
      handle === null ? Promise.resolve(null) : this.#executor.adopt(this.#spec(), handle, this.#ending.signal);
    const found = await this.#ending.until('finding the run again', finding, abandonMs.preparing);
    if (found === null)
      throw new RunFailed('system', 'the agent of this node was restarted and nothing of the run is left');
    this.#workspace = found;
    if (this.#progress.phase === 'steps')
      await this.#ending.until('holding the run', this.#freezing.hold(), abandonMs.preparing);
  }

  async #script(): Promise<void> {
    const workspace = this.#workspace as Workspace;
    while (this.#progress.phase === 'steps') {
      const { step, begun } = this.#progress;
      const planned = this.#steps[step];
      if (planned === undefined) {
        this.#progress = { ...this.#progress, phase: 'artifacts' };
        await this.#save({});
        return;
      }
      await this.#oneStep(workspace, planned, step, begun);
    }
  }

  async #oneStep(workspace: Workspace, planned: PlannedStep, index: number, begun: boolean): Promise<void> {
    const { verdict } = this.#progress;
    const isDue = planned.isAfterScript || planned.when === 'always' || isWanted(planned.when, verdict);
    let next: Verdict = verdict;
    if (isDue || begun) {
      // after_script has a time of its own, and is done for a job that was ended too.
      if (planned.isAfterScript) this.#ending.renew();
      const ended = runStep(this.#scene, {
        workspace,
        planned,
        index,
        begun,
        verdict,
        onBegin: async () => {
          await this.#options.watched?.(this.run.run, this.#ending.signal);
          await this.#freezing.untilThawed(this.#ending.signal);
          this.#ending.check();
          this.#progress = { ...this.#progress, step: index, begun: true };
          await this.#save({});
        },
        onFirstOutput: () => this.line.hurry(),
        endVerdict: () => this.#ending.verdict,
        halted: this.#ending.halted,
      });
      next = await this.#ending.until(`the ${planned.name} step`, ended, abandonMs.step);
    }
    this.#progress = { ...this.#progress, step: index + 1, begun: false, verdict: next };
    await this.#save({});
  }

  async #artifacts(): Promise<Verdict> {
    const { verdict, uploaded } = this.#progress;
    const isSuccess = verdict.state === 'success';
    this.#ending.renew();
    this.#uploadTime.begin();
    const workspace = this.#workspace as Workspace;
    const uploading = uploadArtifacts(this.#scene, workspace, isSuccess, uploaded, async (count) => {
      this.#progress = { ...this.#progress, uploaded: count };
      await this.#save({});
    });
    try {
      await this.#ending.until('uploading artifacts', uploading, abandonMs.artifacts);
    } catch (error) {
      if (isSuccess || !(error instanceof RunFailed)) throw error;
      // Why the job failed stays why it failed.
      this.trace.say(warning(error.message), 'no-artifacts');
      return this.#ending.verdict?.state === 'canceled' ? this.#ending.verdict : verdict;
    }
    return verdict;
  }

  async #deliver(): Promise<void> {
    const delivery = await this.line.deliver(() => jobUpdate(this.#progress.verdict, this.#payload, this.trace));
    if (delivery === null) throw new Halted('the agent stops');
    if (delivery.kind === 'disowned') return this.#disowned(delivery.because);
    // `because` stays why it ran here; how it ended stands in `result`.
    await this.#change({ state: 'delivered' }, true);
  }

  /** GitLab ended the job itself, or does not know it any more. */
  async #disowned(because: string): Promise<void> {
    await this.#workspace?.kill(0).catch(() => undefined);
    await this.#removePlace();
    const isCanceled = /\bcanceled\b/.test(because);
    const result = isCanceled ? { state: 'canceled' as const, exitCode: null, reason: null, because } : this.run.result;
    const finishedAt = this.run.finishedAt ?? this.#options.clock.wallMs();
    await this.#change(
      { state: isCanceled ? 'delivered' : 'discarded', because, result, finishedAt, frozen: false },
      true,
    );
  }

  #cancel(because: string): void {
    const { phase, step, begun, verdict } = this.#progress;
    if (verdict.state === 'canceled' || this.isOver || (verdict.state === 'failed' && phase !== 'artifacts')) return;
    const canceled: Verdict = { state: 'canceled', cause: null, exitCode: null, because };
    // after_script is where people give back what they took elsewhere: it ends in its own time.
    if (phase === 'steps' && begun && this.#steps[step]?.isAfterScript) this.#ending.verdict ??= canceled;
    else this.#ending.end(canceled);
  }

  /** Ends the run without a word to GitLab. */
  #leave(because: string): void {
    if (this.#progress.phase !== 'finished') this.#ending.leave(because);
  }

  #line(): JobLine {
    return { url: this.#options.gitlabUrl() ?? this.#local.url, job: this.run.job, token: this.#payload.token };
  }

  readonly #factsAt = (place: { projectDir: string; buildsDir?: string }): RunFacts =>
    factsOf(this.#options, this.#payload, this.run, this.#progress.slots, place);

  #spec(): ExecutorSpec {
    return executorSpec(this.#local, this.#payload, this.#options, this.#factsAt);
  }

  async #removePlace(): Promise<void> {
    const workspace = this.#workspace;
    this.#workspace = null;
    await rm(join(this.#scene.folder, 'upload'), { force: true }).catch(() => undefined);
    const warn = (because: string): void => this.#options.log.warn(`clean-up of job ${this.run.job}: ${because}`);
    if (workspace) await removePlace(workspace, warn, this.#ending.halted);
  }

  async #save(change: Partial<LocalRun>): Promise<void> {
    this.#local = { ...this.#local, ...change, progress: JSON.stringify(this.#progress) };
    if (!this.#ending.halted.aborted) await this.#options.store.putRun(this.#local);
  }

  /** A change that the mesh must know. A store that fails does not keep a result from GitLab. */
  async #change(change: Partial<Run>, isKept = false): Promise<void> {
    const run = { ...this.run, ...change };
    this.#local = { ...this.#local, run };
    if (isKept)
      await this.#save({ run }).catch((error: Error) => {
        if (run.state === 'running') throw new RunFailed('system', `the run cannot be kept: ${error.message}`);
        this.#options.log.error(`run of job ${run.job}: ${error.message}`);
      });
    if (!this.#ending.halted.aborted) this.#options.onRunChanged(run);
  }
}
