import { withCacheKeys } from './cache-keys.ts';
import type { CiVariable } from './ci/ci-variables.ts';
import type { PlannedJob } from './ci/pipeline-plan.ts';
import { keepForPipeline, readCommit, readFileAt } from './git-repository.ts';
import { planOf } from './pipeline-config.ts';
import type { PracticeContext } from './practice-context.ts';
import { pipelineVariables } from './predefined-variables.ts';
import { projectVariables } from './project-variables.ts';
import type { Job, Pipeline, Project, User } from './records.ts';
import { newJobToken } from './secrets.ts';

const skips = /\[(?:ci skip|skip ci)\]/i;

export const noSha = '0'.repeat(40);

interface PipelineRequest {
  project: Project;
  user: User;
  sha: string;
  beforeSha: string;
  ref: string;
  tag: boolean;
  source: Pipeline['source'];
  variables: CiVariable[];
}

/** `refused`: nothing was made, with GitLab's sentences. A push with a wrong CI file makes a failed pipeline instead. */
type PipelineOutcome = { kind: 'created'; pipeline: Pipeline } | { kind: 'refused'; errors: string[] };

const jobOf = (context: PracticeContext, pipeline: Pipeline, spec: PlannedJob, now: number): Job => ({
  id: context.state.newId('job'),
  pipelineId: pipeline.id,
  projectId: pipeline.projectId,
  name: spec.name,
  stage: spec.stage,
  stageIdx: spec.stageIdx,
  status: 'created',
  spec,
  allowFailure: spec.allowFailure,
  userId: pipeline.userId,
  token: newJobToken(),
  createdAt: now,
  queuedAt: null,
  startedAt: null,
  finishedAt: null,
  updatedAt: now,
  runnerId: null,
  managerId: null,
  runnerFeatures: [],
  failureReason: null,
  exitCode: null,
  retried: false,
  artifacts: [],
  traceCheck: 'none',
});

/** Reads `.gitlab-ci.yml` of the commit and makes the pipeline of it. */
export const createPipeline = async (
  context: PracticeContext,
  request: PipelineRequest,
  base: string,
): Promise<PipelineOutcome> => {
  const { state } = context;
  const { project, user } = request;
  if (project.buildsDisabled) return { kind: 'refused', errors: ['Pipelines are disabled!'] };
  const folder = state.repositoryPath(project.id);
  const text = await readFileAt(folder, request.sha, '.gitlab-ci.yml');
  if (text === null) return { kind: 'refused', errors: ['Missing CI config file'] };
  const commit = await readCommit(folder, request.sha);
  const now = state.clock.now();
  const pipeline: Pipeline = {
    id: state.newId('pipeline'),
    iid: project.lastPipelineIid + 1,
    projectId: project.id,
    sha: request.sha,
    beforeSha: request.beforeSha,
    ref: request.ref,
    tag: request.tag,
    source: request.source,
    status: 'created',
    userId: user.id,
    stages: [],
    variables: request.variables,
    fileVariables: [],
    yamlErrors: null,
    commitTitle: commit.title,
    commitMessage: commit.message,
    commitAuthor: commit.author,
    commitAt: commit.at,
    createdAt: now,
    updatedAt: now,
    startedAt: null,
    finishedAt: null,
  };
  const known = [
    ...pipelineVariables(pipeline, project, user, base),
    ...projectVariables(project, pipeline, null),
    ...request.variables,
  ];
  const result = await planOf(context, request, text, known);
  if (result.kind === 'filtered') return { kind: 'refused', errors: [result.because] };
  if (result.kind === 'invalid' && request.source === 'api') return { kind: 'refused', errors: result.errors };
  await keepForPipeline(folder, pipeline.id, request.sha);
  project.lastPipelineIid += 1;
  pipeline.iid = project.lastPipelineIid;
  project.updatedAt = now;
  state.saveProject(project);
  if (result.kind === 'invalid') {
    pipeline.status = 'failed';
    pipeline.yamlErrors = result.errors.join('\n');
    pipeline.finishedAt = now;
    state.savePipeline(pipeline);
    state.log(`pipeline ${pipeline.id} failed: ${result.errors[0]}`);
    return { kind: 'created', pipeline };
  }
  if (request.source === 'push' && skips.test(commit.message)) {
    pipeline.status = 'skipped';
    state.savePipeline(pipeline);
    return { kind: 'created', pipeline };
  }
  pipeline.stages = result.plan.stages;
  pipeline.fileVariables = result.plan.variables;
  state.savePipeline(pipeline);
  const planned = await withCacheKeys(folder, request.sha, result.plan.jobs);
  const inOrder = planned.sort((a, b) => a.stageIdx - b.stageIdx);
  for (const spec of inOrder) state.saveJob(jobOf(context, pipeline, spec, now));
  context.life.progress(pipeline.id);
  state.log(`pipeline ${pipeline.id} of ${project.path}@${pipeline.ref}: ${inOrder.length} jobs`);
  return { kind: 'created', pipeline };
};
