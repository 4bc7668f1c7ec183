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
/** GitLab's figures of hooks that fail in a row: from the fourth on they are switched off, after the fortieth for good. */
const [freeFailures, lastFailure] = [4, 40];
const [minuteMs, dayMs] = [60_000, 86_400_000];

const sign = (key: string, text: string): string =>
  `v1,${createHmac('sha256', Buffer.from(key.replace(/^whsec_/, ''), 'base64'))
    .update(text)
    .digest('base64')}`;

export class Webhooks {
  private readonly state: State;
  private readonly base: () => string;
  private readonly stopping: AbortSignal;
  private readonly lateMs: number;
  private readonly switchesOff: boolean;
  private inFlight = 0;

  /** `lateMs`: until Sidekiq sends one. `switchesOff`: those that fail in a row. */
  constructor(
    state: State,
    base: () => string,
    stopping: AbortSignal,
    { lateMs, switchesOff }: { lateMs: number; switchesOff: boolean },
  ) {
    this.lateMs = lateMs;
    this.switchesOff = switchesOff;
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

  /** After four failures in a row for a minute, then for twice as long each time, a day at most; after forty for good. */
  private count(hook: Hook, isDelivered: boolean): void {
    if (!this.switchesOff || (isDelivered && hook.failures === undefined)) return;
    if (![...this.state.hooks()].includes(hook)) return;
    const failures = isDelivered ? 0 : (hook.failures ?? 0) + 1;
    const offMs = Math.min(dayMs, minuteMs * 2 ** (failures - freeFailures));
    if (failures === 0) delete hook.failures;
    else hook.failures = failures;
    if (failures >= freeFailures)
      hook.offUntil = failures >= lastFailure ? Number.MAX_SAFE_INTEGER : this.state.clock.now() + offMs;
    this.state.saveHook(hook);
  }

  private async deliver(hook: Hook, event: string, text: string): Promise<void> {
    if ((hook.offUntil ?? 0) > this.state.clock.now()) return;
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
      this.count(hook, answer.status < 400);
    } catch (error) {
      if (this.stopping.aborted) return;
      this.count(hook, false);
      this.state.log(`hook ${hook.id}: ${error instanceof Error ? error.message : 'not delivered'}`);
    } finally {
      this.inFlight -= 1;
    }
  }
}
