import { rmSync } from 'node:fs';
import { fits } from './job-queue.ts';
import { nextStatus, statusOf } from './pipeline-progress.ts';
import type { State } from './practice-state.ts';
import type { CiStatus, Job, Manager, Pipeline, Runner } from './records.ts';
import { finished } from './records.ts';
import { newJobToken } from './secrets.ts';
import { traceLength } from './trace-file.ts';

/**
 * A job's life: created → pending → running → success | failed | canceled, or skipped, or manual until a person plays it.
 * Whatever ends a job goes through `end`: it decides about `retry:`, lets the pipeline go on and closes it.
 */
const longFailures: Record<string, readonly string[]> = {
  stuck_or_timeout_failure: [
    'stuck_pending_with_matching_runners',
    'stuck_pending_no_matching_runners',
    'no_updates_running',
    'no_updates_canceling',
    'server_timeout_running',
    'server_timeout_canceling',
  ],
};

const maxSchedulerRetries = 2;

export class JobLifecycle {
  private readonly state: State;
  constructor(state: State) {
    this.state = state;
  }

  private move(job: Job, status: CiStatus): void {
    const now = this.state.clock.now();
    job.status = status;
    job.updatedAt = now;
    if (status === 'pending') job.queuedAt = now;
    if (status === 'running') job.startedAt = now;
    if (finished(status)) job.finishedAt = status === 'skipped' ? null : now;
    this.state.saveJob(job);
  }

  /** A runner takes it, irrevocably. */
  take(job: Job, runner: Runner, manager: Manager | null, features: string[]): void {
    job.runnerId = runner.id;
    job.managerId = manager?.id ?? null;
    job.runnerFeatures = features;
    this.move(job, 'running');
    this.progress(job.pipelineId);
  }

  /** The runner says how it ended. */
  succeed(job: Job): void {
    this.end(job, job.status === 'canceling' ? 'canceled' : 'success');
  }

  fail(job: Job, reason: string, exitCode: number | null): void {
    if (job.status === 'canceling') {
      this.end(job, 'canceled');
      return;
    }
    job.failureReason = reason;
    job.exitCode = exitCode;
    if (exitCode !== null && job.spec.allowFailureExitCodes.includes(exitCode)) job.allowFailure = true;
    this.end(job, 'failed');
  }

  /** Cancels what is cancelable; a running job of a runner that can stop gracefully becomes `canceling` first. */
  cancel(job: Job, force = false): Job {
    this.stopJob(job, force);
    this.progress(job.pipelineId);
    return job;
  }

  /** All of them before anything goes on, so that no job is skipped behind a canceled one. */
  cancelPipeline(pipeline: Pipeline): void {
    for (const job of this.state.latestOf(pipeline.id)) this.stopJob(job, false);
    this.progress(pipeline.id);
  }

  private stopJob(job: Job, force: boolean): void {
    if (finished(job.status) || (job.status === 'canceling' && !force)) return;
    const graceful = job.status === 'running' && !force && job.runnerFeatures.includes('cancel_gracefully');
    this.move(job, graceful ? 'canceling' : 'canceled');
  }

  /** A person starts a manual job. */
  play(job: Job): void {
    this.move(job, 'pending');
    this.resetSkippedAfter(job);
    this.progress(job.pipelineId);
  }

  /** A new job with a new id in place of this one, of the user who asked for it. */
  retry(job: Job, userId: number): Job {
    const fresh = this.clone(job);
    fresh.userId = userId;
    this.resetSkippedAfter(fresh);
    this.move(fresh, 'pending');
    this.progress(job.pipelineId);
    return fresh;
  }

  retryPipeline(pipeline: Pipeline): void {
    const again = this.state
      .latestOf(pipeline.id)
      .filter((job) => job.status === 'failed' || job.status === 'canceled')
      .map((job) => this.clone(job));
    for (const job of again) this.resetSkippedAfter(job);
    this.progress(pipeline.id);
  }

  retryable(job: Job): boolean {
    return !job.retried && (job.status === 'success' || job.status === 'failed' || job.status === 'canceled');
  }

  /** It has ended, and has something that could be erased. */
  erasable(job: Job): boolean {
    const hasSomething = job.artifacts.length > 0 || traceLength(this.state, job) > 0;
    return finished(job.status) && job.erasedAt === undefined && hasSomething;
  }

  /** Its trace and artifacts go for good. */
  erase(job: Job): Job {
    for (const { stored } of job.artifacts) rmSync(this.state.artifactPath(stored), { force: true });
    rmSync(this.state.tracePath(job.id), { force: true });
    Object.assign(job, { artifacts: [], erasedAt: this.state.clock.now() });
    this.state.saveJob(job);
    return job;
  }

  /** Starts, skips and stops at `manual` what the state of the others says, then sets the pipeline's own status. */
  progress(pipelineId: number): void {
    for (let moved = true; moved; ) {
      moved = false;
      const latest = this.state.latestOf(pipelineId);
      for (const job of latest) {
        if (job.status !== 'created') continue;
        const next = nextStatus(job, latest);
        if (next === null) continue;
        this.move(job, next);
        moved = true;
      }
    }
    this.settle(pipelineId);
  }

