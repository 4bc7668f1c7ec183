import { randomBytes, scryptSync } from 'node:crypto';
import { z } from 'zod';
import { admin, authenticate } from './access.ts';
import { type Call, created, idOf, ok, type Route, read, route } from './api-call.ts';
import { page } from './paging.ts';
import { iso } from './practice-clock.ts';
import type { PracticeContext } from './practice-context.ts';
import type { State } from './practice-state.ts';
import { userShape } from './project-shapes.ts';
import { accessLevels, type Group, type User } from './records.ts';
import { badParameter, notFound, refuseWith } from './refusal.ts';

/** `salt:hash`. Nobody signs in here; whether a password is somebody's can be asked. */
export const hashedPassword = (password: string): string => {
  const salt = randomBytes(12).toString('hex');
  return `${salt}:${scryptSync(password, salt, 32, { N: 1024 }).toString('hex')}`;
};

const password = z.string().min(8).max(128);
const userBody = z.object({
  username: z.string().regex(/^[A-Za-z0-9_][A-Za-z0-9_.-]{0,254}$/),
  name: z.string().min(1).max(255).optional(),
  email: z.string().max(255).optional(),
  password: password.optional(),
  force_random_password: z.boolean().optional(),
  reset_password: z.boolean().optional(),
  skip_confirmation: z.boolean().optional(),
  admin: z.boolean().optional(),
});

/** 409 as GitLab's, for a name or an address that another one has. */
export function createUser(context: PracticeContext, wish: Omit<User, 'id' | 'tokens' | 'createdAt'>): User {
  const { state } = context;
  const email = wish.email?.toLowerCase();
  for (const user of state.users()) {
    if (user.username.toLowerCase() === wish.username.toLowerCase())
      throw refuseWith(409, 'Username has already been taken');
    if (email !== undefined && user.email?.toLowerCase() === email)
      throw refuseWith(409, 'Email has already been taken');
  }
  const user: User = { ...wish, id: state.newId('user'), tokens: [], createdAt: state.clock.now() };
  state.saveUser(user);
  return user;
}

const userRoutes = (context: PracticeContext): Route[] => {
  const { state } = context;
  return [
    route('GET', '/api/v4/users', (call) => {
      authenticate(state, call, ['read_user']);
      const wanted = call.query.get('username')?.toLowerCase();
      const rows = [...state.users()].filter(
        ({ username }) => wanted === undefined || username.toLowerCase() === wanted,
      );
      return page(call, rows.reverse(), (user) => userShape(user, call.base));
    }),
    route('POST', '/api/v4/users', (call) => {
      admin(state, call);
      const body = read(userBody, call.body);
      const secret = body.force_random_password === true ? randomBytes(16).toString('hex') : body.password;
      if (secret === undefined && body.reset_password !== true)
        throw badParameter(
          'password, reset_password, force_random_password are missing, at least one parameter must be provided',
        );
      const user = createUser(context, {
        ...{ username: body.username, name: body.name ?? body.username, admin: body.admin ?? false },
        ...(body.email !== undefined && { email: body.email }),
        ...(secret !== undefined && { password: hashedPassword(secret) }),
      });
      return created(userShape(user, call.base));
    }),
    route('PUT', '/api/v4/users/:user_id', (call) => {
      admin(state, call);
      const body = read(z.object({ password: password.optional() }), call.body);
      const user = state.user(idOf(call, 'user_id'));
      if (user === undefined) throw notFound('User');
      if (body.password !== undefined) user.password = hashedPassword(body.password);
      state.saveUser(user);
      return ok(userShape(user, call.base));
    }),
  ];
};

const groupOf = (state: State, call: Call): Group => {
  const key = call.params.group_id ?? '';
  for (const group of state.groups())
    if (String(group.id) === key || group.fullPath.toLowerCase() === key.toLowerCase()) return group;
  throw notFound('Group');
};

