import { authenticate, projectOf } from './access.ts';
import { type Call, idOf, ok, type Route, route } from './api-call.ts';
import { type CiVariable, expand, expandAll, variable } from './ci/ci-variables.ts';
import { environmentSlug } from './ci/environment.ts';
import { dependenciesOf } from './job-dependencies.ts';
import { page } from './paging.ts';
import { iso } from './practice-clock.ts';
import type { PracticeContext } from './practice-context.ts';
import type { State } from './practice-state.ts';
import { pipelineVariables } from './predefined-variables.ts';
import { projectVariables } from './project-variables.ts';
import type { Environment, Job } from './records.ts';
import { notFound } from './refusal.ts';

/** Environments as far as jobs and their REST list show them: no deployments, no automatic stop. */

/** What a job with an environment knows of it. */
export const environmentVariables = (job: Job): CiVariable[] => {
  const planned = job.spec.environment ?? null;
  if (planned === null) return [];
  return [
    variable('CI_ENVIRONMENT_NAME', planned.name),
    variable('CI_ENVIRONMENT_SLUG', environmentSlug(planned.name)),
    variable('CI_ENVIRONMENT_ACTION', planned.action),
    variable('CI_ENVIRONMENT_TIER', planned.tier),
    ...(planned.url === null ? [] : [variable('CI_ENVIRONMENT_URL', planned.url)]),
  ];
};

/** Its `environment:url`, with what the job itself, those before it, the project and the pipeline have as variables. */
const urlOf = (state: State, job: Job, base: string): string | null => {
  const url = job.spec.environment?.url ?? null;
  const pipeline = state.pipeline(job.pipelineId);
  const project = state.project(job.projectId);
  if (url === null || pipeline === undefined || project === undefined) return null;
  const known = [
    ...pipelineVariables(pipeline, project, state.user(job.userId), base),
    ...environmentVariables(job),
    ...pipeline.fileVariables,
    ...job.spec.variables,
    ...dependenciesOf(job, state.latestOf(pipeline.id)).flatMap((other) => other.dotenv ?? []),
    ...(job.dotenv ?? []),
    ...projectVariables(project, pipeline, job.spec.environment?.name ?? null),
    ...pipeline.variables,
  ];
  return expand(url, expandAll(known));
};

/** An environment is there with the first job that names it; the job that stops it closes it. */
export const followEnvironments = (state: State, base: () => string): void => {
  state.jobChanged.push((job) => {
    const planned = job.spec.environment ?? null;
    if (planned === null) return;
    const known = [...state.environments()].find((one) => one.projectId === job.projectId && one.name === planned.name);
    const isEnded = job.status === 'success';
    if (known !== undefined && !isEnded) return;
    const now = state.clock.now();
    const before = known ?? { id: state.newId('environment'), state: 'available' as const, createdAt: now };
    const isStopped = isEnded && planned.action === 'stop';
    const isStarted = isEnded && planned.action === 'start';
    state.saveEnvironment({
      ...before,
      projectId: job.projectId,
      name: planned.name,
      tier: planned.tier,
      externalUrl: urlOf(state, job, base()) ?? known?.externalUrl ?? null,
      state: isStopped ? 'stopped' : isStarted ? 'available' : before.state,
      updatedAt: now,
    });
  });
};

const shape = (one: Environment): object => ({
  id: one.id,
  name: one.name,
  slug: environmentSlug(one.name),
  external_url: one.externalUrl,
  created_at: iso(one.createdAt),
  updated_at: iso(one.updatedAt),
  tier: one.tier,
  state: one.state,
  auto_stop_at: null,
});

export const environmentRoutes = ({ state }: PracticeContext): Route[] => {
  const rows = (call: Call): Environment[] => {
    const project = projectOf(state, call, authenticate(state, call));
    return [...state.environments()].filter((one) => one.projectId === project.id);
  };
  const at = '/api/v4/projects/:id/environments';
  return [
    route('GET', at, (call) => {
      const [name, states] = [call.query.get('name'), call.query.get('states')];
      const found = rows(call).filter(
        (one) => (name === null || one.name === name) && (states === null || one.state === states),
      );
      return page(call, found, shape);
    }),
    route('GET', `${at}/:environment_id`, (call) => {
      const one = rows(call).find(({ id }) => id === idOf(call, 'environment_id'));
      if (one === undefined) throw notFound('Environment');
      return ok(shape(one));
    }),
  ];
};
