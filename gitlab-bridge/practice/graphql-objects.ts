import { GraphQLError } from 'graphql';
import { iso, isoOrNull } from './practice-clock.ts';
import type { PracticeContext } from './practice-context.ts';
import {
  finished,
  fullPath,
  type Job,
  type Manager,
  type Pipeline,
  type Project,
  type Runner,
  type User,
} from './records.ts';
import { runnerStatus } from './runner-shapes.ts';

/** Records as GraphQL objects. Fields that cost something are functions: graphql calls them only when asked for. */
interface ListArguments {
  first?: number | null;
  after?: string | null;
  last?: number | null;
  before?: string | null;
}

const pageSize = 100;

const cursorOf = (id: number): string => Buffer.from(JSON.stringify({ id: String(id) })).toString('base64url');
const idOfCursor = (cursor: string): number => {
  try {
    const { id } = JSON.parse(Buffer.from(cursor, 'base64url').toString('utf8')) as { id?: unknown };
    if (typeof id === 'string' && /^\d+$/.test(id)) return Number(id);
  } catch {
    // refused below
  }
  throw new GraphQLError('Please provide a valid cursor');
};

const checked = (count: number | null | undefined, name: string): number | null => {
  if (count == null) return null;
  if (count < 0) throw new GraphQLError(`\`${name}\` must not be negative`);
  return Math.min(count, pageSize);
};

/** Keyset pages over rows that come newest first (highest id first). */
export const connection = <T extends { id: number }>(
  rows: readonly T[],
  args: ListArguments,
  object: (row: T) => unknown,
) => {
  const first = checked(args.first, 'first');
  const last = checked(args.last, 'last');
  if (first !== null && last !== null) throw new GraphQLError('Can only provide either `first` or `last`, not both');
  const after = args.after == null ? Number.POSITIVE_INFINITY : idOfCursor(args.after);
  const before = args.before == null ? Number.NEGATIVE_INFINITY : idOfCursor(args.before);
  const within = rows.filter((row) => row.id < after && row.id > before);
  const count = first ?? last ?? pageSize;
  const shown = last === null ? within.slice(0, count) : within.slice(Math.max(0, within.length - count));
  const edge = (row: T | undefined): string | null => (row === undefined ? null : cursorOf(row.id));
  return {
    count: ({ limit }: { limit?: number | null }) => (limit == null ? rows.length : Math.min(rows.length, limit + 1)),
    nodes: () => shown.map(object),
    edges: () => shown.map((row) => ({ cursor: cursorOf(row.id), node: object(row) })),
    pageInfo: {
      startCursor: edge(shown[0]),
      endCursor: edge(shown.at(-1)),
      hasNextPage:
        last === null ? within.length > shown.length : args.before != null && rows.some((row) => row.id <= before),
      hasPreviousPage:
        last === null ? args.after != null && rows.some((row) => row.id >= after) : within.length > shown.length,
    },
  };
};

const seconds = (from: number | null, to: number | null): number | null =>
  from === null || to === null ? null : (to - from) / 1000;

export const userObject = (user: User): object => ({
  id: `gid://gitlab/User/${user.id}`,
  username: user.username,
  name: user.name,
  webPath: `/${user.username}`,
  admin: user.admin,
});

const runnerObject = (context: PracticeContext, runner: Runner): object => ({
  id: `gid://gitlab/Ci::Runner/${runner.id}`,
  description: runner.description,
  runnerType: runner.type.toUpperCase(),
  tagList: runner.tags,
  paused: runner.paused,
  runUntagged: runner.runUntagged,
  locked: runner.locked,
  status: runnerStatus(runner.contactedAt, runner.createdAt, context.state.clock.now()).toUpperCase(),
  contactedAt: isoOrNull(runner.contactedAt),
  createdAt: iso(runner.createdAt),
  shortSha: runner.token.replace(/^glrt-t\d_|^glrtr-/, '').slice(0, 9),
});

const managerObject = (manager: Manager): object => ({
  id: `gid://gitlab/Ci::RunnerManager/${manager.id}`,
  systemId: manager.systemId,
  version: manager.version,
  revision: manager.revision,
  platformName: manager.platform,
  architectureName: manager.architecture,
  contactedAt: iso(manager.contactedAt),
  createdAt: iso(manager.createdAt),
  ipAddress: manager.ip,
});

export interface JobFilter extends ListArguments {
  statuses?: string[] | null;
  retried?: boolean | null;
}

/** Newest first; `statuses` as GraphQL names them (upper case). */
export const jobRows = (jobs: Iterable<Job>, filter: JobFilter): Job[] => {
  const statuses = filter.statuses == null ? null : new Set(filter.statuses.map((status) => status.toLowerCase()));
  const retried = filter.retried ?? null;
  return [...jobs]
    .filter((job) => (statuses === null || statuses.has(job.status)) && (retried === null || job.retried === retried))
    .sort((a, b) => b.id - a.id);
};

