import { z } from 'zod';
import { AutogitError } from '../protocol/errors.ts';
import { AdminDoor, type AdminDoorOptions, mostPages, pageSize } from './admin-door.ts';
import { type Queue, type QueueKnown, readQueue } from './gitlab-queue.ts';
import { isHtml, isMissing } from './http-call.ts';

interface RunnerJob {
  job: number;
  projectId: number;
  /** Which machine of the runner; null where GitLab does not list it. */
  systemId: string | null;
  startedAt: number | null;
}
interface OurRunner {
  id: number;
  description: string;
  /** The third word of `autogit <mesh> <nonce>`; null when the description is of another form. */
  nonce: string | null;
}
interface AdminJob {
  job: number;
  status: string;
  name: string;
  /** True when GitLab (or a person) has made a newer job of it. */
  retried: boolean;
  failureReason: string | null;
  /** The id of the user whose job it is; null where GitLab names none. */
  user: number | null;
}
interface GitlabFacts {
  version: string;
  isAdmin: boolean;
  user: string;
  /** Instance uuid, where this GitLab tells it. */
  instance: string | null;
  /** The token may ask in the name of other users (scope `sudo`); null where GitLab does not tell what it may. */
  maySudo: boolean | null;
}

/** What the leader asks of GitLab with an admin token. Every method throws AutogitError `gitlab-*`, nothing else. */
export interface GitlabAdmin {
  check(): Promise<GitlabFacts>;
  /** The pending queue without taking anything, oldest first, to its end or `limit`. */
  readQueue(limit: number): Promise<Queue>;
  /** An instance runner of exactly these tags; takes untagged jobs only when it has none. The token is shown once. */
  createRunner(runner: { tags: string[]; description: string }): Promise<{ id: number; token: string }>;
  /** Gone already is fine. */
  deleteRunner(id: number): Promise<void>;
  /** Runners whose description begins with `prefix` (SAFETY J7). */
  listOurRunners(prefix: string): Promise<OurRunner[]>;
  /** What GitLab thinks a runner runs, or ends (SAFETY J3); none when the runner is gone, or GitLab has no such state. */
  runningJobs(runner: number, status?: 'running' | 'canceling'): Promise<RunnerJob[]>;
  job(projectId: number, job: number): Promise<AdminJob>;
  /**
   * Answers the new job's id. It is of the user who asks, and may do what that user may: `as` another than the token's own, for
   * which the token needs scope sudo (contract §1.7).
   */
  retryJob(projectId: number, job: number, as?: number): Promise<number>;
  /** The id of the token's own user. */
  userId(): Promise<number>;
  /** `force`: also one that is `canceling` already, without waiting for its runner. */
  cancelJob(projectId: number, job: number, force?: boolean): Promise<void>;
  /** A job's trace from a byte on. */
  trace(projectId: number, job: number, fromByte: number): Promise<Buffer>;
}

/** An admin may lose the rights, or GitLab begin to ask for admin mode: an empty queue makes it look again, within a minute. */
const adminAgainMs = 40_000;
const traceBytes = 128 << 20;

const RunnerJobs = z.array(
  z.object({
    id: z.int().positive(),
    started_at: z.string().nullish(),
    project: z.object({ id: z.int() }).nullish(),
    runner_manager: z.object({ system_id: z.string().nullish() }).nullish(),
  }),
);
const RestJob = z.object({
  id: z.int().positive(),
  name: z.string(),
  status: z.string(),
  failure_reason: z.string().nullish(),
  pipeline: z.object({ id: z.int() }).nullish(),
  user: z.object({ id: z.int().positive() }).nullish(),
});

const WithId = z.object({ id: z.int().positive() });

export function createGitlabAdmin(options: AdminDoorOptions): GitlabAdmin {
  const door = new AdminDoor(options);
  const knows: QueueKnown = { canceling: true, pipeline: true };
  let knownAdminUntil = Number.NEGATIVE_INFINITY;

  /** A GitLab shows an empty queue, or none, to those who are no admin: tell that from a queue that is empty. */
  const demandAdmin = async (): Promise<void> => {
    if (performance.now() < knownAdminUntil) return;
    const { isAdmin, user } = await readUser(door);
    if (!isAdmin)
      throw new AutogitError('gitlab-refused', `the token is of ${user}, who is no admin: GitLab hides its queue`, {
        hint: 'connect with the token of an admin (scope api): autogit-node gitlab connect URL --token-env VAR',
      });
    knownAdminUntil = performance.now() + adminAgainMs;
  };

  return {
    check: () => check(door),
    readQueue: async (limit) => {
      const read = await readQueue(door, limit, knows);
      if (read.jobs.length === 0) await demandAdmin();
      return read;
    },
    createRunner: ({ tags, description }) =>
      door.json(z.object({ id: z.int().positive(), token: z.string().min(1) }), 'POST', '/user/runners', {
        runner_type: 'instance_type',
        description,
        tag_list: [...tags],
        run_untagged: tags.length === 0,
      }),
    deleteRunner: async (id) => {
      const reply = await door.raw('DELETE', `/runners/${id}`);
      if (!isMissing(reply)) door.requireSuccess('the removal of a runner', reply);
    },
    listOurRunners: (prefix) => listOurRunners(door, prefix),
    runningJobs: (runner, status = 'running') => runningJobs(door, runner, status),
    job: (projectId, job) => readJob(door, projectId, job),
    retryJob: async (projectId, job, as) => {
      const path = `/projects/${projectId}/jobs/${job}/retry`;
      return door.parse(WithId, path, await door.raw('POST', path, undefined, undefined, as)).id;
    },
    userId: async () => (await door.json(WithId, 'GET', '/user')).id,
    cancelJob: async (projectId, job, force = false) => {
      const path = `/projects/${projectId}/jobs/${job}/cancel${force ? '?force=true' : ''}`;
      door.requireSuccess('the cancelling of a job', await door.raw('POST', path));
    },
    trace: async (projectId, job, fromByte) => {
      const reply = await door.raw('GET', `/projects/${projectId}/jobs/${job}/trace`, undefined, traceBytes);
      door.requireSuccess('a trace', reply);
      return reply.body.subarray(Math.min(fromByte, reply.body.length));
    },
  };
}

