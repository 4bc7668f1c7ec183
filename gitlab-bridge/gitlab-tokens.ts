import { z } from 'zod';
import { AutogitError } from '../protocol/errors.ts';
import { apiOf, refusalOf } from './gitlab-runner.ts';
import { type CallReply, call, isHtml, jsonOf, mayWorkLater, reasonOf } from './http-call.ts';

interface TokenHolder {
  url: string;
  token: string;
  timeoutMs: number;
}

const dayMs = 86_400_000;
/** GitLab allows a token a year at most, unless its administrator said otherwise. */
const mostDays = 364;

/** A day as GitLab writes it: at its beginning, in UTC, a token ends. */
const Day = z
  .string()
  .regex(/^\d{4}-\d{2}-\d{2}$/)
  .refine((day) => !Number.isNaN(Date.parse(day)));
const Self = z.object({ expires_at: Day.nullish() });
const Whole = z.object({
  user_id: z.int().positive(),
  name: z.string().min(1),
  scopes: z.array(z.string().min(1)).min(1),
});

/**
 * The day at whose beginning (UTC) an admin token ends, YYYY-MM-DD; null when it has no end. Throws AutogitError `gitlab-*`,
 * also of a token that is no personal one, of which GitLab tells nothing.
 */
export async function readTokenEnd(holder: TokenHolder): Promise<string | null> {
  return (await ask(holder, Self, 'GET', '/personal_access_tokens/self', 'its own token')).expires_at ?? null;
}

/**
 * A new admin token for the old one, which GitLab revokes in the same moment. `lasts`: `same` ends when the old one would
 * have, `longest` as late as GitLab allows: a year. Where its administrator allows less by now, or this machine's clock is wrong, it
 * lasts what GitLab gives without being asked, a week. Throws AutogitError `gitlab-*`; `gitlab-refused` has changed nothing.
 */
export async function rotateAdminToken(holder: TokenHolder, lasts: 'same' | 'longest' = 'same'): Promise<string> {
  const today = new Date().toISOString().slice(0, 10);
  const ends = lasts === 'same' ? await readTokenEnd(holder) : null;
  const path = '/personal_access_tokens/self/rotate';
  const rotate = async (body: object): Promise<string> =>
    (await ask(holder, Token, 'POST', path, 'the rotation of the token', body)).token;
  // One that a removed machine knows must go, however short the next one lasts.
  return asLongAsAllowed(rotate, ends && ends > today ? ends : latestDay());
}

/** Until that day, or, where GitLab refuses that and so has changed nothing, for what it gives without a date: what its administrator allows. */
async function asLongAsAllowed(
  make: (lasts: { expires_at?: string }) => Promise<string>,
  day: string,
): Promise<string> {
  try {
    return await make({ expires_at: day });
  } catch (error) {
    if (!(error instanceof AutogitError) || error.code !== 'gitlab-refused') throw error;
    return make({});
  }
}

const latestDay = (): string => new Date(Date.now() + mostDays * dayMs).toISOString().slice(0, 10);

/**
 * A second admin token beside this one: of the same user, name and rights, for as long as GitLab allows. An answer that is lost costs
 * nothing: the first one goes on until `revokeAdminToken`. Throws AutogitError `gitlab-*`.
 */
export async function secondAdminToken(holder: TokenHolder): Promise<string> {
  const whole = await ask(holder, Whole, 'GET', '/personal_access_tokens/self', 'its own token');
  const { user_id: user, name, scopes } = whole;
  const path = `/users/${user}/personal_access_tokens`;
  const make = async (lasts: object): Promise<string> =>
    (await ask(holder, Token, 'POST', path, 'a second token', { name, scopes, ...lasts })).token;
  return asLongAsAllowed(make, latestDay());
}

/** Ends a token, by itself; one that has ended is fine. Throws AutogitError `gitlab-*`. */
export async function revokeAdminToken(holder: TokenHolder): Promise<void> {
  const reply = await asked(holder, 'DELETE', '/personal_access_tokens/self');
  if (reply.status === 401 && !isHtml(reply.headers)) return;
  demandSuccess(reply, 'the end of a token');
}

/** A new token for a runner, by its old one, which ends with that. Jobs that run have tokens of their own. */
export async function resetRunnerToken({ url, token, timeoutMs }: TokenHolder): Promise<string> {
  const path = '/runners/reset_authentication_token';
  const answer = await ask({ url, token: null, timeoutMs }, Token, 'POST', path, 'the reset of a runner token', {
    token,
  });
  return answer.token;
}

const Token = z.object({ token: z.string().min(1).max(4096) });

interface Holder {
  url: string;
  token: string | null;
  timeoutMs: number;
}

async function ask<S extends z.ZodType>(
  holder: Holder,
  schema: S,
  method: 'GET' | 'POST',
  path: string,
  what: string,
  body?: object,
): Promise<z.output<S>> {
  const reply = await asked(holder, method, path, body);
  demandSuccess(reply, what);
  const parsed = schema.safeParse(jsonOf(reply.body));
  if (!parsed.success) throw new AutogitError('gitlab-answer', `GitLab answered ${what} in another form`);
  return parsed.data;
}

function demandSuccess(reply: CallReply, what: string): void {
  if (reply.status < 200 || reply.status > 299 || isHtml(reply.headers))
    throw new AutogitError(mayWorkLater(reply) ? 'gitlab-unreachable' : 'gitlab-refused', refusalOf(what, reply));
}

async function asked(
  { url, token, timeoutMs }: Holder,
  method: 'GET' | 'POST' | 'DELETE',
  path: string,
  body?: object,
): Promise<CallReply> {
  try {
    return await call({
      method,
      url: `${apiOf(url)}${path}`,
      headers: {
        Accept: 'application/json',
        'User-Agent': 'autogit-node',
        ...(token === null ? {} : { 'PRIVATE-TOKEN': token }),
        ...(body === undefined ? {} : { 'Content-Type': 'application/json' }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      timeoutMs,
      limitBytes: 1 << 20,
      fresh: method !== 'GET',
    });
  } catch (cause) {
    throw new AutogitError('gitlab-unreachable', `GitLab at ${url} gave no whole answer: ${reasonOf(cause)}`, {
      cause,
    });
  }
}
