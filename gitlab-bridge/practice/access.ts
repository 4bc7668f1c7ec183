import type { Call } from './api-call.ts';
import type { State } from './practice-state.ts';
import type { Job, Project, User } from './records.ts';
import { notFound, refuse, refuseWith, tokenHasEnded } from './refusal.ts';

/** Who is asking, and what they may see. */
export interface Caller {
  user: User;
  scopes: readonly string[];
  /** The job whose token was used; such a caller reaches only that job's project. */
  job: Job | null;
}

const header = (call: Call, name: string): string | null => {
  const value = call.headers[name];
  return typeof value === 'string' && value !== '' ? value : null;
};

/** PRIVATE-TOKEN, `Authorization: Bearer`, `private_token=`; or JOB-TOKEN where the route takes one. Null = nobody. */
export const callerOf = (state: State, call: Call, jobTokens = false): Caller | null => {
  const bearer = /^Bearer (.+)$/.exec(header(call, 'authorization') ?? '')?.[1] ?? null;
  const personal = header(call, 'private-token') ?? bearer ?? call.query.get('private_token');
  if (personal !== null) {
    const found = state.ownerOfToken(personal);
    if (found?.hasEnded) throw tokenHasEnded();
    if (found !== undefined) return { user: found.user, scopes: found.scopes, job: null };
  }
  if (!jobTokens) return null;
  const token = header(call, 'job-token') ?? call.query.get('job_token') ?? call.query.get('token') ?? personal;
  const job = token === null ? undefined : state.jobOfToken(token);
  const user = job === undefined ? undefined : state.user(job.userId);
  if (job === undefined || user === undefined) return null;
  return job.status === 'running' || job.status === 'canceling' ? { user, scopes: ['job'], job } : null;
};

/** 401 for nobody, 403 for a token without the scope. `read_api` suffices for GET. */
export const authenticate = (state: State, call: Call, more: readonly string[] = [], jobTokens = false): Caller => {
  const caller = callerOf(state, call, jobTokens);
  if (caller === null) throw refuse(401);
  if (caller.job !== null) return caller;
  const enough = ['api', ...(call.method === 'GET' ? ['read_api'] : []), ...more];
  if (!caller.scopes.some((scope) => enough.includes(scope)))
    throw refuseWith(403, 'The request requires higher privileges than provided by the access token.');
  return actingAs(state, call, caller);
};

/** `Sudo: <id or name>`: an administrator's token with scope sudo acts for another user. */
const actingAs = (state: State, call: Call, caller: Caller): Caller => {
  const named = header(call, 'sudo') ?? call.query.get('sudo');
  if (named === null) return caller;
  if (!caller.user.admin) throw refuse(403, 'Must be admin to use sudo');
  if (!caller.scopes.includes('sudo'))
    throw refuseWith(403, 'The request requires higher privileges than provided by the access token.');
  const user = [...state.users()].find(({ id, username }) => `${id}` === named || username === named);
  if (user === undefined) throw notFound(`User with ID or username '${named}'`);
  return { ...caller, user };
};

export const isAdmin = (caller: Caller): boolean => caller.user.admin && caller.job === null;

export const admin = (state: State, call: Call, more: readonly string[] = []): Caller => {
  const caller = authenticate(state, call, more);
  if (!isAdmin(caller)) throw refuse(403);
  return caller;
};

export const maySee = (caller: Caller | null, project: Project): boolean => {
  if (caller?.job != null) return caller.job.projectId === project.id;
  if (project.visibility === 'public') return true;
  if (caller === null) return false;
  return caller.user.admin || project.ownerId === caller.user.id || project.visibility === 'internal';
};

export const mayChange = (caller: Caller, project: Project): boolean =>
  caller.job === null && (caller.user.admin || project.ownerId === caller.user.id);

/** The project of `:id` (a number or a path with %2F); 404 when the caller may not see it, as GitLab does. */
export const projectOf = (state: State, call: Call, caller: Caller): Project => {
  const named = call.params.id ?? '';
  const project = /^\d+$/.test(named) ? state.project(Number(named)) : state.projectByPath(named);
  if (project === undefined || !maySee(caller, project)) throw notFound('Project');
  return project;
};

export const changeable = (state: State, call: Call, caller: Caller): Project => {
  const project = projectOf(state, call, caller);
  if (!mayChange(caller, project)) throw refuse(403);
  return project;
};
