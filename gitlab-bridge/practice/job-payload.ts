import { type CiVariable, expandAll } from './ci/ci-variables.ts';
import type { PlannedArtifacts, PlannedCache, PlannedImage } from './ci/pipeline-plan.ts';
import { reportKinds } from './ci/reports.ts';
import { environmentVariables } from './environments.ts';
import { dependenciesOf } from './job-dependencies.ts';
import { isProtected } from './job-queue.ts';
import type { State } from './practice-state.ts';
import { jobVariables, maskedKeys, pipelineVariables } from './predefined-variables.ts';
import { projectVariables } from './project-variables.ts';
import { fullPath, type Job, type Pipeline, type Project, type Runner } from './records.ts';

/** The body of a 201 to POST /jobs/request (contract §1.3), as GitLab 19 sends it. */

const failureReasons = [
  'unknown_failure',
  'script_failure',
  'api_failure',
  'stuck_or_timeout_failure',
  'runner_system_failure',
  'missing_dependency_failure',
  'runner_unsupported',
  'stale_schedule',
  'job_execution_timeout',
  'archived_failure',
  'unmet_prerequisites',
  'scheduler_failure',
  'data_integrity_failure',
  'user_blocked',
  'project_deleted',
  'ci_quota_exceeded',
  'no_matching_runner',
  'trace_size_exceeded',
  'builds_disabled',
  'image_pull_failure',
  'runner_configuration_error',
  'runner_external_dependency_failure',
  'runner_interrupted',
  'job_token_expired',
] as const;
export const knownFailures: ReadonlySet<string> = new Set(failureReasons);

const defaultDepth = 20;

/** Seconds: the job's, else the project's; a runner's maximum lowers it. */
export const timeoutSeconds = (job: Job, project: Project, runner: Runner | undefined): number => {
  const own = job.spec.timeout ?? project.buildTimeout;
  return runner?.maximumTimeout == null ? own : Math.min(own, runner.maximumTimeout);
};

const plain = (variables: readonly CiVariable[]): object[] =>
  variables.map(({ key, value, raw }) => ({ key, value, public: true, file: false, masked: false, raw }));

const image = (planned: PlannedImage): object => ({
  name: planned.name,
  entrypoint: planned.entrypoint,
  ports: planned.ports,
  executor_opts: planned.executorOpts,
  pull_policy: planned.pullPolicy,
});

const service = (planned: PlannedImage): object => ({
  ...image(planned),
  alias: planned.alias,
  command: planned.command,
  variables: plain(planned.variables),
});

/** All variables of a job, the later of a key winning, in GitLab's order: predefined, the file's, the job's, dotenv, the project's, the pipeline's. */
const variablesOf = (state: State, job: Job, pipeline: Pipeline, project: Project, runner: Runner, base: string) => {
  const inherit = job.spec.inheritVariables;
  const file = pipeline.fileVariables.filter(
    (entry) => inherit === true || (Array.isArray(inherit) && inherit.includes(entry.key)),
  );
  const predefined = [
    ...pipelineVariables(pipeline, project, state.user(pipeline.userId), base),
    ...jobVariables(job, project, runner, base),
    ...environmentVariables(job),
  ];
  const all = [
    ...predefined,
    ...file,
    ...job.spec.variables,
    ...dependenciesOf(job, state.latestOf(pipeline.id)).flatMap((other) => other.dotenv ?? []),
    ...projectVariables(project, pipeline, job.spec.environment?.name ?? null),
    ...pipeline.variables,
  ];
  const values = expandAll(all);
  const last = new Map(all.map((entry) => [entry.key, entry]));
  const list = Object.entries(values).map(([key, value]) => ({
    key,
    value,
    public: !maskedKeys.has(key) && last.get(key)?.secret === undefined,
    file: last.get(key)?.file ?? false,
    masked: maskedKeys.has(key) || last.get(key)?.secret === 'masked',
    raw: last.get(key)?.raw ?? false,
  }));
  return { list, values };
};

const refspecs = (pipeline: Pipeline, depth: number): string[] => {
  const persistent = `+refs/pipelines/${pipeline.id}:refs/pipelines/${pipeline.id}`;
  if (depth === 0) return [persistent, '+refs/heads/*:refs/remotes/origin/*', '+refs/tags/*:refs/tags/*'];
  const own = pipeline.tag
    ? `+refs/tags/${pipeline.ref}:refs/tags/${pipeline.ref}`
    : `+refs/heads/${pipeline.ref}:refs/remotes/origin/${pipeline.ref}`;
  return [persistent, own];
};

/** Of a job that an earlier practice GitLab planned, junit alone. */
export const reportsOf = ({ reports, junit }: PlannedArtifacts): { type: string; paths: string[] }[] =>
  reports ?? (junit === undefined || junit.length === 0 ? [] : [{ type: 'junit', paths: junit }]);