const pipelineObject = (context: PracticeContext, pipeline: Pipeline): object => {
  const project = context.state.project(pipeline.projectId) as Project;
  return {
    id: `gid://gitlab/Ci::Pipeline/${pipeline.id}`,
    iid: String(pipeline.iid),
    sha: pipeline.sha,
    ref: pipeline.ref,
    status: pipeline.status.toUpperCase(),
    path: `/${fullPath(project)}/-/pipelines/${pipeline.id}`,
    createdAt: iso(pipeline.createdAt),
    startedAt: isoOrNull(pipeline.startedAt),
    finishedAt: isoOrNull(pipeline.finishedAt),
    duration: Math.round(seconds(pipeline.startedAt, pipeline.finishedAt) ?? 0) || null,
    yamlErrors: pipeline.yamlErrors !== null,
    yamlErrorMessages: pipeline.yamlErrors,
    user: () => {
      const user = context.state.user(pipeline.userId);
      return user === undefined ? null : userObject(user);
    },
    jobs: (filter: JobFilter) =>
      connection(jobRows(context.state.jobsOf(pipeline.id), filter), filter, (job) => jobObject(context, job)),
  };
};

export const projectObject = (context: PracticeContext, project: Project, base: string): object => ({
  id: `gid://gitlab/Project/${project.id}`,
  name: project.name,
  path: project.path,
  fullPath: fullPath(project),
  nameWithNamespace: `${project.namespace} / ${project.name}`,
  description: project.description,
  webUrl: `${base}/${fullPath(project)}`,
  httpUrlToRepo: `${base}/${fullPath(project)}.git`,
  visibility: project.visibility,
  createdAt: iso(project.createdAt),
  jobs: (filter: JobFilter) => {
    const own = [...context.state.jobs()].filter((job) => job.projectId === project.id);
    return connection(jobRows(own, filter), filter, (job) => jobObject(context, job, base));
  },
  pipelines: (filter: ListArguments & { status?: string | null; ref?: string | null }) => {
    const rows = [...context.state.pipelines()]
      .filter(
        (pipeline) =>
          pipeline.projectId === project.id &&
          (filter.status == null || pipeline.status === filter.status.toLowerCase()) &&
          (filter.ref == null || pipeline.ref === filter.ref),
      )
      .sort((a, b) => b.id - a.id);
    return connection(rows, filter, (pipeline) => pipelineObject(context, pipeline));
  },
});

export const jobObject = (context: PracticeContext, job: Job, base = ''): object => {
  const { state } = context;
  const pipeline = state.pipeline(job.pipelineId) as Pipeline;
  const project = state.project(job.projectId) as Project;
  const now = state.clock.now();
  const duration = seconds(job.startedAt, job.finishedAt ?? (job.startedAt === null ? null : now));
  const live = job.status === 'pending' || job.status === 'running';
  return {
    id: `gid://gitlab/Ci::Build/${job.id}`,
    name: job.name,
    status: job.status.toUpperCase(),
    tags: job.spec.tags,
    createdAt: iso(job.createdAt),
    queuedAt: isoOrNull(job.queuedAt),
    queuedDuration: seconds(job.queuedAt, job.startedAt ?? (job.status === 'pending' ? now : null)),
    startedAt: isoOrNull(job.startedAt),
    finishedAt: isoOrNull(job.finishedAt),
    duration: duration === null ? null : Math.round(duration),
    refName: pipeline.ref,
    refPath: `/${fullPath(project)}/-/commits/${pipeline.ref}`,
    shortSha: pipeline.sha.slice(0, 8),
    commitPath: `/${fullPath(project)}/-/commit/${pipeline.sha}`,
    stage: { id: `gid://gitlab/Ci::Stage/${pipeline.id * 1000 + job.stageIdx}`, name: job.stage },
    project: () => projectObject(context, project, base),
    pipeline: () => pipelineObject(context, pipeline),
    runner: () => {
      const runner = state.runner(job.runnerId ?? 0);
      return runner === undefined ? null : runnerObject(context, runner);
    },
    runnerManager: () => {
      const manager = state.manager(job.managerId ?? 0);
      return manager === undefined ? null : managerObject(manager);
    },
    stuck: () => context.life.stuck(job),
    retried: job.retried,
    allowFailure: job.allowFailure,
    failureMessage: job.failureReason,
    exitCode: job.exitCode,
    webPath: `/${fullPath(project)}/-/jobs/${job.id}`,
    active: live,
    cancelable: live || job.status === 'created',
    retryable: context.life.retryable(job),
    playable: job.status === 'manual',
    manualJob: job.spec.when === 'manual',
    schedulingType: job.spec.needs === null ? 'stage' : 'dag',
    finished: finished(job.status),
  };
};
