import { createHmac, randomUUID } from 'node:crypto';
import { iso, isoOrNull } from './practice-clock.ts';
import { practiceVersion } from './practice-identity.ts';
import type { State } from './practice-state.ts';
import { finished, fullPath, type Hook, type Job, type Pipeline, type Project, type Runner } from './records.ts';

/**
 * `Job Hook` of project hooks, with the headers and signatures of 19.x. Best effort, as GitLab's: once, 10 s, hints only.
 * Job tags are not in it (as in GitLab).
 */
const timeoutMs = 10_000;
const maxInFlight = 20;

const between = (from: number | null, to: number | null): number | null =>
  from === null || to === null ? null : (to - from) / 1000;

const runnerPart = (runner: Runner): object => ({
  id: runner.id,
  description: runner.description,
  runner_type: runner.type,
  active: !runner.paused,
  is_shared: runner.type === 'instance_type',
  tags: runner.tags,
});

const jobBody = (state: State, job: Job, pipeline: Pipeline, project: Project, base: string): object => {
  const runner = job.runnerId === null ? undefined : state.runner(job.runnerId);
  const user = state.user(job.userId);
  const url = `${base}/${fullPath(project)}`;
  const tries = state.jobsOf(pipeline.id).filter((other) => other.name === job.name && other.id < job.id).length;
  return {
    object_kind: 'build',
    ref: pipeline.ref,
    tag: pipeline.tag,
    before_sha: pipeline.beforeSha,
    sha: pipeline.sha,
    retries_count: tries,
    build_id: job.id,
    build_name: job.name,
    build_stage: job.stage,
    build_status: job.status,
    build_created_at: iso(job.createdAt),
    build_started_at: isoOrNull(job.startedAt),
    build_finished_at: isoOrNull(job.finishedAt),
    build_created_at_iso: iso(job.createdAt),
    build_started_at_iso: isoOrNull(job.startedAt),
    build_finished_at_iso: isoOrNull(job.finishedAt),
    build_duration: between(job.startedAt, job.finishedAt),
    build_queued_duration: between(job.queuedAt, job.startedAt),
    build_allow_failure: job.allowFailure,
    build_failure_reason: job.failureReason ?? 'unknown_failure',
    pipeline_id: pipeline.id,
    runner: runner === undefined ? null : runnerPart(runner),
    project_id: project.id,
    project_name: `${project.namespace} / ${project.name}`,
    user: {
      id: job.userId,
      name: user?.name ?? '',
      username: user?.username ?? '',
      avatar_url: null,
      email: '[REDACTED]',
    },
    commit: {
      id: pipeline.id,
      name: null,
      sha: pipeline.sha,
      message: pipeline.commitMessage,
      author_name: pipeline.commitAuthor,
      author_email: '',
      status: pipeline.status,
      duration: between(pipeline.startedAt, pipeline.finishedAt),
      started_at: isoOrNull(pipeline.startedAt),
      finished_at: isoOrNull(pipeline.finishedAt),
    },
    repository: {
      name: project.name,
      url: `ssh://git@practice.invalid/${fullPath(project)}.git`,
      description: project.description,
      homepage: url,
      git_http_url: `${url}.git`,
      git_ssh_url: `ssh://git@practice.invalid/${fullPath(project)}.git`,
      visibility_level: { private: 0, internal: 10, public: 20 }[project.visibility],
    },
    project: { id: project.id, name: project.name, web_url: url, path_with_namespace: fullPath(project) },
    environment: null,
  };
};

const sign = (key: string, text: string): string =>
  `v1,${createHmac('sha256', Buffer.from(key.replace(/^whsec_/, ''), 'base64'))
    .update(text)
    .digest('base64')}`;

export class Webhooks {
  private readonly state: State;
  private readonly base: () => string;
  private readonly stopping: AbortSignal;
  private inFlight = 0;

  constructor(state: State, base: () => string, stopping: AbortSignal) {
    this.state = state;
    this.base = base;
    this.stopping = stopping;
    state.jobChanged.push((job) => {
      if (job.status === 'pending' || job.status === 'running' || finished(job.status)) this.jobEvent(job);
    });
  }

  private jobEvent(job: Job): void {
    const hooks = [...this.state.hooks()].filter((hook) => hook.projectId === job.projectId && hook.jobEvents);
    const pipeline = this.state.pipeline(job.pipelineId);
    const project = this.state.project(job.projectId);
    if (hooks.length === 0 || pipeline === undefined || project === undefined) return;
    const text = JSON.stringify(jobBody(this.state, job, pipeline, project, this.base()));
    for (const hook of hooks) void this.deliver(hook, text);
  }

  private async deliver(hook: Hook, text: string): Promise<void> {
    if (this.inFlight >= maxInFlight) {
      this.state.log(`hook ${hook.id}: dropped, ${maxInFlight} deliveries are under way`);
      return;
    }
    this.inFlight += 1;
    const id = randomUUID();
    const seconds = Math.floor(this.state.clock.now() / 1000);
    try {
      const answer = await fetch(hook.url, {
        method: 'POST',
        body: text,
        redirect: 'manual',
        signal: AbortSignal.any([this.stopping, AbortSignal.timeout(timeoutMs)]),
        headers: {
          'Content-Type': 'application/json',
          'User-Agent': `GitLab/${practiceVersion}`,
          'X-Gitlab-Event': 'Job Hook',
          'X-Gitlab-Event-UUID': randomUUID(),
          'X-Gitlab-Webhook-UUID': hook.uuid,
          'X-Gitlab-Instance': this.base(),
          'Idempotency-Key': id,
          'webhook-id': id,
          'webhook-timestamp': String(seconds),
          ...(hook.token === null ? {} : { 'X-Gitlab-Token': hook.token }),
          ...(hook.signingToken === null
            ? {}
            : { 'webhook-signature': sign(hook.signingToken, `${id}.${seconds}.${text}`) }),
        },
      });
      await answer.body?.cancel();
      if (answer.status >= 400) this.state.log(`hook ${hook.id}: answered ${answer.status}`);
    } catch (error) {
      if (!this.stopping.aborted)
        this.state.log(`hook ${hook.id}: ${error instanceof Error ? error.message : 'not delivered'}`);
    } finally {
      this.inFlight -= 1;
    }
  }
}
