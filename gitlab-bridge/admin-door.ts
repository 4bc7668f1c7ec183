import type { z } from 'zod';
import { AutogitError } from '../protocol/errors.ts';
import { apiOf, refusalOf } from './gitlab-runner.ts';
import { type CallReply, call, headerOf, isHtml, mayWorkLater, reasonOf } from './http-call.ts';

export interface AdminDoorOptions {
  url: string;
  token: string;
  timeoutMs: number;
}

/** Of every list: as many a page as GitLab gives at most, and so many pages that one that never ends is left. */
export const pageSize = 100;
export const mostPages = 50;

/** GitLab's API with an admin token: one request, its status and its JSON checked. */
export class AdminDoor {
  readonly #options: AdminDoorOptions;
  constructor(options: AdminDoorOptions) {
    this.#options = options;
  }

  /** `as`: the user in whose name, where it is not the token's own. */
  async raw(method: 'GET' | 'POST' | 'PUT' | 'DELETE', path: string, body?: unknown, limitBytes?: number, as?: number) {
    const { url, token, timeoutMs } = this.#options;
    const base = path.startsWith('/api/') ? `${url.replace(/\/+$/, '')}${path}` : `${apiOf(url)}${path}`;
    try {
      return await call({
        method,
        url: base,
        headers: {
          'PRIVATE-TOKEN': token,
          Accept: 'application/json',
          'User-Agent': 'autogit-node',
          ...(as === undefined ? {} : { Sudo: `${as}` }),
          ...(body === undefined ? {} : { 'Content-Type': 'application/json' }),
        },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        timeoutMs,
        ...(limitBytes === undefined ? { limitBytes: 16 << 20 } : { limitBytes }),
        fresh: method === 'POST',
      });
    } catch (cause) {
      throw new AutogitError('gitlab-unreachable', `GitLab at ${url} gave no whole answer: ${reasonOf(cause)}`, {
        cause,
      });
    }
  }

  async json<S extends z.ZodType>(
    schema: S,
    method: 'GET' | 'POST' | 'PUT' | 'DELETE',
    path: string,
    body?: unknown,
  ): Promise<z.output<S>> {
    return this.parse(schema, path, await this.raw(method, path, body));
  }

  parse<S extends z.ZodType>(schema: S, what: string, reply: CallReply): z.output<S> {
    this.requireSuccess(what, reply);
    let json: unknown;
    try {
      json = JSON.parse(reply.body.toString('utf8'));
    } catch (cause) {
      throw new AutogitError('gitlab-answer', `GitLab answered ${what} with something that is no JSON`, { cause });
    }
    const parsed = schema.safeParse(json);
    if (parsed.success) return parsed.data;
    const first = parsed.error.issues[0];
    const where = first ? `${first.path.join('.')}: ${first.message}` : 'unknown';
    throw new AutogitError('gitlab-answer', `GitLab answered ${what} in another form (${where})`);
  }

  requireSuccess(what: string, reply: CallReply): void {
    const { status, headers } = reply;
    if (status >= 200 && status < 300 && !isHtml(headers)) return;
    if (status === 401 || (status === 403 && !isHtml(headers)))
      throw new AutogitError(
        'gitlab-refused',
        status === 401
          ? `GitLab does not know this token, or it has ended (${what})`
          : `${refusalOf(what, reply)} (the token needs scope api, and admin_mode where GitLab uses that)`,
      );
    if (status >= 300 && status < 400)
      throw new AutogitError('gitlab-answer', `GitLab sends ${what} elsewhere (HTTP ${status})`, {
        hint: `connect with the address that it names: ${headerOf(headers, 'location') ?? 'unknown'}`,
      });
    throw new AutogitError(mayWorkLater(reply) ? 'gitlab-unreachable' : 'gitlab-answer', refusalOf(what, reply));
  }
}