  private settle(pipelineId: number): void {
    const pipeline = this.state.pipeline(pipelineId);
    if (pipeline === undefined) return;
    const jobs = this.state.latestOf(pipelineId);
    const status = statusOf(jobs);
    const now = this.state.clock.now();
    if (pipeline.startedAt === null && jobs.some((job) => job.startedAt !== null)) pipeline.startedAt = now;
    if (pipeline.status === status) {
      this.state.savePipeline(pipeline);
      return;
    }
    pipeline.status = status;
    pipeline.updatedAt = now;
    pipeline.finishedAt = finished(status) ? now : null;
    this.state.savePipeline(pipeline);
    if (finished(status)) this.state.log(`pipeline ${pipeline.id} ${status}`);
  }

  private end(job: Job, status: 'success' | 'failed' | 'canceled'): void {
    this.move(job, status);
    if (status === 'failed' && this.retriesItself(job)) {
      this.clone(job);
      this.state.log(`job ${job.id} failed (${job.failureReason}), retried by its retry:`);
    }
    this.progress(job.pipelineId);
  }

  private retriesItself(job: Job): boolean {
    const before = this.state.jobsOf(job.pipelineId).filter((other) => other.name === job.name && other.retried).length;
    const reason = job.failureReason ?? 'unknown_failure';
    if (reason === 'scheduler_failure' && before < maxSchedulerRetries) return true;
    const { max, when, exitCodes } = job.spec.retry;
    if (before >= max) return false;
    if (job.exitCode !== null && exitCodes.includes(job.exitCode)) return true;
    return when.some((name) => name === 'always' || name === reason || longFailures[name]?.includes(reason) === true);
  }

  private clone(job: Job): Job {
    const now = this.state.clock.now();
    job.retried = true;
    this.state.saveJob(job);
    const fresh: Job = {
      ...job,
      id: this.state.newId('job'),
      status: 'created',
      token: newJobToken(),
      createdAt: now,
      updatedAt: now,
      queuedAt: null,
      startedAt: null,
      finishedAt: null,
      runnerId: null,
      managerId: null,
      runnerFeatures: [],
      failureReason: null,
      exitCode: null,
      allowFailure: job.spec.allowFailure,
      retried: false,
      artifacts: [],
      traceCheck: 'none',
      coverage: null,
      dotenv: [],
    };
    this.state.saveJob(fresh);
    return fresh;
  }

  private resetSkippedAfter(job: Job): void {
    const latest = this.state.latestOf(job.pipelineId);
    const behind = new Set([job.name]);
    for (let grown = true; grown; ) {
      grown = false;
      for (const other of latest) {
        if (behind.has(other.name)) continue;
        const needs = other.spec.needs;
        const after = needs === null ? other.stageIdx > job.stageIdx : needs.some((need) => behind.has(need.job));
        if (!after) continue;
        behind.add(other.name);
        grown = true;
      }
    }
    for (const other of latest)
      if (other.status === 'skipped' && behind.has(other.name)) {
        other.finishedAt = null;
        this.move(other, 'created');
      }
  }

  /**
   * GitLab's hourly sweep: pending 24 h (1 h when no online runner fits), running or canceling 30 min without an update,
   * running 15 min past its timeout.
   */
  sweep(timeoutOf: (job: Job) => number): void {
    const now = this.state.clock.now();
    const hour = 3_600_000;
    const quiet = 30 * 60_000;
    for (const job of this.state.liveJobs()) {
      const drop = (reason: string): void => {
        this.state.log(`job ${job.id} dropped by the sweep: ${reason}`);
        this.fail(job, reason, null);
      };
      if (job.status === 'pending') {
        const waited = now - (job.queuedAt ?? job.createdAt);
        if (waited > 24 * hour && !this.stuck(job)) drop('stuck_pending_with_matching_runners');
        else if (waited > hour && this.stuck(job)) drop('stuck_pending_no_matching_runners');
      } else if (now - job.updatedAt > quiet)
        drop(job.status === 'canceling' ? 'no_updates_canceling' : 'no_updates_running');
      else if (now - (job.startedAt ?? now) > timeoutOf(job) * 1000 + 15 * 60_000) drop('server_timeout_running');
    }
    for (const job of this.state.jobs()) this.expire(job, now);
  }

  /** No online, unpaused runner fits. */
  stuck(job: Job): boolean {
    if (job.status !== 'pending') return false;
    const online = (runner: Runner): boolean => this.state.clock.now() - (runner.contactedAt ?? 0) < 2 * 3_600_000;
    for (const runner of this.state.runners())
      if (!runner.paused && online(runner) && fits(runner, job, this.state)) return false;
    return true;
  }

  private expire(job: Job, now: number): void {
    const gone = job.artifacts.filter((artifact) => artifact.expireAt !== null && artifact.expireAt < now);
    if (gone.length === 0) return;
    for (const artifact of gone) rmSync(this.state.artifactPath(artifact.stored), { force: true });
    job.artifacts = job.artifacts.filter((artifact) => !gone.includes(artifact));
    this.state.saveJob(job);
  }
}
