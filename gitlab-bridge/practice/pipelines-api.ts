import { z } from 'zod';
import { authenticate, type Caller, changeable, projectOf } from './access.ts';
import { type Call, created, idOf, ok, type Route, read, route } from './api-call.ts';
import { variable } from './ci/ci-variables.ts';
import { resolveRef } from './git-repository.ts';
import { jobBasic, jobShape, pipelineBasic, pipelineShape } from './job-shapes.ts';
import { artifactAnswer } from './job-update-api.ts';
import { page } from './paging.ts';
import { createPipeline } from './pipeline-creation.ts';
import type { PracticeContext } from './practice-context.ts';
import type { Job, Pipeline, Project } from './records.ts';
import { badParameter, notFound, refuse, refuseWith } from './refusal.ts';
import { traceLength } from './trace-file.ts';

const variableList = z
  .array(
    z.object({
      key: z.string().regex(/^\w+$/).max(255),
      value: z.string(),
      variable_type: z.enum(['env_var', 'file']).optional(),
    }),
  )
  .max(1000);
const startBody = z.object({ ref: z.string().min(1).max(255), variables: variableList.optional() });

const scopes = [
  'created',
  'waiting_for_resource',
  'preparing',
  'pending',
  'running',
  'failed',
  'success',
  'canceling',
  'canceled',
  'skipped',
  'manual',
  'scheduled',
  'waiting_for_callback',
];

const wanted = (call: Call): Set<string> | null => {
  const named = [...call.query.getAll('scope[]'), ...call.query.getAll('scope')];
  if (named.length === 0) return null;
  if (named.some((scope) => !scopes.includes(scope))) throw badParameter('scope does not have a valid value');
  return new Set(named);
};

const pipelineOf = (context: PracticeContext, call: Call, project: Project): Pipeline => {
  const pipeline = context.state.pipeline(idOf(call, 'pipeline_id'));
  if (pipeline === undefined || pipeline.projectId !== project.id) throw notFound('Pipeline');
  return pipeline;
};

const jobOf = (context: PracticeContext, call: Call, project: Project): Job => {
  const job = context.state.job(idOf(call, 'job_id'));
  if (job === undefined || job.projectId !== project.id) throw notFound('Job');
  return job;
};

const inOrder = (jobs: Job[]): Job[] => jobs.sort((a, b) => b.id - a.id);

const startPipeline = async (context: PracticeContext, call: Call): Promise<Pipeline> => {
  const caller = authenticate(context.state, call);
  const project = changeable(context.state, call, caller);
  const body = read(startBody, call.body);
  const found = await resolveRef(context.state.repositoryPath(project.id), body.ref);
  if (found === null) throw refuseWith(400, { base: ['Reference not found'] });
  const variables = (body.variables ?? []).map((entry) => ({
    ...variable(entry.key, entry.value),
    ...(entry.variable_type === 'file' ? { file: true } : {}),
  }));
  const outcome = await createPipeline(
    context,
    { project, user: caller.user, ...found, beforeSha: '0'.repeat(40), source: 'api', variables },
    call.base,
  );
  if (outcome.kind === 'refused') throw refuseWith(400, { base: outcome.errors });
  return outcome.pipeline;
};