const groupShape = (group: Group, base: string): Record<string, unknown> => ({
  id: group.id,
  web_url: `${base}/groups/${group.fullPath}`,
  name: group.name,
  path: group.fullPath.split('/').at(-1),
  description: '',
  visibility: group.visibility,
  full_name: group.name,
  full_path: group.fullPath,
  parent_id: group.parentId,
  created_at: iso(group.createdAt),
});

const groupBody = z.object({
  name: z.string().min(1).max(255),
  path: z.string().regex(/^[A-Za-z0-9_][A-Za-z0-9_.-]{0,254}$/),
  parent_id: z.number().int().positive().nullish(),
  visibility: z.enum(['private', 'internal', 'public']).optional(),
});

function createGroup(state: State, call: Call): Group {
  const { user } = admin(state, call);
  const body = read(groupBody, call.body);
  const parent = body.parent_id == null ? null : [...state.groups()].find(({ id }) => id === body.parent_id);
  if (parent === undefined) throw notFound('Group');
  const fullPath = parent === null ? body.path : `${parent.fullPath}/${body.path}`;
  const isTaken = [...state.groups()].some((one) => one.fullPath.toLowerCase() === fullPath.toLowerCase());
  const isUser = [...state.users()].some(({ username }) => username.toLowerCase() === fullPath.toLowerCase());
  if (isTaken || isUser) throw refuseWith(400, 'Failed to save group {:path=>["has already been taken"]}');
  const visibility = body.visibility ?? 'private';
  const order = ['private', 'internal', 'public'];
  if (parent !== null && order.indexOf(visibility) > order.indexOf(parent.visibility))
    throw refuseWith(
      400,
      `Failed to save group {:visibility_level=>["${visibility} is not allowed since the parent group has a ${parent.visibility} visibility."]}`,
    );
  const group: Group = {
    ...{ id: state.newId('group'), name: body.name, fullPath, parentId: parent?.id ?? null, visibility },
    // Who makes it owns it.
    members: { [user.id]: 50 },
    createdAt: state.clock.now(),
  };
  state.saveGroup(group);
  return group;
}

const memberShape = (user: User, level: number, base: string): Record<string, unknown> => ({
  id: user.id,
  username: user.username,
  name: user.name,
  state: 'active',
  web_url: `${base}/${user.username}`,
  access_level: level,
  expires_at: null,
  membership_state: 'active',
});

const groupRoutes = (context: PracticeContext): Route[] => {
  const { state } = context;
  return [
    route('GET', '/api/v4/groups/:group_id', (call) => {
      authenticate(state, call);
      return ok(groupShape(groupOf(state, call), call.base));
    }),
    route('POST', '/api/v4/groups', (call) => created(groupShape(createGroup(state, call), call.base))),
    route('GET', '/api/v4/groups/:group_id/members/:user_id', (call) => {
      authenticate(state, call);
      const level = groupOf(state, call).members[idOf(call, 'user_id')];
      const user = state.user(idOf(call, 'user_id'));
      if (level === undefined || user === undefined) throw notFound('Member');
      return ok(memberShape(user, level, call.base));
    }),
    route('POST', '/api/v4/groups/:group_id/members', (call) => {
      admin(state, call);
      const group = groupOf(state, call);
      const body = read(z.object({ user_id: z.number().int(), access_level: z.number().int() }), call.body);
      if (!accessLevels.includes(body.access_level)) throw badParameter('access_level does not have a valid value');
      const user = state.user(body.user_id);
      if (user === undefined) throw notFound('User');
      if (group.members[user.id] !== undefined) throw refuseWith(409, 'Member already exists');
      group.members[user.id] = body.access_level;
      state.saveGroup(group);
      return created(memberShape(user, body.access_level, call.base));
    }),
  ];
};

/** Users, groups and who is in them: what an admin makes of a new GitLab. Projects of groups are not there. */
export const peopleRoutes = (context: PracticeContext): Route[] => [...userRoutes(context), ...groupRoutes(context)];
