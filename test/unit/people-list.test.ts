import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { peopleOfFile } from '../../node/settings/people-file.ts';
import { readSettingsFile } from '../../node/settings/settings-file.ts';

const folder = mkdtempSync(join(tmpdir(), 't-people-'));
const file = join(folder, 'autogit.yml');
afterAll(() => rmSync(folder, { recursive: true }));
const people = (text: string) => {
  writeFileSync(file, text);
  return readSettingsFile(file, true).people;
};

const list = `name: kang
gitlab:
  users:
    - username: ann
      name: Ann Example
      email: ann@example.org
      admin: yes
    - { username: bob.b, email: bob@example.org }
  groups:
    - path: lab/vision
      members:
        bob.b: developer
    - path: lab
      name: The Lab
      visibility: internal
      members: { ann: owner, root: maintainer }
`;

test('users and groups of autogit.yml are read, a group before what lies in it', () => {
  expect(people(list)).toEqual({
    users: [
      { username: 'ann', name: 'Ann Example', email: 'ann@example.org', isAdmin: true },
      { username: 'bob.b', name: 'bob.b', email: 'bob@example.org', isAdmin: false },
    ],
    groups: [
      {
        path: 'lab',
        name: 'The Lab',
        visibility: 'internal',
        members: [
          { username: 'ann', level: 'owner' },
          { username: 'root', level: 'maintainer' },
        ],
      },
      {
        path: 'lab/vision',
        name: 'vision',
        visibility: 'private',
        members: [{ username: 'bob.b', level: 'developer' }],
      },
    ],
  });
  expect(people('gitlab:\n  users:\n  groups: []\n')).toEqual({ users: [], groups: [] });
});

test.each([
  ['no address', 'users:\n    - username: ann', 'line 3: gitlab.users[0] has no email'],
  [
    'none that is one',
    'users:\n    - username: ann\n      email: ann',
    'line 4: gitlab.users[0].email must be an address',
  ],
  [
    'a password',
    'users:\n    - username: ann\n      password: secret',
    'line 4: unknown key "gitlab.users[0].password": no password',
  ],
  [
    'an unknown key',
    'groups:\n    - path: lab\n      owner: ann',
    'line 4: unknown key "gitlab.groups[0].owner"; known are path',
  ],
  [
    'a level of nobody',
    'groups:\n    - path: lab\n      members: { ann: boss }',
    'gitlab.groups[0].members.ann must be one of guest, planner',
  ],
  ['a bad name', 'users:\n    - { username: "ann x", email: a@b.org }', 'gitlab.users[0].username must be letters'],
  ['a bad path', 'groups:\n    - path: /lab', 'gitlab.groups[0].path must be words with /'],
  [
    'a name twice',
    'users:\n    - { username: ann, email: a@b.org }\n    - { username: Ann, email: b@b.org }',
    'line 4: gitlab.users[1].username is that of gitlab.users[0]',
  ],
  ['no list', 'users: ann', 'line 2: gitlab.users must be a list'],
  ['an item that is a word', 'groups:\n    - lab', 'line 3: gitlab.groups[0] must have lines'],
  [
    'no truth',
    'users:\n    - { username: ann, email: a@b.org, admin: perhaps }',
    'gitlab.users[0].admin must be true or false',
  ],
])('%s is an error with its line and key', (_, text, words) => {
  expect(() => people(`gitlab:\n  ${text}\n`)).toThrow(words);
});

test('the list of a file is read again when it changes, and is empty where there is no file', async () => {
  rmSync(file, { force: true });
  const now = peopleOfFile(file);
  expect(await now()).toEqual({ users: [], groups: [] });
  people(list);
  expect((await now()).users).toHaveLength(2);
  writeFileSync(file, 'gitlab:\n  users:\n    - username: ann\n');
  await expect(now()).rejects.toThrow('gitlab.users[0] has no email');
});
