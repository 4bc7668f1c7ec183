import { z } from 'zod';
import { type Answer, type Call, empty, type Route, read, route } from './api-call.ts';
import { dependenciesOf } from './job-dependencies.ts';
import { jobPayload, reportsOf } from './job-payload.ts';
import { queueFor } from './job-queue.ts';
import type { PracticeContext } from './practice-context.ts';
import type { Job, Runner } from './records.ts';
import { refuse } from './refusal.ts';
import { contact, declared, runnerInfo, runnerOf, systemId } from './runner-contact.ts';

const lastUpdate = 'X-GitLab-Last-Update';
const maxBodyBytes = 32_768;
const maxQueueDepth = 45;

const requestBody = z.object({
  token: z.string().optional(),
  system_id: systemId,
  last_update: z.string().max(256).nullish(),
  info: runnerInfo.nullish(),
  session: z.looseObject({}).nullish(),
});

/** Features without which GitLab does not give a job away: it drops it as `runner_unsupported`. */
const neededFeatures = (job: Job): string[] => {
  const { artifacts, allowFailureExitCodes, retry, cache } = job.spec;
  return [
    ...(artifacts !== null && reportsOf(artifacts).length > 0 ? ['upload_multiple_artifacts'] : []),
    ...(artifacts !== null && artifacts.exclude.length > 0 ? ['artifacts_exclude'] : []),
    ...(allowFailureExitCodes.length > 0 || retry.exitCodes.length > 0 ? ['return_exit_code'] : []),
    ...(cache.some((entry) => entry.fallbackKeys.length > 0) ? ['fallback_cache_keys'] : []),
  ];
};

/** Artifacts that a job names in `dependencies` but that have expired. */
const dependencyGone = (context: PracticeContext, job: Job): boolean =>
  job.spec.dependencies !== null &&
  dependenciesOf(job, context.state.latestOf(job.pipelineId)).some(
    (other) =>
      other.status === 'success' &&
      other.spec.artifacts !== null &&
      other.spec.artifacts.paths.length > 0 &&
      other.spec.artifacts.expireIn !== null &&
      other.artifacts.every((artifact) => artifact.type !== 'archive') &&
      other.finishedAt !== null,
  );

interface Offer {
  job: Job | null;
  depth: number;
  contended: boolean;
}

/** The first job of the queue that this runner gets; unsupported ones are dropped on the way, as GitLab does. */
const offer = (context: PracticeContext, runner: Runner, features: string[]): Offer => {
  let depth = 0;
  let contended = false;
  for (const job of queueFor(runner, context.state.pendingJobs(), context.state)) {
    depth += 1;
    if (depth > maxQueueDepth) return { job: null, depth, contended: true };
    if (context.leased.has(job.id)) {
      contended = true;
      continue;
    }
    if (neededFeatures(job).some((feature) => !features.includes(feature))) {
      context.life.fail(job, 'runner_unsupported', null);
      continue;
    }
    if (dependencyGone(context, job)) {
      context.life.fail(job, 'missing_dependency_failure', null);
      continue;
    }
    return { job, depth, contended };
  }
  return { job: null, depth, contended };
};

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

const give = async (
  context: PracticeContext,
  call: Call,
  runner: Runner,
  body: z.infer<typeof requestBody>,
): Promise<Answer> => {
  const manager = contact(context.state, runner, call, body.system_id, body.info);
  if (runner.paused) return empty({ [lastUpdate]: context.queue.value(runner) });
  const value = context.queue.value(runner);
  if (body.last_update === value) return empty({ [lastUpdate]: value });
  const features = declared(body.info);
  const { job, depth, contended } = offer(context, runner, features);
  if (job === null) {
    if (contended) throw refuse(409);
    return empty({ [lastUpdate]: value });
  }
  if (context.faults.contended > 0) {
    context.faults.contended -= 1;
    throw refuse(409);
  }
  if (context.requestPaceMs > 0) {
    // Two requests at the same time see the same job: the second one finds it locked.
    context.leased.add(job.id);
    await sleep(context.requestPaceMs);
    context.leased.delete(job.id);
    if (job.status !== 'pending') throw refuse(409);
  }
  context.life.take(job, runner, manager, features);
  context.state.log(`job ${job.id} ${job.name} given to runner ${runner.id} (${body.system_id ?? 'no system id'})`);
  if (context.faults.lostAnswers > 0) {
    context.faults.lostAnswers -= 1;
    context.state.flush();
    call.response.destroy();
    return { handled: true };
  }
  // The body must be application/json: the official runner loses the job otherwise.
  return { status: 201, json: jobPayload(context.state, job, runner, call.base, depth) };
};

/**
 * POST /jobs/request, with Workhorse's long poll before it: only with `token`, `last_update` and a JSON body. Something
 * changed while waiting → a bare 204 (no job, no header), the client has to ask again.
 */
export const jobRequestRoutes = (context: PracticeContext): Route[] => [
  route(
    'POST',
    '/api/v4/jobs/request',
    async (call) => {
      const body = read(requestBody, call.body);
      const runner = runnerOf(context, call, body.token);
      context.rate.count(`request ${runner.id}`, context.limits.jobRequests);
      const json = (call.headers['content-type'] ?? '').startsWith('application/json');
      const polls = json && context.longPollMs > 0 && (body.token ?? '') !== '' && (body.last_update ?? '') !== '';
      if (!polls) return give(context, call, runner, body);
      call.response.setHeader('Gitlab-Ci-Builds-Polling', 'yes');
      if (body.last_update !== context.queue.value(runner)) return give(context, call, runner, body);
      contact(context.state, runner, call, body.system_id, body.info);
      await context.queue.watch(runner, context.longPollMs, call.signal);
      return empty();
    },
    { limit: maxBodyBytes, kind: 'request' },
  ),
];
