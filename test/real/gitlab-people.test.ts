import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type PracticeGitlab, startPractice } from '../../gitlab-bridge/practice/practice-gitlab.ts';
import { type AskApi, makePeople } from '../../node/hosting/gitlab-people.ts';
import type { People } from '../../node/settings/people-list.ts';
import { AutogitError } from '../../protocol/errors.ts';

/** Users and groups of a list, made in the practice GitLab by its API. */
const folder = mkdtempSync(join(tmpdir(), 't-gitlab-people-'));
let gitlab: PracticeGitlab;
let posted: string[] = [];
const ask: AskApi = async (method, path, body) => {
  if (method === 'POST') posted.push(path);
  const headers = { 'PRIVATE-TOKEN': gitlab.adminToken, 'Content-Type': 'application/json' };
  const answer = await fetch(`${gitlab.url}/api/v4${path}`, {
    method,
    headers,
    ...(body !== undefined && { body: JSON.stringify(body) }),
  });
  return { status: answer.status, body: await answer.json() };
};
const ann = { username: 'ann', name: 'Ann', email: 'ann@example.org', isAdmin: true };
const bob = { username: 'bob', name: 'Bob', email: 'bob@example.org', isAdmin: false };
const group = (
  path: string,
  members: People['groups'][number]['members'] = [],
  visibility: 'private' | 'internal' = 'private',
) => ({
  ...{ path, name: path, visibility, members },
});

beforeAll(async () => {
  gitlab = await startPractice({ dataDir: folder, port: 0, log: () => undefined });
});
afterAll(async () => {
  await gitlab.stop();
  rmSync(folder, { recursive: true, force: true });
});

it('makes what is not there, once, and says what is there in another way', async () => {
  const list: People = {
    users: [ann, bob],
    groups: [
      group('lab', [
        { username: 'ann', level: 'owner' },
        { username: 'bob', level: 'developer' },
      ]),
      group('lab/vision', [{ username: 'root', level: 'owner' }]),
    ],
  };
  expect(await makePeople(list, ask)).toEqual({ made: 6, problems: [], differences: [] });
  expect((await ask('GET', '/groups/lab%2Fvision')).body).toMatchObject({ full_path: 'lab/vision', parent_id: 1 });
  expect((await ask('GET', '/users?username=Ann')).body).toMatchObject([
    { username: 'ann', is_admin: true, email: 'ann@example.org' },
  ]);
  posted = [];
  expect(await makePeople(list, ask)).toEqual({ made: 0, problems: [], differences: [] });
  expect(posted).toEqual([]);

  const other: People = {
    users: [{ ...ann, isAdmin: false }],
    groups: [group('lab', [{ username: 'bob', level: 'maintainer' }], 'internal')],
  };
  expect(await makePeople(other, ask)).toEqual({
    made: 0,
    problems: [],
    differences: [
      'user ann is there and an admin, which stays so',
      'group lab is there and private, not internal, which stays so',
      'bob in group lab is developer, not maintainer, which stays so',
    ],
  });
  expect(posted).toEqual([]);
});

it('a GitLab that hangs is asked for the first few entries only, and one that misses a question now and then for all', async () => {
  const users = Array.from({ length: 700 }, (_, at) => ({ ...bob, username: `u${at}` }));
  let asked = 0;
  const hangs: AskApi = async () => {
    asked += 1;
    throw new AutogitError('timed-out', "curl in GitLab's container: no end within 15 s");
  };
  const { problems } = await makePeople({ users, groups: [group('many')] }, hangs);
  expect([asked, problems.length, problems.at(-1)]).toEqual([3, 4, '698 more of the list wait until GitLab answers']);
  const misses: AskApi = async () => {
    asked += 1;
    if (asked % 3 !== 0) throw new AutogitError('gitlab-answer', 'GitLab does not answer');
    return { status: 200, body: [{ id: 1, username: 'u3', is_admin: false }] };
  };
  asked = 0;
  await makePeople({ users: Array.from({ length: 9 }, () => ({ ...bob, username: 'u3' })), groups: [] }, misses);
  expect(asked).toBeGreaterThanOrEqual(9);
});

it('what one entry is refused for is told by entry, and keeps no other out', async () => {
  const list: People = {
    users: [
      { ...bob, username: 'bert' },
      { ...bob, username: 'carl', email: 'carl@example.org' },
    ],
    groups: [
      group('no/such'),
      group('carls', [
        { username: 'nobody', level: 'guest' },
        { username: 'carl', level: 'guest' },
      ]),
    ],
  };
  const { made, problems } = await makePeople(list, ask);
  expect(made).toBe(3);
  expect(problems).toEqual([
    'user bert: GitLab answered 409: Email has already been taken',
    'group no/such: there is no group no, in which it shall be: put it into the list too',
    'nobody in group carls: GitLab has no user nobody: put that name into gitlab.users too',
  ]);
  const again = await makePeople({ ...list, users: [{ ...bob, username: 'bert', email: 'bert@example.org' }] }, ask);
  expect([again.made, again.problems.length]).toEqual([1, 2]);
});
