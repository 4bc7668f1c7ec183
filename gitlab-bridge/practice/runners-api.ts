import { z } from 'zod';
import { admin, authenticate, type Caller, mayChange } from './access.ts';
import { type Call, created, empty, idOf, ok, type Route, read, route } from './api-call.ts';
import { jobWithProject } from './job-shapes.ts';
import { page } from './paging.ts';
import { isoOrNull } from './practice-clock.ts';
import type { PracticeContext } from './practice-context.ts';
import type { Runner, RunnerType } from './records.ts';
import { badParameter, notFound, refuse, refuseWith } from './refusal.ts';
import { contact, runnerInfo, runnerOf, systemId } from './runner-contact.ts';
import { managerShape, runnerDetails, runnerShape, runnerStatus } from './runner-shapes.ts';
import { newRunnerToken, sameSecret } from './secrets.ts';

const tagList = z
  .union([z.array(z.string()), z.string().transform((text) => text.split(',').map((tag) => tag.trim()))])
  .transform((tags) => [...new Set(tags.filter((tag) => tag !== ''))])
  .pipe(z.array(z.string().max(255)));
const flag = z.union([z.boolean(), z.enum(['true', 'false']).transform((text) => text === 'true')]);
const whole = z.union([z.number().int(), z.string().regex(/^\d+$/).transform(Number)]);

const settings = {
  description: z.string().max(1024).nullish(),
  maintenance_note: z.string().nullish(),
  paused: flag.optional(),
  active: flag.optional(),
  locked: flag.optional(),
  access_level: z.enum(['not_protected', 'ref_protected']).optional(),
  run_untagged: flag.optional(),
  tag_list: tagList.optional(),
  maximum_timeout: whole.nullish(),
};
const settingsSchema = z.object(settings);
type Settings = z.infer<typeof settingsSchema>;

/** Sets what was given, then checks the whole as GitLab validates a runner: 400 with its sentences. */
const change = (runner: Runner, given: Settings): void => {
  if (given.description != null) runner.description = given.description;
  if (given.maintenance_note !== undefined) runner.maintenanceNote = given.maintenance_note;
  if (given.active !== undefined) runner.paused = !given.active;
  if (given.paused !== undefined) runner.paused = given.paused;
  if (given.locked !== undefined) runner.locked = given.locked;
  if (given.access_level !== undefined) runner.accessLevel = given.access_level;
  if (given.run_untagged !== undefined) runner.runUntagged = given.run_untagged;
  if (given.tag_list !== undefined) runner.tags = given.tag_list;
  if (given.maximum_timeout !== undefined) runner.maximumTimeout = given.maximum_timeout;
  const wrong: Record<string, string[]> = {};
  if (runner.tags.length === 0 && !runner.runUntagged)
    wrong.tags_list = ['can not be empty when runner is not allowed to pick untagged jobs'];
  if (runner.tags.length > 50) wrong.tags_list = ['Too many tags specified. Please limit the number of tags to 50'];
  if (runner.maximumTimeout !== null && runner.maximumTimeout < 600)
    wrong.maximum_timeout = ['needs to be at least 10 minutes'];
  if ((runner.maintenanceNote ?? '').length > 1024)
    wrong.maintenance_note = ['is too long (maximum is 1024 characters)'];
  if (Object.keys(wrong).length > 0) throw refuseWith(400, wrong);
};

const fresh = (context: PracticeContext, type: RunnerType, projectIds: number[], creatorId: number | null): Runner => ({
  id: 0,
  token: newRunnerToken(type, creatorId !== null),
  type,
  projectIds,
  description: '',
  maintenanceNote: null,
  tags: [],
  runUntagged: true,
  locked: type === 'project_type',
  paused: false,
  accessLevel: 'not_protected',
  maximumTimeout: null,
  creatorId,
  createdAt: context.state.clock.now(),
  contactedAt: null,
});

const registered = (runner: Runner): object => ({ id: runner.id, token: runner.token, token_expires_at: null });

const createBody = z.object({
  ...settings,
  runner_type: z.enum(['instance_type', 'group_type', 'project_type']),
  project_id: whole.optional(),
  group_id: whole.optional(),
});

const createRunner = (context: PracticeContext, call: Call): object => {
  const caller = authenticate(context.state, call, ['create_runner']);
  const body = read(createBody, call.body);
  if (body.runner_type === 'group_type') throw badParameter('group runners: the practice GitLab has no groups');
  const projectIds: number[] = [];
  if (body.runner_type === 'project_type') {
    if (body.project_id === undefined) throw badParameter('project_id is missing');
    const project = context.state.project(body.project_id);
    if (project === undefined || !mayChange(caller, project)) throw refuse(403);
    projectIds.push(project.id);
  } else if (!caller.user.admin) throw refuse(403);
  const runner = fresh(context, body.runner_type, projectIds, caller.user.id);
  change(runner, body);
  runner.id = context.state.newId('runner');
  context.state.saveRunner(runner);
  context.state.log(`runner ${runner.id} created: ${runner.tags.join(', ') || 'untagged'}`);
  return registered(runner);
};

const registerBody = z.object({ ...settings, token: z.string(), info: runnerInfo.optional() });

const registerRunner = (context: PracticeContext, call: Call): object => {
  const body = read(registerBody, call.body);
  if (!sameSecret(body.token, context.state.instance.registrationToken)) throw refuse(403, 'invalid token supplied');
  const runner = fresh(context, 'instance_type', [], null);
  change(runner, body);
  runner.id = context.state.newId('runner');
  context.state.saveRunner(runner);
  return registered(runner);
};