async function readUser(door: AdminDoor): Promise<{ user: string; isAdmin: boolean }> {
  const User = z.object({ username: z.string(), is_admin: z.boolean().nullish() });
  const user = await door.json(User, 'GET', '/user');
  return { user: user.username, isAdmin: user.is_admin === true };
}

async function check(door: AdminDoor): Promise<GitlabFacts> {
  const { version } = await door.json(z.object({ version: z.string().max(64) }), 'GET', '/version');
  const { user, isAdmin } = await readUser(door);
  // Not every GitLab tells its uuid here; a job's payload does, so its absence is no failure.
  const Settings = z.object({ uuid: z.string().max(128).nullish(), instance_uuid: z.string().max(128).nullish() });
  const settings = isAdmin ? await door.json(Settings, 'GET', '/application/settings').catch(() => null) : null;
  return {
    ...{ version, isAdmin, user, instance: settings?.uuid ?? settings?.instance_uuid ?? null },
    maySudo: isAdmin ? await readSudo(door) : null,
  };
}

/** A token that is no personal one, and a GitLab that does not answer that, tell nothing: no reason not to use it. */
async function readSudo(door: AdminDoor): Promise<boolean | null> {
  const Self = z.object({ scopes: z.array(z.string().max(64)).max(64) });
  const self = await door.json(Self, 'GET', '/personal_access_tokens/self').catch(() => null);
  return self === null ? null : self.scopes.includes('sudo');
}

async function listOurRunners(door: AdminDoor, prefix: string): Promise<OurRunner[]> {
  const Page = z.array(z.object({ id: z.int().positive(), description: z.string().nullish() }));
  const ours: OurRunner[] = [];
  for (let page = 1; page <= mostPages; page++) {
    const runners = await door.json(Page, 'GET', `/runners/all?type=instance_type&per_page=${pageSize}&page=${page}`);
    for (const { id, description } of runners)
      if (description?.startsWith(prefix))
        ours.push({ id, description, nonce: /^autogit \S+ (\S+)/.exec(description)?.[1] ?? null });
    if (runners.length < pageSize) break;
  }
  return ours;
}

async function runningJobs(door: AdminDoor, runner: number, status: 'running' | 'canceling'): Promise<RunnerJob[]> {
  const reply = await door.raw('GET', `/runners/${runner}/jobs?status=${status}&per_page=${pageSize}`);
  const isUnknown = reply.status === 404 || (reply.status === 400 && status === 'canceling');
  if (isUnknown && !isHtml(reply.headers)) return [];
  return door.parse(RunnerJobs, "a runner's jobs", reply).map((job) => {
    const startedAt = Date.parse(job.started_at ?? '');
    return {
      job: job.id,
      projectId: job.project?.id ?? 0,
      systemId: job.runner_manager?.system_id ?? null,
      startedAt: Number.isFinite(startedAt) ? startedAt : null,
    };
  });
}

async function readJob(door: AdminDoor, projectId: number, job: number): Promise<AdminJob> {
  const found = await door.json(RestJob, 'GET', `/projects/${projectId}/jobs/${job}`);
  let retried = false;
  // REST does not say `retried` of one job; a pipeline's list holds only the newest job of each name.
  if ((found.status === 'failed' || found.status === 'canceled') && found.pipeline) {
    const path = `/projects/${projectId}/pipelines/${found.pipeline.id}/jobs?per_page=${pageSize}`;
    const newest = await door.json(z.array(z.object({ id: z.int(), name: z.string() })), 'GET', path);
    retried = newest.some((other) => other.name === found.name && other.id > found.id);
  }
  return {
    job: found.id,
    status: found.status,
    name: found.name,
    retried,
    failureReason: found.failure_reason ?? null,
    user: found.user?.id ?? null,
  };
}
