import { iso, isoOrNull } from './practice-clock.ts';
import type { State } from './practice-state.ts';
import { projectIdentity, userBasic, userShape } from './project-shapes.ts';
import { fullPath, type Job, type Pipeline } from './records.ts';
import { managerShape, runnerShape } from './runner-shapes.ts';

const seconds = (from: number | null, to: number | null): number | null =>
  from === null || to === null ? null : (to - from) / 1000;

/** API::Entities::Ci::PipelineBasic. */
export const pipelineBasic = (state: State, pipeline: Pipeline, base: string): Record<string, unknown> => {
  const project = state.project(pipeline.projectId);
  return {
    id: pipeline.id,
    iid: pipeline.iid,
    project_id: pipeline.projectId,
    sha: pipeline.sha,
    ref: pipeline.ref,
    status: pipeline.status,
    source: pipeline.source,
    created_at: iso(pipeline.createdAt),
    updated_at: iso(pipeline.updatedAt),
    web_url: `${base}/${project === undefined ? '' : fullPath(project)}/-/pipelines/${pipeline.id}`,
  };
};

/** The mean of its jobs', two places; null where none has any. */
const pipelineCoverage = (state: State, pipeline: Pipeline): string | null => {
  const found = state.latestOf(pipeline.id).flatMap(({ coverage }) => (coverage == null ? [] : [coverage]));
  return found.length === 0 ? null : (found.reduce((sum, one) => sum + one, 0) / found.length).toFixed(2);
};

/** API::Entities::Ci::Pipeline. */
export const pipelineShape = (state: State, pipeline: Pipeline, base: string): Record<string, unknown> => {
  const user = state.user(pipeline.userId);
  const status = pipeline.status;
  const path = `${new URL(String(pipelineBasic(state, pipeline, base).web_url)).pathname}`;
  const duration = seconds(pipeline.startedAt, pipeline.finishedAt);
  const queued = seconds(pipeline.createdAt, pipeline.startedAt);
  return {
    ...pipelineBasic(state, pipeline, base),
    before_sha: pipeline.beforeSha,
    tag: pipeline.tag,
    yaml_errors: pipeline.yamlErrors,
    user: user === undefined ? null : userBasic(user, base),
    started_at: isoOrNull(pipeline.startedAt),
    finished_at: isoOrNull(pipeline.finishedAt),
    committed_at: null,
    duration: duration === null ? null : Math.round(duration),
    queued_duration: queued === null ? null : Math.round(queued),
    coverage: pipelineCoverage(state, pipeline),
    detailed_status: {
      icon: `status_${status}`,
      text: status === 'success' ? 'passed' : status,
      label: status === 'success' ? 'passed' : status,
      group: status,
      tooltip: status === 'success' ? 'passed' : status,
      has_details: true,
      details_path: path,
      illustration: null,
      favicon: `/assets/ci_favicons/favicon_status_${status}.png`,
    },
  };
};

const commitShape = (pipeline: Pipeline, webUrl: string): Record<string, unknown> => ({
  id: pipeline.sha,
  short_id: pipeline.sha.slice(0, 8),
  created_at: iso(pipeline.commitAt),
  parent_ids: [],
  title: pipeline.commitTitle,
  message: pipeline.commitMessage,
  author_name: pipeline.commitAuthor,
  author_email: '',
  authored_date: iso(pipeline.commitAt),
  committer_name: pipeline.commitAuthor,
  committer_email: '',
  committed_date: iso(pipeline.commitAt),
  trailers: {},
  extended_trailers: {},
  web_url: `${webUrl}/-/commit/${pipeline.sha}`,
});

/** API::Entities::Ci::JobBasic. */
export const jobBasic = (state: State, job: Job, base: string): Record<string, unknown> => {
  const pipeline = state.pipeline(job.pipelineId) as Pipeline;
  const project = state.project(job.projectId);
  const user = state.user(job.userId);
  const webUrl = `${base}/${project === undefined ? '' : fullPath(project)}`;
  const now = state.clock.now();
  return {
    id: job.id,
    status: job.status,
    stage: job.stage,
    name: job.name,
    ref: pipeline.ref,
    tag: pipeline.tag,
    coverage: job.coverage ?? null,
    allow_failure: job.allowFailure,
    created_at: iso(job.createdAt),
    started_at: isoOrNull(job.startedAt),
    finished_at: isoOrNull(job.finishedAt),
    erased_at: isoOrNull(job.erasedAt ?? null),
    duration: seconds(job.startedAt, job.finishedAt ?? (job.startedAt === null ? null : now)),
    queued_duration: seconds(job.queuedAt, job.startedAt ?? (job.status === 'pending' ? now : null)),
    user: user === undefined ? null : userShape(user, base),
    commit: commitShape(pipeline, webUrl),
    pipeline: pipelineBasic(state, pipeline, base),
    ...(job.failureReason === null ? {} : { failure_reason: job.failureReason }),
    web_url: `${webUrl}/-/jobs/${job.id}`,
    project: { ci_job_token_scope_enabled: true },
  };
};

/** API::Entities::Ci::JobBasicWithProject: a runner's list. */
export const jobWithProject = (state: State, job: Job, base: string): Record<string, unknown> => {
  const project = state.project(job.projectId);
  return {
    ...jobBasic(state, job, base),
    project: project === undefined ? null : projectIdentity(state, project, base),
  };
};

/** API::Entities::Ci::Job. */
export const jobShape = (state: State, job: Job, base: string): Record<string, unknown> => {
  const archive = job.artifacts.find((artifact) => artifact.type === 'archive');
  const runner = job.runnerId === null ? undefined : state.runner(job.runnerId);
  const manager = job.managerId === null ? undefined : state.manager(job.managerId);
  return {
    ...jobBasic(state, job, base),
    ...(archive === undefined ? {} : { artifacts_file: { filename: archive.filename, size: archive.size } }),
    artifacts: job.artifacts.map((artifact) => ({
      file_type: artifact.type,
      size: artifact.size,
      filename: artifact.filename,
      file_format: artifact.format,
    })),
    runner: runner === undefined ? null : runnerShape(state, runner),
    runner_manager: manager === undefined ? null : managerShape(state, manager),
    artifacts_expire_at: isoOrNull(archive?.expireAt ?? null),
    archived: false,
    tag_list: job.spec.tags,
  };
};