export const pipelineRoutes = (context: PracticeContext): Route[] => {
  const { state, life } = context;
  const seen = (call: Call): Project => projectOf(state, call, authenticate(state, call));
  const changed = (call: Call): Project => changeable(state, call, authenticate(state, call));
  const list = (project: Project): Pipeline[] =>
    [...state.pipelines()].filter((pipeline) => pipeline.projectId === project.id).sort((a, b) => b.id - a.id);
  const at = '/api/v4/projects/:id';
  return [
    route('GET', `${at}/pipelines`, (call) => {
      const [ref, status, sha] = ['ref', 'status', 'sha'].map((name) => call.query.get(name));
      const rows = list(seen(call)).filter(
        (pipeline) =>
          (ref === null || pipeline.ref === ref) &&
          (status === null || pipeline.status === status) &&
          (sha === null || pipeline.sha === sha),
      );
      return page(call, rows, (pipeline) => pipelineBasic(state, pipeline, call.base));
    }),
    route('POST', `${at}/pipeline`, async (call) =>
      created(pipelineShape(state, await startPipeline(context, call), call.base)),
    ),
    route('GET', `${at}/pipelines/latest`, (call) => {
      const project = seen(call);
      const ref = call.query.get('ref') ?? project.defaultBranch;
      const latest = list(project).find((pipeline) => pipeline.ref === ref);
      if (latest === undefined) throw refuse(403);
      return ok(pipelineShape(state, latest, call.base));
    }),
    route('GET', `${at}/pipelines/:pipeline_id`, (call) =>
      ok(pipelineShape(state, pipelineOf(context, call, seen(call)), call.base)),
    ),
    route('GET', `${at}/pipelines/:pipeline_id/jobs`, (call) => {
      const pipeline = pipelineOf(context, call, seen(call));
      const scope = wanted(call);
      const all =
        call.query.get('include_retried') === 'true' ? state.jobsOf(pipeline.id) : state.latestOf(pipeline.id);
      const rows = inOrder(all.filter((job) => scope === null || scope.has(job.status)));
      return page(call, rows, (job) => jobShape(state, job, call.base));
    }),
    route('POST', `${at}/pipelines/:pipeline_id/cancel`, (call) => {
      const pipeline = pipelineOf(context, call, changed(call));
      life.cancelPipeline(pipeline);
      return ok(pipelineShape(state, pipeline, call.base));
    }),
    route('POST', `${at}/pipelines/:pipeline_id/retry`, (call) => {
      const pipeline = pipelineOf(context, call, changed(call));
      life.retryPipeline(pipeline);
      return created(pipelineShape(state, pipeline, call.base));
    }),
  ];
};

export const jobRoutes = (context: PracticeContext, looked: (job: Job) => void): Route[] => {
  const { state, life } = context;
  const seen = (call: Call): Project => projectOf(state, call, authenticate(state, call, [], true));
  const change = (
    call: Call,
    may: (job: Job) => string | null,
    work: (job: Job, caller: Caller) => Job,
  ): ReturnType<typeof created> => {
    const caller = authenticate(state, call);
    const project = changeable(state, call, caller);
    const job = jobOf(context, call, project);
    const refused = may(job);
    if (refused !== null) throw refuse(403, refused);
    return created(jobShape(state, work(job, caller), call.base));
  };
  const at = '/api/v4/projects/:id/jobs';
  return [
    route('GET', at, (call) => {
      const caller = authenticate(state, call);
      const project = projectOf(state, call, caller);
      context.rate.count(`jobs ${caller.user.id}`, context.limits.projectJobs);
      const scope = wanted(call);
      const retried = call.query.get('include_retried') === 'true';
      const rows = [...state.jobs()].filter(
        (job) => job.projectId === project.id && (scope === null || scope.has(job.status)) && (retried || !job.retried),
      );
      const answer = page(call, inOrder(rows), (job) => jobShape(state, job, call.base));
      // GitLab counts no total here.
      if ('headers' in answer && answer.headers !== undefined)
        for (const name of ['X-Total', 'X-Total-Pages']) delete answer.headers[name];
      return answer;
    }),
    route('GET', `${at}/:job_id`, (call) => ok(jobShape(state, jobOf(context, call, seen(call)), call.base))),
    route('GET', `${at}/:job_id/trace`, (call) => {
      const job = jobOf(context, call, seen(call));
      looked(job);
      if (traceLength(state, job) === 0) return { status: 200, text: '' };
      return { status: 200, file: state.tracePath(job.id), type: 'text/plain' };
    }),
    route('GET', `${at}/:job_id/artifacts`, (call) => artifactAnswer(context, jobOf(context, call, seen(call)))),
    route('POST', `${at}/:job_id/cancel`, (call) =>
      change(
        call,
        () => null,
        (job) => life.cancel(job, call.query.get('force') === 'true'),
      ),
    ),
    route('POST', `${at}/:job_id/retry`, (call) =>
      change(
        call,
        (job) => (life.retryable(job) ? null : 'Job is not retryable'),
        (job, caller) => life.retry(job, caller.user.id),
      ),
    ),
    route('POST', `${at}/:job_id/erase`, (call) =>
      change(
        call,
        (job) => (life.erasable(job) ? null : 'Job is not erasable!'),
        (job) => life.erase(job),
      ),
    ),
    route('POST', `${at}/:job_id/play`, (call) => {
      const project = changeable(state, call, authenticate(state, call));
      const job = jobOf(context, call, project);
      if (job.status !== 'manual') throw refuseWith(400, '400 Bad request - Unplayable Job');
      life.play(job);
      return ok(jobBasic(state, job, call.base));
    }),
  ];
};
