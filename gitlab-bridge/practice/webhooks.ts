import { createHmac, randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { jobBody, pipelineBody } from './hook-bodies.ts';
import { practiceVersion } from './practice-identity.ts';
import type { State } from './practice-state.ts';
import { finished, type Hook, type Job, type Pipeline } from './records.ts';

/**
 * `Job Hook` and `Pipeline Hook` of project hooks, with the headers and signatures of 19.x. Best effort, as GitLab's: once, 10 s, hints only.
 * Job tags are not in it (as in GitLab).
 */
const timeoutMs = 10_000;
const maxInFlight = 20;

const sign = (key: string, text: string): string =>
  `v1,${createHmac('sha256', Buffer.from(key.replace(/^whsec_/, ''), 'base64'))
    .update(text)
    .digest('base64')}`;

export class Webhooks {
  private readonly state: State;
  private readonly base: () => string;
  private readonly stopping: AbortSignal;
  private readonly lateMs: number;
  private inFlight = 0;

  /** `lateMs`: until Sidekiq sends one. */
  constructor(state: State, base: () => string, stopping: AbortSignal, lateMs: number) {
    this.lateMs = lateMs;
    this.state = state;
    this.base = base;
    this.stopping = stopping;
    state.jobChanged.push((job) => {
      if (job.status === 'pending' || job.status === 'running' || finished(job.status)) this.jobEvent(job);
    });
    state.pipelineChanged.push((pipeline) => this.pipelineEvent(pipeline));
  }

  private jobEvent(job: Job): void {
    const hooks = [...this.state.hooks()].filter((hook) => hook.projectId === job.projectId && hook.jobEvents);
    const pipeline = this.state.pipeline(job.pipelineId);
    const project = this.state.project(job.projectId);
    if (hooks.length === 0 || pipeline === undefined || project === undefined) return;
    const text = JSON.stringify(jobBody(this.state, job, pipeline, project, this.base()));
    for (const hook of hooks) void this.deliver(hook, 'Job Hook', text);
  }

  private pipelineEvent(pipeline: Pipeline): void {
    const hooks = [...this.state.hooks()].filter(
      (hook) => hook.projectId === pipeline.projectId && hook.pipelineEvents,
    );
    const project = this.state.project(pipeline.projectId);
    if (hooks.length === 0 || project === undefined) return;
    const text = JSON.stringify(pipelineBody(this.state, pipeline, project, this.base()));
    for (const hook of hooks) void this.deliver(hook, 'Pipeline Hook', text);
  }

  private async deliver(hook: Hook, event: string, text: string): Promise<void> {
    if (this.inFlight >= maxInFlight) {
      this.state.log(`hook ${hook.id}: dropped, ${maxInFlight} deliveries are under way`);
      return;
    }
    this.inFlight += 1;
    const id = randomUUID();
    const seconds = Math.floor(this.state.clock.now() / 1000);
    try {
      if (this.lateMs > 0) await sleep(this.lateMs, undefined, { signal: this.stopping });
      const answer = await fetch(hook.url, {
        method: 'POST',
        body: text,
        redirect: 'manual',
        signal: AbortSignal.any([this.stopping, AbortSignal.timeout(timeoutMs)]),
        headers: {
          'Content-Type': 'application/json',
          'User-Agent': `GitLab/${practiceVersion}`,
          'X-Gitlab-Event': event,
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
