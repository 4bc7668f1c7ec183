import { createHash } from 'node:crypto';
import { plannedServices } from '../../gitlab-bridge/job-services.ts';
import { ownCaOf } from '../../gitlab-bridge/own-ca.ts';
import { type JobPayload, variableOf } from '../../gitlab-bridge/payload.ts';
import {
  expand,
  imageOf,
  jobVariables,
  lookUpIn,
  payloadVariables,
  type RunFacts,
} from '../../gitlab-bridge/variables.ts';
import type { Run } from '../../protocol/ledger.ts';
import { archName } from '../../scheduler/jobs/demand.ts';
import { engineTag } from '../executors/engine-for-jobs.ts';
import type { ExecutorSpec, LocalRun } from '../ports.ts';
import type { RunOptions } from './run-options.ts';

/** What an executor must know to make, or find, a run's place. The same in every agent process. */
export function executorSpec(
  local: LocalRun,
  payload: JobPayload,
  options: RunOptions,
  factsAt: (place: { projectDir: string; buildsDir: string }) => RunFacts,
): ExecutorSpec {
  const lookUp = lookUpIn(jobVariables(payload, factsAt({ projectDir: '', buildsDir: '' })), '');
  const { docker } = payload.image?.executor_opts ?? {};
  return {
    run: local.run.run,
    job: local.run.job,
    image: imageOf(payload, lookUp),
    entrypoint: payload.image?.entrypoint ?? null,
    imageUser: expand(docker?.user ?? '', lookUp) || null,
    platform: expand(docker?.platform ?? '', lookUp) || null,
    project: `${local.url} ${payload.job_info.project_id}`,
    pullPolicies: payload.image?.pull_policy ?? [],
    servicesAt: (place) => {
      const variables = jobVariables(payload, factsAt(place));
      return plannedServices(payload, variables, lookUpIn(variables, place.projectDir));
    },
    logins: payload.credentials.flatMap(({ type, url, username, password }) =>
      type === 'registry' && url && username && password ? [{ url, username, password }] : [],
    ),
    clonePathAt: (buildsDir) => {
      const asked = variableOf(payload, 'GIT_CLONE_PATH');
      return asked ? expand(asked, lookUpIn(jobVariables(payload, factsAt({ projectDir: '', buildsDir })), '')) : null;
    },
    variables: payloadVariables(payload).variables,
    variablesAt: (place) => jobVariables(payload, factsAt(place)),
    ...options.limitsFor(local.run.tags),
    gpus: options.gpusByUuid(local.run.gpus),
    engine: local.run.tags.includes(engineTag) ? { project: payload.job_info.project_full_path ?? null } : null,
  };
}

/** What this node knows of a run and GitLab does not. */
export function factsOf(
  { nodeName, version, instance, gitlabUrl }: RunOptions,
  payload: JobPayload,
  run: Run,
  slots: RunFacts['slots'],
  place: { projectDir: string; buildsDir?: string },
): RunFacts {
  const runner = `${instance().uuid ?? ''} ${variableOf(payload, 'CI_RUNNER_ID') ?? run.class}`;
  return {
    projectDir: place.projectDir,
    buildsDir: place.buildsDir ?? buildsDirOf(place.projectDir, payload),
    node: nodeName,
    version,
    architecture: archName(process.arch),
    executor: run.executor,
    slots,
    tlsCa: ownCaOf(gitlabUrl() ?? '')?.pem,
    runnerKey: createHash('sha256').update(runner).digest('hex').slice(0, 9),
  };
}

/** CI_BUILDS_DIR: the tree lies at its project's own path below it. */
function buildsDirOf(projectDir: string, payload: JobPayload): string {
  const path = variableOf(payload, 'CI_PROJECT_PATH');
  const below = path && projectDir.endsWith(`/${path}`) ? `/${path}` : projectDir.slice(projectDir.lastIndexOf('/'));
  return projectDir.slice(0, projectDir.length - below.length) || '/';
}
