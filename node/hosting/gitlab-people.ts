import { z } from 'zod';
import { AutogitError, sentenceOf } from '../../protocol/errors.ts';
import type { Log } from '../log.ts';
import { levels, type People } from '../settings/people-list.ts';
import { askInside } from './gitlab-inside.ts';
import { UserRow } from './gitlab-user.ts';
import type { ServiceHost } from './service-host.ts';

const GroupRow = z.looseObject({ id: z.int(), visibility: z.string().nullish() });
const MemberRow = z.looseObject({ access_level: z.int() });

/** GitLab's API, as an admin: what it answered. Throws where nobody answers. */
export type AskApi = (
  method: 'GET' | 'POST',
  path: string,
  body?: unknown,
) => Promise<{ status: number; body: unknown }>;

/** What came of the list: entries that GitLab does not take yet, and those that it has in another way. */
interface PeopleMade {
  made: number;
  problems: string[];
  differences: string[];
}

/** So many entries in a row without an answer: the others would wait as long each, and be told the same. */
const silentMost = 3;
const silences: readonly string[] = ['gitlab-answer', 'timed-out', 'no-docker'];

/**
 * Makes what is not there, entry by entry: what one of them is refused for does not keep others out. What is there is left as it is,
 * more and less alike: nothing is deleted, lowered or raised. A GitLab that hangs is asked for the first few only.
 */
export async function makePeople({ users, groups }: People, ask: AskApi): Promise<PeopleMade> {
  const result: PeopleMade = { made: 0, problems: [], differences: [] };
  let [silent, left] = [0, 0];
  const entry = async (what: string, make: () => Promise<'made' | string | null>): Promise<void> => {
    if (silent >= silentMost) left += 1;
    else
      try {
        const end = await make();
        silent = 0;
        if (end === 'made') result.made += 1;
        else if (end !== null) result.differences.push(`${what} ${end}`);
      } catch (error) {
        silent = error instanceof AutogitError && silences.includes(error.code) ? silent + 1 : 0;
        result.problems.push(`${what}: ${sentenceOf(error)}`);
      }
  };
  for (const user of users)
    await entry(`user ${user.username}`, async () => {
      const there = await userNamed(ask, user.username);
      if (there !== null)
        return there.is_admin === user.isAdmin || there.is_admin == null ? null : adminWords(user.isAdmin);
      const { username, name, email, isAdmin: admin } = user;
      // Nobody knows it: each one gets a password of his own by `gitlab password --user`.
      await done(ask, '/users', { username, name, email, admin, force_random_password: true, skip_confirmation: true });
      return 'made';
    });
  for (const group of groups) {
    await entry(`group ${group.path}`, () => makeGroup(ask, group));
    for (const { username, level } of group.members)
      await entry(`${username} in group ${group.path}`, () => makeMember(ask, group.path, username, level));
  }
  if (left > 0) result.problems.push(`${left} more of the list wait until GitLab answers`);
  return result;
}

const adminWords = (isWanted: boolean): string =>
  isWanted ? 'is there and no admin, which stays so' : 'is there and an admin, which stays so';

async function userNamed(ask: AskApi, username: string): Promise<UserRow | null> {
  const { status, body } = await ask('GET', `/users?username=${encodeURIComponent(username)}`);
  if (status !== 200) throw refused(status, body);
  const found = z.array(UserRow).max(100).parse(body);
  return found.find((one) => one.username.toLowerCase() === username.toLowerCase()) ?? null;
}

async function groupAt(ask: AskApi, path: string): Promise<z.infer<typeof GroupRow> | null> {
  const { status, body } = await ask('GET', `/groups/${encodeURIComponent(path)}?with_projects=false`);
  if (status === 404) return null;
  if (status !== 200) throw refused(status, body);
  return GroupRow.parse(body);
}

async function makeGroup(
  ask: AskApi,
  { path, name, visibility }: People['groups'][number],
): Promise<'made' | string | null> {
  const there = await groupAt(ask, path);
  if (there !== null)
    return there.visibility == null || there.visibility === visibility
      ? null
      : `is there and ${there.visibility}, not ${visibility}, which stays so`;
  const above = path.split('/').slice(0, -1).join('/');
  const parent = above === '' ? null : await groupAt(ask, above);
  if (above !== '' && parent === null)
    throw new AutogitError(
      'gitlab-refused',
      `there is no group ${above}, in which it shall be: put it into the list too`,
    );
  const own = { path: path.split('/').at(-1), name, visibility };
  await done(ask, '/groups', { ...own, ...(parent !== null && { parent_id: parent.id }) });
  return 'made';
}

