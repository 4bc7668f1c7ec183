import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { JobLine } from '../../gitlab-bridge/gitlab-runner.ts';
import { type JobPayload, timeoutMsOf } from '../../gitlab-bridge/payload.ts';
import { traceLimits } from '../../gitlab-bridge/trace.ts';
import { lateVariables, type RunVariable, secretsOf } from '../../gitlab-bridge/variables.ts';
import type { Run } from '../../protocol/ledger.ts';
import type { Executor, LocalRun, Workspace } from '../ports.ts';
import { signOfLifeMs } from './contact.ts';
import type { GitSources } from './git-sources.ts';
import { GitlabLine } from './gitlab-line.ts';
import { failure, good, type PlannedStep, planSteps } from './job-script.ts';
import { Freezing } from './run-freezing.ts';
import { executorSpec, Gone, Halted, type RunDeskOptions, RunFailed, runFolder } from './run-host.ts';
import { prepareRun } from './run-preparing.ts';
import { newProgress, parseProgress, type RunProgress, type Verdict } from './run-progress.ts';
import { failed, isWanted, jobUpdate, resultOf } from './run-result.ts';
import type { RunScene } from './run-scene.ts';
import { runStep } from './run-step.ts';
import { uploadArtifacts } from './run-uploads.ts';
import { TraceLog } from './trace-log.ts';

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
  readonly #halt = new AbortController();
  /** Aborted by everything that ends the script early: timeout, cancel, gone, halt. */
  #ending = new AbortController();
  #endVerdict: Verdict | null = null;
  #goneBecause: string | null = null;
  #local: LocalRun;
  #progress: RunProgress;
  #workspace: Workspace | null = null;
  #ended: Promise<void> | null = null;
  readonly trace: TraceLog;
  readonly line: GitlabLine;

  constructor(options: RunDeskOptions, executor: Executor, sources: GitSources, local: LocalRun, payload: JobPayload) {
    this.#options = options;
    this.#executor = executor;
    this.#payload = payload;
    this.#local = local;
    this.#steps = planSteps(payload);
    this.#progress = parseProgress(local.progress) ?? newProgress(options.clock.bootMs());
    const folder = runFolder(options.home, local.run.run);
    this.trace = new TraceLog(folder, secretsOf(payload), payload.features?.token_mask_prefixes ?? []);
    this.line = new GitlabLine({
      line: () => this.#line(),
      trace: this.trace,
      acked: Math.min(local.traceOffset, this.trace.length),
      bootMs: options.clock.bootMs,
      keepAliveMs: () => signOfLifeMs(this.#freezing.contact(), traceLimits.keepAliveMs),
      onAcked: (bytes) => void this.#save({ traceOffset: bytes }).catch(() => undefined),
      onVerdict: (verdict, because) => (verdict === 'over' ? this.#leave(because) : this.#cancel(because)),
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
      late: (workspace) => life.#late(workspace),
      get signal() {
        return life.#ending.signal;
      },
      checkEnd: () => life.#checkEnd(),
    };
  }

  get run(): Run {
    return this.#local.run;
  }

  /** The place where the script runs; null before and after. */
  get workspace(): Workspace | null {
    return this.#workspace;
  }

  get isPreparing(): boolean {
    return this.#progress.phase === 'preparing';
  }

  get isOver(): boolean {
    return this.#progress.phase === 'finished' || this.#goneBecause !== null;
  }

  /** Lives until the end, `stop` or `drop`; never throws. */
  live(): Promise<void> {
    this.#ended ??= this.#live().finally(() => this.line.stop());
    return this.#ended;
  }

  /** Looks at timeout and contact; called a few times a second. */
  tick(): void {
    if (this.isOver || this.#halt.signal.aborted) return;
    const { sinceBootMs, verdict } = this.#progress;
    const timeoutMs = timeoutMsOf(this.#payload);
    const isLate = this.#options.clock.bootMs() - sinceBootMs >= timeoutMs;
    const isScript = this.#progress.phase === 'preparing' || this.#progress.phase === 'steps';
    const hasOwnTime = this.#steps[this.#progress.step]?.isAfterScript === true;
    if (isLate && isScript && !hasOwnTime && verdict.state === 'success')
      this.#endScript({
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
    this.#halt.abort();
    this.#ending.abort();
    await this.line.stop();
    await this.#ended;
  }

  /** Only while it is prepared: a line within a step's output would be another one after a restart. */
  note(sentence: string): void {
    if (this.isPreparing) this.trace.say(`${sentence}\n`);
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
      else void this.#clearPlace();
      await this.#deliver();
    } catch (error) {
      if (error instanceof Halted || this.#halt.signal.aborted) return;
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
    } catch (error) {
      this.#checkGone();
      if (error instanceof Halted || error instanceof Gone) throw error;
      verdict = this.#endVerdict ?? failed(error);
    }
    if (verdict.state === 'success') this.trace.say(good('Job succeeded'), 'end');
    else this.trace.say(failure(`Job ${verdict.state}: ${verdict.because}`), 'end');
    this.#progress = { ...this.#progress, phase: 'finished', verdict };
    const result = resultOf(verdict, this.#payload);
    await this.#change({ state: 'finished', finishedAt: this.#options.clock.wallMs(), result, frozen: false }, true);
    // A clean-up that hangs must not keep the result from GitLab.
    void this.#removePlace();
  }

  async #prepare(): Promise<void> {
    const spec = executorSpec(this.#local, this.#payload, this.#options);
    const wasBegun = this.run.startedAt !== null;
    if (!wasBegun) await this.#change({ state: 'running', startedAt: this.#options.clock.wallMs() }, true);
    else {
      this.trace.say('The agent of this node was restarted: preparing again\n');
      await this.#clearPlace();
    }
    this.#workspace = await this.#until(
      prepareRun(this.#scene, this.#executor, spec, async (workspace) => {
        this.#workspace = workspace;
        await this.#save({ handle: workspace.handle });
      }),
    );
    this.#progress = { ...this.#progress, phase: 'steps' };
    await this.#save({});
  }

  /** Removes what an agent process before this one left of the place. */
  async #clearPlace(): Promise<void> {
    const spec = executorSpec(this.#local, this.#payload, this.#options);
    const left = await this.#executor.adopt(spec, this.#local.handle ?? '').catch(() => null);
    await left?.remove().catch((error: Error) => this.#options.log.warn(error.message));
  }

  async #adopt(): Promise<void> {
    const spec = executorSpec(this.#local, this.#payload, this.#options);
    const handle = this.#local.handle;
    const found = handle === null ? null : await this.#executor.adopt(spec, handle);
    if (found === null)
      throw new RunFailed('system', 'the agent of this node was restarted and nothing of the run is left');
    this.#workspace = found;
    if (this.#progress.phase === 'steps') await this.#freezing.hold();
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
      if (planned.isAfterScript) this.#beginAfterScript();
      const ended = runStep(this.#scene, {
        workspace,
        planned,
        index,
        begun,
        verdict,
        onBegin: async () => {
          await this.#options.watched?.(this.run.run, this.#ending.signal);
          await this.#freezing.untilThawed(this.#ending.signal);
          this.#checkEnd();
          this.#progress = { ...this.#progress, step: index, begun: true };
          await this.#save({});
        },
        onFirstOutput: () => this.line.hurry(),
        endVerdict: () => this.#endVerdict,
        halted: this.#halt.signal,
      });
      next = await this.#until(ended);
    }
    this.#progress = { ...this.#progress, step: index + 1, begun: false, verdict: next };
    await this.#save({});
  }

  #beginAfterScript(): void {
    if (this.#goneBecause !== null || this.#halt.signal.aborted) return;
    if (this.#ending.signal.aborted) this.#ending = new AbortController();
  }

  async #artifacts(): Promise<Verdict> {
    const { verdict } = this.#progress;
    if (verdict.state === 'canceled') return verdict;
    this.#beginAfterScript();
    await this.#until(
      uploadArtifacts(
        this.#scene,
        this.#workspace as Workspace,
        verdict.state === 'success',
        this.#progress.uploaded,
        async (uploaded) => {
          this.#progress = { ...this.#progress, uploaded };
          await this.#save({});
        },
      ),
    );
    return this.#progress.verdict;
  }

  async #deliver(): Promise<void> {
    const { verdict } = this.#progress;
    const delivery = await this.line.deliver(() => jobUpdate(verdict, this.#payload, this.trace));
    if (delivery === null) throw new Halted('the agent stops');
    if (delivery.kind === 'disowned') return this.#disowned(delivery.because);
    await this.#change({ state: 'delivered', because: verdict.because }, true);
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
    if (this.#progress.verdict.state !== 'success' || this.isOver) return;
    this.#endScript({ state: 'canceled', cause: null, exitCode: null, because });
  }

  /** Ends the script: what runs is terminated, then after_script is done. */
  #endScript(verdict: Verdict): void {
    if (this.#endVerdict !== null) return;
    this.#endVerdict = verdict;
    this.#ending.abort();
  }

  /** Ends the run without a word to GitLab. */
  #leave(because: string): void {
    if (this.#goneBecause !== null || this.#progress.phase === 'finished') return;
    this.#goneBecause = because;
    this.#ending.abort();
  }

  #checkEnd(): void {
    this.#checkGone();
    if (this.#ending.signal.aborted && this.#endVerdict !== null)
      throw new RunFailed('script', this.#endVerdict.because);
  }

  #checkGone(): void {
    if (this.#halt.signal.aborted) throw new Halted('the agent stops');
    if (this.#goneBecause !== null) throw new Gone(this.#goneBecause);
  }

  /** Waits for work, but no longer than the run is ours and the agent lives. */
  async #until<T>(work: Promise<T>): Promise<T> {
    const result = await work;
    this.#checkGone();
    return result;
  }

  #line(): JobLine {
    return { url: this.#options.gitlabUrl() ?? this.#local.url, job: this.run.job, token: this.#payload.token };
  }

  #late(workspace: Workspace): RunVariable[] {
    const { nodeName, version } = this.#options;
    const { projectDir } = workspace;
    return lateVariables(this.#payload, {
      projectDir,
      buildsDir: projectDir.split('/').slice(0, -1).join('/') || '/',
      node: nodeName,
      version,
      architecture: process.arch === 'x64' ? 'amd64' : process.arch,
      executor: this.#executor.kind,
    });
  }

  async #removePlace(): Promise<void> {
    const workspace = this.#workspace;
    this.#workspace = null;
    await rm(join(this.#scene.folder, 'upload'), { force: true }).catch(() => undefined);
    await workspace
      ?.remove()
      .catch((error: Error) => this.#options.log.warn(`clean-up of job ${this.run.job}: ${error.message}`));
  }

  async #save(change: Partial<LocalRun>): Promise<void> {
    this.#local = { ...this.#local, ...change, progress: JSON.stringify(this.#progress) };
    if (!this.#halt.signal.aborted) await this.#options.store.putRun(this.#local);
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
    if (!this.#halt.signal.aborted) this.#options.onRunChanged(run);
  }
}