const artifacts = (job: Job): object[] | null => {
  const planned = job.spec.artifacts;
  if (planned === null) return null;
  const list: object[] = [];
  if (planned.untracked || planned.paths.length > 0)
    list.push({
      name: planned.name,
      untracked: planned.untracked,
      paths: planned.paths,
      ...(planned.exclude.length > 0 ? { exclude: planned.exclude } : {}),
      when: planned.when,
      expire_in: planned.expireIn,
      artifact_type: 'archive',
      artifact_format: 'zip',
    });
  for (const { type, paths } of reportsOf(planned)) {
    const kind = reportKinds.get(type);
    list.push({
      name: kind?.name ?? null,
      paths,
      when: 'always',
      expire_in: planned.expireIn,
      artifact_type: type,
      artifact_format: kind?.format ?? 'gzip',
    });
  }
  return list;
};

const steps = (job: Job, timeout: number): object[] => [
  { name: 'script', script: job.spec.script, timeout, when: 'on_success', allow_failure: false },
  ...(job.spec.afterScript.length === 0
    ? []
    : [{ name: 'after_script', script: job.spec.afterScript, timeout, when: 'always', allow_failure: true }]),
];

const cache = (planned: PlannedCache, project: Project, guarded: boolean): object => {
  const own = guarded && !planned.unprotect ? 'protected' : 'non_protected';
  // "Clear runner caches" is a number before it: what was kept under another one is not found again.
  const suffix = [project.cacheIndex ?? '', project.separatedCaches === false ? '' : own].filter((part) => part !== '');
  const whole = (key: string): string => [key, ...suffix].join('-');
  return {
    key: whole(planned.key),
    untracked: planned.untracked,
    policy: planned.policy,
    paths: planned.paths,
    when: planned.when,
    fallback_keys: planned.fallbackKeys.map(whole),
  };
};

const jobInfo = (state: State, job: Job, project: Project, queueDepth: number): object => ({
  id: job.id,
  name: job.name,
  stage: job.stage,
  pipeline_id: job.pipelineId,
  project_id: project.id,
  project_name: project.name,
  project_full_path: fullPath(project),
  namespace_id: project.ownerId,
  root_namespace_id: project.ownerId,
  organization_id: 1,
  instance_id: state.instance.jobKey,
  instance_uuid: state.instance.uuid,
  user_id: job.userId,
  scoped_user_id: null,
  time_in_queue_seconds: Math.max(0, ((job.startedAt ?? 0) - (job.queuedAt ?? 0)) / 1000),
  project_jobs_running_on_instance_runners_count: String(Math.max(0, state.runningOnInstance(project.id) - 1)),
  queue_size: state.pendingJobs().length,
  queue_depth: queueDepth,
});

/** Builds the payload of a job that has just been given to a runner. */
export const jobPayload = (state: State, job: Job, runner: Runner, base: string, queueDepth: number): object => {
  const pipeline = state.pipeline(job.pipelineId) as Pipeline;
  const project = state.project(job.projectId) as Project;
  const timeout = timeoutSeconds(job, project, runner);
  const variables = variablesOf(state, job, pipeline, project, runner, base);
  const asked = variables.values.GIT_DEPTH;
  const depth = asked !== undefined && /^\d+$/.test(asked) ? Number(asked) : defaultDepth;
  const guarded = isProtected(project, pipeline);
  return {
    id: job.id,
    token: job.token,
    allow_git_fetch: true,
    job_info: jobInfo(state, job, project, queueDepth),
    git_info: {
      repo_url: variables.values.CI_REPOSITORY_URL,
      repo_object_format: 'sha1',
      ref: pipeline.ref,
      sha: pipeline.sha,
      before_sha: pipeline.beforeSha,
      ref_type: pipeline.tag ? 'tag' : 'branch',
      refspecs: refspecs(pipeline, depth),
      depth,
      protected: guarded,
    },
    runner_info: { timeout, runner_session_url: null },
    inputs: [],
    variables: variables.list,
    steps: steps(job, timeout),
    hooks:
      job.spec.preGetSources.length === 0 ? [] : [{ name: 'pre_get_sources_script', script: job.spec.preGetSources }],
    image: job.spec.image === null ? null : image(job.spec.image),
    services: job.spec.services.map(service),
    artifacts: artifacts(job),
    cache: job.spec.cache.map((entry) => cache(entry, project, guarded)),
    credentials: [],
    dependencies: dependenciesOf(job, state.latestOf(pipeline.id))
      .map((other) => ({ other, archive: other.artifacts.find((artifact) => artifact.type === 'archive') }))
      .filter(({ archive }) => archive !== undefined)
      .map(({ other, archive }) => ({
        id: other.id,
        name: other.name,
        token: job.token,
        artifacts_file: { filename: archive?.filename, size: archive?.size },
      })),
    features: {
      trace_sections: true,
      token_mask_prefixes: ['glpat-', 'gloas-', 'gldt-', 'glrt-', 'glrtr-', 'glcbt-', 'glptt-', 'glft-', 'glimt-'],
      failure_reasons: failureReasons,
    },
  };
};
