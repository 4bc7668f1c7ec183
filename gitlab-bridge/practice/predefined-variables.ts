import { type CiVariable, variable } from './ci/ci-variables.ts';
import { isProtected } from './job-queue.ts';
import { iso } from './practice-clock.ts';
import { practiceRevision, practiceVersion } from './practice-identity.ts';
import { fullPath, type Job, type Pipeline, type Project, type Runner, type User } from './records.ts';

/** Lower case, other characters as `-`, at most 63, no `-` at the ends: CI_COMMIT_REF_SLUG. */
const slug = (text: string): string =>
  text
    .toLowerCase()
    .replace(/[^a-z0-9]/g, '-')
    .slice(0, 63)
    .replace(/^-+|-+$/g, '');

const server = (base: string): CiVariable[] => {
  const url = new URL(base);
  const [major, minor, patch] = practiceVersion.split(/[.-]/);
  return [
    variable('CI', 'true'),
    variable('GITLAB_CI', 'true'),
    variable('CI_SERVER', 'yes'),
    variable('CI_SERVER_NAME', 'GitLab'),
    variable('CI_SERVER_URL', base),
    variable('CI_SERVER_FQDN', url.host),
    variable('CI_SERVER_HOST', url.hostname),
    variable('CI_SERVER_PORT', url.port === '' ? (url.protocol === 'https:' ? '443' : '80') : url.port),
    variable('CI_SERVER_PROTOCOL', url.protocol.replace(':', '')),
    variable('CI_SERVER_VERSION', practiceVersion),
    variable('CI_SERVER_VERSION_MAJOR', major ?? ''),
    variable('CI_SERVER_VERSION_MINOR', minor ?? ''),
    variable('CI_SERVER_VERSION_PATCH', patch ?? ''),
    variable('CI_SERVER_REVISION', practiceRevision),
    variable('CI_API_V4_URL', `${base}/api/v4`),
    variable('CI_API_GRAPHQL_URL', `${base}/api/graphql`),
    variable('CI_TEMPLATE_REGISTRY_HOST', 'registry.gitlab.com'),
    variable('GITLAB_FEATURES', ''),
    variable('CI_PRACTICE_GITLAB', 'true'),
  ];
};

const ofProject = (project: Project, base: string): CiVariable[] => {
  const path = fullPath(project);
  return [
    variable('CI_PROJECT_ID', String(project.id)),
    variable('CI_PROJECT_NAME', project.path),
    variable('CI_PROJECT_TITLE', project.name),
    variable('CI_PROJECT_DESCRIPTION', project.description ?? ''),
    variable('CI_PROJECT_PATH', path),
    variable('CI_PROJECT_PATH_SLUG', slug(path)),
    variable('CI_PROJECT_NAMESPACE', project.namespace),
    variable('CI_PROJECT_NAMESPACE_ID', String(project.ownerId)),
    variable('CI_PROJECT_ROOT_NAMESPACE', project.namespace),
    variable('CI_PROJECT_URL', `${base}/${path}`),
    variable('CI_PROJECT_VISIBILITY', project.visibility),
    variable('CI_PROJECT_REPOSITORY_LANGUAGES', ''),
    variable('CI_DEFAULT_BRANCH', project.defaultBranch),
    variable('CI_CONFIG_PATH', '.gitlab-ci.yml'),
  ];
};

/** What is known of a pipeline before any job of it: `rules` see these. */
export const pipelineVariables = (
  pipeline: Pipeline,
  project: Project,
  user: User | undefined,
  base: string,
): CiVariable[] => {
  const description = pipeline.commitMessage.slice(pipeline.commitTitle.length).trim();
  return [
    ...server(base),
    ...ofProject(project, base),
    variable('CI_PIPELINE_ID', String(pipeline.id)),
    variable('CI_PIPELINE_IID', String(pipeline.iid)),
    variable('CI_PIPELINE_SOURCE', pipeline.source),
    variable('CI_PIPELINE_URL', `${base}/${fullPath(project)}/-/pipelines/${pipeline.id}`),
    variable('CI_PIPELINE_CREATED_AT', iso(pipeline.createdAt)),
    variable('CI_COMMIT_SHA', pipeline.sha),
    variable('CI_COMMIT_SHORT_SHA', pipeline.sha.slice(0, 8)),
    variable('CI_COMMIT_BEFORE_SHA', pipeline.beforeSha),
    variable('CI_COMMIT_REF_NAME', pipeline.ref),
    variable('CI_COMMIT_REF_SLUG', slug(pipeline.ref)),
    pipeline.tag ? variable('CI_COMMIT_TAG', pipeline.ref) : variable('CI_COMMIT_BRANCH', pipeline.ref),
    variable('CI_COMMIT_REF_PROTECTED', String(isProtected(project, pipeline))),
    variable('CI_COMMIT_TITLE', pipeline.commitTitle, true),
    variable('CI_COMMIT_MESSAGE', pipeline.commitMessage, true),
    variable('CI_COMMIT_DESCRIPTION', description, true),
    variable('CI_COMMIT_AUTHOR', pipeline.commitAuthor, true),
    variable('CI_COMMIT_TIMESTAMP', iso(pipeline.commitAt)),
    variable('GITLAB_USER_ID', String(pipeline.userId)),
    variable('GITLAB_USER_LOGIN', user?.username ?? ''),
    variable('GITLAB_USER_NAME', user?.name ?? ''),
    variable('GITLAB_USER_EMAIL', `${user?.username ?? 'nobody'}@practice.invalid`),
  ];
};

/** What a job knows beyond its pipeline. */
export const jobVariables = (job: Job, project: Project, runner: Runner, base: string): CiVariable[] => {
  const repository = new URL(`${base}/${fullPath(project)}.git`);
  repository.username = 'gitlab-ci-token';
  repository.password = job.token;
  return [
    variable('CI_JOB_ID', String(job.id)),
    variable('CI_JOB_URL', `${base}/${fullPath(project)}/-/jobs/${job.id}`),
    variable('CI_JOB_TOKEN', job.token),
    variable('CI_JOB_STARTED_AT', iso(job.startedAt ?? job.createdAt)),
    variable('CI_REGISTRY_USER', 'gitlab-ci-token'),
    variable('CI_REGISTRY_PASSWORD', job.token),
    variable('CI_REPOSITORY_URL', repository.href),
    variable('CI_JOB_NAME', job.name),
    variable('CI_JOB_NAME_SLUG', slug(job.name)),
    variable('CI_JOB_GROUP_NAME', job.spec.group),
    variable('CI_JOB_STAGE', job.stage),
    variable('CI_NODE_TOTAL', '1'),
    variable('CI_RUNNER_ID', String(runner.id)),
    variable('CI_RUNNER_DESCRIPTION', runner.description, true),
    variable('CI_RUNNER_TAGS', JSON.stringify(runner.tags), true),
    ...(job.spec.when === 'manual' ? [variable('CI_JOB_MANUAL', 'true')] : []),
  ];
};

/** Keys whose value a log must never show. */
export const maskedKeys: ReadonlySet<string> = new Set(['CI_JOB_TOKEN', 'CI_REGISTRY_PASSWORD', 'CI_REPOSITORY_URL']);
