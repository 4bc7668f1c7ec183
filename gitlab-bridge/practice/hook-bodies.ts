import { isProtected } from './job-queue.ts';
import { iso, isoOrNull } from './practice-clock.ts';
import type { State } from './practice-state.ts';
import { fullPath, type Job, type Pipeline, type Project, type Runner } from './records.ts';

/** Bodies of the job and the pipeline event, as GitLab 19 sends them (contract §3). */
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

const userPart = (state: State, id: number): object => {
  const user = state.user(id);
  return { id, name: user?.name ?? '', username: user?.username ?? '', avatar_url: null, email: '[REDACTED]' };
};

const environmentPart = (job: Job): object | null => {
  const planned = job.spec.environment ?? null;
  return planned === null ? null : { name: planned.name, action: planned.action, deployment_tier: planned.tier };
};

export const jobBody = (state: State, job: Job, pipeline: Pipeline, project: Project, base: string): object => {
  const runner = job.runnerId === null ? undefined : state.runner(job.runnerId);
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
    user: userPart(state, job.userId),
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
    environment: environmentPart(job),
  };
};

const buildPart = (state: State, job: Job): object => {
  const runner = job.runnerId === null ? undefined : state.runner(job.runnerId);
  const archive = job.artifacts.find((artifact) => artifact.type === 'archive');
  return {
    id: job.id,
    stage: job.stage,
    name: job.name,
    status: job.status,
    created_at: iso(job.createdAt),
    started_at: isoOrNull(job.startedAt),
    finished_at: isoOrNull(job.finishedAt),
    duration: between(job.startedAt, job.finishedAt),
    queued_duration: between(job.queuedAt, job.startedAt),
    failure_reason: job.failureReason,
    when: job.spec.when,
    manual: job.spec.when === 'manual',
    allow_failure: job.allowFailure,
    user: userPart(state, job.userId),
    runner: runner === undefined ? null : runnerPart(runner),
    artifacts_file: { filename: archive?.filename ?? null, size: archive?.size ?? null },
    environment: environmentPart(job),
  };
};

export const pipelineBody = (state: State, pipeline: Pipeline, project: Project, base: string): object => {
  const url = `${base}/${fullPath(project)}`;
  const text = pipeline.status === 'success' ? 'passed' : pipeline.status;
  return {
    object_kind: 'pipeline',
    object_attributes: {
      id: pipeline.id,
      iid: pipeline.iid,
      name: null,
      ref: pipeline.ref,
      tag: pipeline.tag,
      sha: pipeline.sha,
      before_sha: pipeline.beforeSha,
      source: pipeline.source,
      status: pipeline.status,
      detailed_status: text,
      stages: pipeline.stages,
      created_at: iso(pipeline.createdAt),
      finished_at: isoOrNull(pipeline.finishedAt),
      duration: between(pipeline.startedAt, pipeline.finishedAt),
      queued_duration: between(pipeline.createdAt, pipeline.startedAt),
      protected_ref: isProtected(project, pipeline),
      // Values of masked ones are never sent.
      variables: pipeline.variables.map(({ key, value, secret }) => ({
        key,
        value: secret === undefined ? value : null,
      })),
      url: `${url}/-/pipelines/${pipeline.id}`,
    },
    merge_request: null,
    user: userPart(state, pipeline.userId),
    project: {
      id: project.id,
      name: project.name,
      description: project.description,
      web_url: url,
      git_http_url: `${url}.git`,
      namespace: project.namespace,
      path_with_namespace: fullPath(project),
      default_branch: project.defaultBranch,
    },
    commit: {
      id: pipeline.sha,
      message: pipeline.commitMessage,
      title: pipeline.commitTitle,
      timestamp: iso(pipeline.commitAt),
      url: `${url}/-/commit/${pipeline.sha}`,
      author: { name: pipeline.commitAuthor, email: '' },
    },
    builds: state.latestOf(pipeline.id).map((job) => buildPart(state, job)),
  };
};