async function makeMember(
  ask: AskApi,
  path: string,
  username: string,
  level: keyof typeof levels,
): Promise<'made' | string | null> {
  const user = await userNamed(ask, username);
  if (user === null)
    throw new AutogitError('gitlab-refused', `GitLab has no user ${username}: put that name into gitlab.users too`);
  const members = `/groups/${encodeURIComponent(path)}/members`;
  const { status, body } = await ask('GET', `${members}/${user.id}`);
  if (status === 200) {
    const { access_level: has } = MemberRow.parse(body);
    const word = Object.entries(levels).find(([, figure]) => figure === has)?.[0] ?? String(has);
    return has === levels[level] ? null : `is ${word}, not ${level}, which stays so`;
  }
  if (status !== 404) throw refused(status, body);
  await done(ask, members, { user_id: user.id, access_level: levels[level] });
  return 'made';
}

async function done(ask: AskApi, path: string, wish: unknown): Promise<void> {
  const { status, body } = await ask('POST', path, wish);
  if (status !== 201 && status !== 200) throw refused(status, body);
}

/** In GitLab's own words, as far as they are some. */
function refused(status: number, body: unknown): AutogitError {
  const { message, error } = (typeof body === 'object' && body !== null ? body : {}) as Record<string, unknown>;
  const said = message ?? error;
  const words = said === undefined ? '' : typeof said === 'string' ? said : JSON.stringify(said);
  return new AutogitError(
    'gitlab-refused',
    `GitLab answered ${status}${words === '' ? '' : `: ${words.slice(0, 200)}`}`,
  );
}

const timings = { lookMs: 10_000, againMs: 60_000 } as const;

interface PeopleOptions {
  host: ServiceHost;
  clock: { bootMs(): number };
  log: Pick<Log, 'info' | 'warn'>;
  meshToken(): string | null;
  /** As it stands in the file now. Throws what is wrong with it. */
  people(): Promise<People>;
}

/** Of the list of this machine's autogit.yml: made once GitLab has a token, when the list changes, and when a person asks. */
export class GitlabPeople {
  readonly #options: PeopleOptions;
  #work: Promise<void> | null = null;
  #nextMs = 0;
  /** Of the list that was done. */
  #done = JSON.stringify({ users: [], groups: [] });
  #result: Omit<PeopleMade, 'made'> = { problems: [], differences: [] };

  constructor(options: PeopleOptions) {
    this.#options = options;
  }

  get result(): Omit<PeopleMade, 'made'> {
    return this.#result;
  }

  /** Also what was done is looked at again. */
  soon(): void {
    this.#nextMs = 0;
    this.#done = '';
  }

  tend(id: string): void {
    const { clock } = this.#options;
    if (this.#work !== null || clock.bootMs() < this.#nextMs) return;
    this.#nextMs = clock.bootMs() + timings.lookMs;
    this.#work = this.#make(id)
      .catch((error: unknown) => this.#become({ problems: [sentenceOf(error)], differences: [] }))
      .finally(() => {
        this.#work = null;
      });
  }

  async #make(id: string): Promise<void> {
    const { clock, people, meshToken, host, log } = this.#options;
    const wanted = await people();
    const text = JSON.stringify(wanted);
    if (text === this.#done) return;
    if (wanted.users.length + wanted.groups.length === 0) {
      this.#done = text;
      return this.#become({ problems: [], differences: [] });
    }
    const token = meshToken();
    if (token === null)
      throw new AutogitError(
        'gitlab-refused',
        "they wait for the mesh's token of GitLab, which a machine can use once it votes: autogit-node status -o wide",
      );
    const { made, ...result } = await makePeople(wanted, async (method, path, body) => {
      const answer = await askInside(host, id, {
        method,
        path: `/api/v4${path}`,
        token,
        ...(body !== undefined && { body }),
      });
      if (answer.status === 0) throw new AutogitError('gitlab-answer', 'GitLab does not answer');
      return { status: answer.status, body: parsed(answer.body) };
    });
    if (made > 0) log.info(`GitLab has ${made} more of the users, groups and members of autogit.yml`);
    if (result.problems.length === 0) this.#done = text;
    else this.#nextMs = clock.bootMs() + timings.againMs;
    this.#become(result);
  }

  #become(result: Omit<PeopleMade, 'made'>): void {
    for (const sentence of [...result.problems, ...result.differences])
      if (![...this.#result.problems, ...this.#result.differences].includes(sentence))
        this.#options.log.warn(`users and groups of GitLab: ${sentence}`);
    this.#result = result;
  }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
