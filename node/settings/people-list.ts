import { z } from 'zod';
import type { Tree } from './settings-tree.ts';

/** Users and groups that GitLab shall have: `gitlab.users` and `gitlab.groups` of autogit.yml, checked. */
export interface People {
  readonly users: readonly WantedUser[];
  readonly groups: readonly WantedGroup[];
}

interface WantedUser {
  readonly username: string;
  readonly name: string;
  readonly email: string;
  readonly isAdmin: boolean;
}

interface WantedGroup {
  /** `lab`, or `lab/vision` in it. */
  readonly path: string;
  readonly name: string;
  readonly visibility: 'private' | 'internal' | 'public';
  readonly members: readonly { readonly username: string; readonly level: Level }[];
}

export const levels = { guest: 10, planner: 15, reporter: 20, developer: 30, maintainer: 40, owner: 50 } as const;
export type Level = keyof typeof levels;

const most = { users: 200, groups: 100, members: 500 } as const;

/** GitLab's own rules for the two, as far as they can be told without it. */
const username = z
  .string()
  .regex(
    /^(?!.*[-_.]{2})[a-zA-Z0-9_.][a-zA-Z0-9_.-]{0,100}(?<![-_.])$/,
    'letters, digits and single - _ . between them',
  )
  .refine((text) => !/\.(git|atom)$/i.test(text), 'no end in .git or .atom');
const path = z
  .string()
  .max(255)
  .regex(/^[a-zA-Z0-9_][\w.-]*(\/[a-zA-Z0-9_][\w.-]*){0,19}$/, 'words with / between them, as lab or lab/vision');
const text = z.string().min(1).max(255);
const texts = {
  username,
  path,
  name: text,
  email: z.email('an address, as ann@example.org').max(254),
  admin: z.enum(['true', 'false', 'on', 'off', 'yes', 'no'], 'true or false'),
  visibility: z.enum(['private', 'internal', 'public'], 'private, internal or public'),
} as const;
const level = z.enum(Object.keys(levels) as [Level, ...Level[]], Object.keys(levels).join(', '));

/** Throws what is wrong: its line, its key and what was expected. */
type Wrong = (line: number, sentence: string) => Error;

type Fields = Map<string, { line: number; value: Tree }>;

class ListReader {
  readonly #wrong: Wrong;

  constructor(wrong: Wrong) {
    this.#wrong = wrong;
  }

  /** One map an item. */
  items(key: 'users' | 'groups', tree: Tree, known: readonly string[]): { at: string; line: number; fields: Fields }[] {
    if (tree.kind === 'empty') return [];
    const items = tree.kind === 'list' ? tree.items : [];
    if (tree.kind !== 'list') throw this.#wrong(tree.line, `gitlab.${key} must be a list: lines that begin with "- "`);
    if (items.length > most[key]) throw this.#wrong(tree.line, `gitlab.${key} has more than ${most[key]} items`);
    return items.map((item, index) => {
      const at = `gitlab.${key}[${index}]`;
      if (item.kind !== 'map') throw this.#wrong(item.line, `${at} must have lines "key: value": ${known.join(', ')}`);
      for (const { key: word, line } of item.entries)
        if (!known.includes(word))
          throw this.#wrong(
            line,
            `unknown key "${at}.${word}"${word === 'password' ? ': no password stands here; each gets its own by gitlab password --user NAME' : `; known are ${known.join(', ')}`}`,
          );
      return { at, line: item.line, fields: new Map(item.entries.map(({ key: word, ...rest }) => [word, rest])) };
    });
  }

  one<K extends keyof typeof texts>(
    { at, line, fields }: { at: string; line: number; fields: Fields },
    key: K,
  ): z.infer<(typeof texts)[K]> | undefined {
    const found = fields.get(key);
    if (found === undefined || found.value.kind === 'empty') return undefined;
    const read = texts[key].safeParse(found.value.kind === 'scalar' ? found.value.text : null);
    if (!read.success)
      throw this.#wrong(found.line ?? line, `${at}.${key} must be ${read.error.issues[0]?.message ?? 'a text'}`);
    return read.data as z.infer<(typeof texts)[K]>;
  }

  must<K extends keyof typeof texts>(item: { at: string; line: number; fields: Fields }, key: K) {
    const found = this.one(item, key);
    if (found === undefined) throw this.#wrong(item.line, `${item.at} has no ${key}`);
    return found;
  }

  members({ at, fields }: { at: string; fields: Fields }): WantedGroup['members'] {
    const found = fields.get('members');
    if (found === undefined || found.value.kind === 'empty') return [];
    const { value } = found;
    if (value.kind !== 'map' || value.entries.length > most.members)
      throw this.#wrong(found.line, `${at}.members must be at most ${most.members} lines "username: level"`);
    return value.entries.map(({ key, line, value: said }) => {
      if (!username.safeParse(key).success) throw this.#wrong(line, `${at}.members: "${key}" is no user name`);
      const read = level.safeParse(said.kind === 'scalar' ? said.text : null);
      if (!read.success)
        throw this.#wrong(line, `${at}.members.${key} must be one of ${read.error.issues[0]?.message}`);
      return { username: key, level: read.data };
    });
  }

  /** GitLab takes names whatever their case. */
  noneTwice(items: readonly { at: string; line: number; fields: Fields }[], key: 'username' | 'path' | 'email'): void {
    const seen = new Map<string, string>();
    for (const item of items) {
      const name = String(this.one(item, key) ?? '').toLowerCase();
      const before = seen.get(name);
      if (name !== '' && before !== undefined) throw this.#wrong(item.line, `${item.at}.${key} is that of ${before}`);
      seen.set(name, item.at);
    }
  }
}

export function readPeople(trees: { users?: Tree; groups?: Tree }, wrong: Wrong): People {
  const reader = new ListReader(wrong);
  const none: Tree = { kind: 'empty', line: 1 };
  const users = reader.items('users', trees.users ?? none, ['username', 'name', 'email', 'admin']);
  const groups = reader.items('groups', trees.groups ?? none, ['path', 'name', 'visibility', 'members']);
  for (const key of ['username', 'email'] as const) reader.noneTwice(users, key);
  reader.noneTwice(groups, 'path');
  return {
    users: users.map((item) => {
      const name = reader.must(item, 'username');
      const isAdmin = ['true', 'on', 'yes'].includes(reader.one(item, 'admin') ?? 'false');
      return { username: name, name: reader.one(item, 'name') ?? name, email: reader.must(item, 'email'), isAdmin };
    }),
    groups: groups
      .map((item) => {
        const at = reader.must(item, 'path');
        return {
          path: at,
          name: reader.one(item, 'name') ?? (at.split('/').at(-1) as string),
          visibility: reader.one(item, 'visibility') ?? ('private' as const),
          members: reader.members(item),
        };
      })
      // A group before what lies in it.
      .sort((one, other) => one.path.split('/').length - other.path.split('/').length),
  };
}