/** The calls that a runner makes with its own token. */
const ownRoutes = (context: PracticeContext): Route[] => {
  const tokenBody = z.object({ token: z.string(), system_id: systemId, info: runnerInfo.nullish() });
  return [
    route('POST', '/api/v4/runners', (call) => created(registerRunner(context, call))),
    route('POST', '/api/v4/user/runners', (call) => created(createRunner(context, call))),
    route('POST', '/api/v4/runners/verify', (call) => {
      const body = read(tokenBody, call.body);
      const runner = runnerOf(context, call, body.token);
      contact(context.state, runner, call, body.system_id, body.info);
      return ok(registered(runner));
    }),
    route('DELETE', '/api/v4/runners', (call) => {
      context.state.dropRunner(runnerOf(context, call, read(tokenBody, call.body).token));
      return empty();
    }),
    route('DELETE', '/api/v4/runners/managers', (call) => {
      const body = read(z.object({ token: z.string(), system_id: z.string().max(64) }), call.body);
      const runner = runnerOf(context, call, body.token);
      for (const manager of [...context.state.managers()])
        if (manager.runnerId === runner.id && manager.systemId === body.system_id) {
          context.state.dropManager(manager.id);
          return empty();
        }
      throw notFound('Runner manager');
    }),
    route('POST', '/api/v4/runners/reset_authentication_token', (call) => {
      const runner = runnerOf(context, call, read(tokenBody, call.body).token);
      return created(reset(context, runner));
    }),
    route('GET', '/api/v4/runners/router/discovery', () => ({ status: 501, json: { message: '501 Not Implemented' } })),
  ];
};

const reset = (context: PracticeContext, runner: Runner): object => {
  runner.token = newRunnerToken(runner.type, runner.creatorId !== null);
  context.state.saveRunner(runner);
  return { token: runner.token, token_expires_at: isoOrNull(null) };
};

const owns = (context: PracticeContext, caller: Caller, runner: Runner): boolean => {
  if (caller.user.admin) return true;
  if (runner.type !== 'project_type') return false;
  return runner.projectIds.some((id) => {
    const project = context.state.project(id);
    return project !== undefined && mayChange(caller, project);
  });
};

const managed = (context: PracticeContext, call: Call): Runner => {
  const caller = authenticate(context.state, call, ['manage_runner']);
  const runner = context.state.runner(idOf(call, 'id'));
  if (runner === undefined) throw notFound('Runner');
  if (!owns(context, caller, runner)) throw refuse(403, 'No access granted');
  return runner;
};

const filtered = (context: PracticeContext, call: Call, runners: Runner[]): Runner[] => {
  const query = call.query;
  const tags = query.get('tag_list')?.split(',') ?? [];
  const now = context.state.clock.now();
  return runners
    .filter(
      (runner) =>
        (query.get('type') ?? runner.type) === runner.type &&
        (query.get('paused') ?? String(runner.paused)) === String(runner.paused) &&
        tags.every((tag) => runner.tags.includes(tag)) &&
        (query.get('status') === null ||
          query.get('status') === runnerStatus(runner.contactedAt, runner.createdAt, now) ||
          query.get('status') === (runner.paused ? 'paused' : 'active')),
    )
    .sort((a, b) => b.id - a.id);
};

/** The calls of people and agents with a personal token. */
export const runnerRoutes = (context: PracticeContext): Route[] => {
  const { state } = context;
  const manage: Parameters<typeof admin>[2] = ['manage_runner'];
  return [
    ...ownRoutes(context),
    route('GET', '/api/v4/runners/all', (call) => {
      admin(state, call, manage);
      return page(call, filtered(context, call, [...state.runners()]), (runner) => runnerShape(state, runner));
    }),
    route('GET', '/api/v4/runners', (call) => {
      const caller = authenticate(state, call, manage);
      const own = [...state.runners()].filter((runner) => owns(context, caller, runner));
      return page(call, filtered(context, call, own), (runner) => runnerShape(state, runner));
    }),
    route('GET', '/api/v4/runners/:id', (call) => ok(runnerDetails(state, managed(context, call), call.base))),
    route('PUT', '/api/v4/runners/:id', (call) => {
      const runner = managed(context, call);
      const next = { ...runner };
      change(next, read(settingsSchema, call.body));
      Object.assign(runner, next);
      state.saveRunner(runner);
      context.queue.tick(runner);
      return ok(runnerDetails(state, runner, call.base));
    }),
    route('DELETE', '/api/v4/runners/:id', (call) => {
      state.dropRunner(managed(context, call));
      return empty();
    }),
    route('POST', '/api/v4/runners/:id/reset_authentication_token', (call) =>
      created(reset(context, managed(context, call))),
    ),
    route('GET', '/api/v4/runners/:id/managers', (call) => {
      const runner = managed(context, call);
      const managers = [...state.managers()].filter((manager) => manager.runnerId === runner.id);
      return page(call, managers.reverse(), (manager) => managerShape(state, manager));
    }),
    route('GET', '/api/v4/runners/:id/jobs', (call) => {
      const runner = managed(context, call);
      const system = call.query.get('system_id');
      const status = call.query.get('status');
      const jobs = [...state.jobs()].filter(
        (job) =>
          job.runnerId === runner.id &&
          (status === null || job.status === status) &&
          (system === null || state.manager(job.managerId ?? 0)?.systemId === system),
      );
      jobs.sort((a, b) => b.id - a.id);
      return page(call, jobs, (job) => jobWithProject(state, job, call.base));
    }),
  ];
};
