import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { BorrowedRepository } from '../../node/hosting/vault/borrowed-repository.ts';
import { compareData } from '../../node/hosting/vault/compare-data.ts';
import { compareWith, pageOf } from '../../node/hosting/vault/gitlab-compare.ts';
import { storedNames, storedPath } from '../../node/hosting/vault/stored-names.ts';
import { refsOf, repositoriesIn } from '../../node/hosting/vault/tree-refs.ts';
import { Comparison } from '../../protocol/differences.ts';

/** Real repositories of git, as GitLab stores them; then is a copy of now. */
const { signal } = new AbortController();
let folder: string;
const side = (name: string) => ({ live: join(folder, name, 'live'), bulk: join(folder, name, 'bulk') });
const at = (name: string, stored: string): string => join(side(name).live, 'data/git-data/repositories', stored);
const env = {
  ...{ PATH: process.env.PATH, HOME: '/nonexistent', GIT_CONFIG_NOSYSTEM: '1', GIT_CONFIG_GLOBAL: '/dev/null' },
  ...{ GIT_AUTHOR_NAME: 't', GIT_AUTHOR_EMAIL: 't@t', GIT_COMMITTER_NAME: 't', GIT_COMMITTER_EMAIL: 't@t' },
};
const git = (repository: string, ...args: string[]): string =>
  execFileSync('git', args, { cwd: repository, env, encoding: 'utf8' }).trim();
const commit = (repository: string, words: string, parent?: string): string =>
  git(
    repository,
    'commit-tree',
    git(repository, 'mktree', '--missing'),
    '-m',
    words,
    ...(parent ? ['-p', parent] : []),
  );

function repository(id: string, form = 'sha1'): string {
  const path = at('now', id);
  mkdirSync(path, { recursive: true });
  execFileSync('git', ['init', '-q', '--bare', '-b', 'main', `--object-format=${form}`, path], { env });
  return path;
}
const becomesThen = (): void => cpSync(join(folder, 'now'), join(folder, 'then'), { recursive: true });
const compare = (ids: { id: number; path: string }[] | null = []) =>
  compareData(side('then'), side('now'), { nameOf: storedNames(ids), signal });

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 't-compare-'));
  for (const path of [at('now', ''), side('now').bulk]) mkdirSync(path, { recursive: true });
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

it('refs are read as git reads them: loose ones over packed ones, annotated tags as themselves', async () => {
  const path = repository(storedPath(1));
  const first = commit(path, 'first');
  for (const ref of ['heads/main', 'heads/group/deep', 'tags/light', 'merge-requests/1/head'])
    git(path, 'update-ref', `refs/${ref}`, first);
  git(path, 'tag', '-a', 'v1', '-m', 'one', first);
  git(path, 'pack-refs', '--all');
  git(path, 'update-ref', 'refs/heads/main', commit(path, 'second', first));
  // What somebody who is root in the container may leave there.
  writeFileSync(join(path, 'refs/heads/broken'), 'no id');
  symlinkSync('/etc/passwd', join(path, 'refs/heads/link'));
  writeFileSync(join(path, 'refs/heads/main.lock'), first);
  const refs = await refsOf(path, signal);
  rmSync(join(path, 'refs/heads/broken'));
  rmSync(join(path, 'refs/heads/link'));
  const said = git(path, 'for-each-ref', '--format=%(refname) %(objectname)').split('\n');
  expect([...refs!].map(([ref, id]) => `${ref} ${id}`).sort()).toEqual(said.sort());
  mkdirSync(join(path, 'reftable'));
  expect(await refsOf(path, signal)).toBeNull();
});

it('names what changed since then, with how many commits came and went, by the project', async () => {
  const path = repository(storedPath(1));
  const first = commit(path, 'first');
  const second = commit(path, 'second', first);
  for (const ref of ['heads/main', 'heads/old', 'tags/v1', 'keep-around/1'])
    git(path, 'update-ref', `refs/${ref}`, first);
  git(path, 'update-ref', 'refs/heads/rewritten', second);
  repository(storedPath(2));
  repository(storedPath(3).replace('.git', '.wiki.git'));
  repository('@pools/ab/cd/pool.git');
  becomesThen();
  const third = commit(path, 'third', second);
  git(path, 'update-ref', 'refs/heads/main', third);
  git(path, 'update-ref', 'refs/heads/new', third);
  git(path, 'update-ref', '-d', 'refs/heads/old');
  const other = commit(path, 'other', first);
  git(path, 'update-ref', 'refs/heads/rewritten', other);
  git(path, 'update-ref', 'refs/keep-around/2', first);
  rmSync(at('now', storedPath(2)), { recursive: true });
  repository(storedPath(4));
  mkdirSync(join(side('now').bulk, 'artifacts/a'), { recursive: true });
  for (const file of ['artifacts/a/1', 'artifacts/a/2']) writeFileSync(join(side('now').bulk, file), '');
  mkdirSync(join(side('then').bulk, 'packages/b'), { recursive: true });
  writeFileSync(join(side('then').bulk, 'packages/b/1'), '');
  const { rows, files, notes } = await compare([
    { id: 1, path: 'home/blog' },
    { id: 3, path: 'home/notes' },
    { id: 4, path: 'home/fresh' },
  ]);
  const told = rows.map(({ repository: of, what, ref, then, now, added, lost }) => [
    of,
    what,
    ref,
    then,
    now,
    added,
    lost,
  ]);
  expect(told.sort()).toEqual([
    ['home/blog', 'others', null, null, null, 1, null],
    ['home/blog', 'ref', 'refs/heads/main', first, third, 2, 0],
    ['home/blog', 'ref', 'refs/heads/new', null, third, null, null],
    ['home/blog', 'ref', 'refs/heads/old', first, null, null, null],
    ['home/blog', 'ref', 'refs/heads/rewritten', second, other, 1, 1],
    ['home/fresh', 'new', null, null, null, null, null],
    ['project 2, which is gone', 'gone', null, null, null, null, null],
  ]);
  expect(files).toEqual([
    { kind: 'artifacts', then: 0, now: 2 },
    { kind: 'packages', then: 1, now: 0 },
  ]);
  expect(notes).toEqual([]);
  const unnamed = await compare(null);
  expect(unnamed.rows[0]?.repository).toMatch(/^@hashed\/.*\.git$/);
});

it('what was found by the time that is over is told, with how many were not looked at; whoever stops it hears nothing', async () => {
  for (const id of [1, 2, 3]) {
    const path = repository(storedPath(id));
    git(path, 'update-ref', 'refs/heads/main', commit(path, 'first'));
  }
  becomesThen();
  for (const id of [1, 2, 3]) git(at('now', storedPath(id)), 'update-ref', '-d', 'refs/heads/main');
  const cutAfter = (looked: number, reason?: DOMException) => {
    const cut = new AbortController();
    let seen = 0;
    const nameOf = (stored: string): string => {
      if (++seen > looked) cut.abort(reason);
      return stored;
    };
    return compareData(side('then'), side('now'), { nameOf, signal: cut.signal });
  };
  const late = new DOMException('it took too long', 'TimeoutError');
  const { rows, notes } = await cutAfter(2, late);
  expect([rows.length, notes[0]]).toEqual([2, 'time ran out: 2 repositories were compared, and 1 not']);
  await expect(cutAfter(2)).rejects.toThrow('aborted');
  const what = { tree: folder, now: side('now'), id: 'fenced-1', wallMs: 0 };
  mkdirSync(join(folder, 'fenced-1'));
  cpSync(side('then').live, join(folder, 'fenced-1/live'), { recursive: true });
  mkdirSync(join(folder, 'fenced-1/bulk'));
  const sources = { projects: async () => [], backup: () => Promise.reject(late) };
  await expect(compareWith({ ...what, ...sources, signal: AbortSignal.abort(late) })).rejects.toMatchObject({
    message: expect.stringContaining('fenced-1 could not be compared in time'),
  });
});

it('counts in a history by SHA-256 and through a pool that forks share', async () => {
  const pool = repository('@pools/ab/cd/pool.git', 'sha256');
  const first = commit(pool, 'first');
  const path = repository(storedPath(7), 'sha256');
  writeFileSync(join(path, 'objects/info/alternates'), '../../../../../@pools/ab/cd/pool.git/objects\n');
  git(path, 'update-ref', 'refs/heads/main', first);
  becomesThen();
  const second = commit(path, 'second', first);
  git(path, 'update-ref', 'refs/heads/main', second);
  const { rows } = await compare([{ id: 7, path: 'home/long' }]);
  expect(rows).toMatchObject([{ repository: 'home/long', then: first, now: second, added: 1, lost: 0 }]);
  expect(await repositoriesIn(at('now', ''), signal)).toEqual([storedPath(7)]);
});

it('a name of a ref that is longer than an answer takes is cut in it, and tells all else', async () => {
  const path = repository(storedPath(1));
  const first = commit(path, 'first');
  const long = `refs/heads/${`${'x'.repeat(200)}/`.repeat(8)}end`;
  git(path, 'update-ref', long, first);
  becomesThen();
  git(path, 'update-ref', long, commit(path, 'second', first));
  mkdirSync(join(side('now').bulk, 'k'.repeat(200)));
  writeFileSync(join(side('now').bulk, 'k'.repeat(200), 'file'), '');
  const { rows, files } = await compare();
  expect(rows).toMatchObject([{ what: 'ref', ref: expect.stringMatching(/^refs.*…$/), added: 1 }]);
  const answer = pageOf({ at: 0, passedMs: 0, total: rows.length, notes: [], rows, files }, 0);
  expect(Comparison.safeParse(answer).error).toBe(undefined);
});

it.each([
  [
    'by a file that names its objects',
    (path: string, secret: string) => writeFileSync(join(path, 'objects/info/alternates'), `${secret}/objects\n`),
  ],
  [
    'by a link in the place of a folder of objects',
    (path: string, secret: string, id: string) => {
      rmSync(join(path, 'objects', id.slice(0, 2)), { recursive: true, force: true });
      symlinkSync(join(secret, 'objects', id.slice(0, 2)), join(path, 'objects', id.slice(0, 2)));
    },
  ],
  [
    'by a link in the place of all its objects',
    (path: string, secret: string) => {
      rmSync(join(path, 'objects'), { recursive: true });
      symlinkSync(join(secret, 'objects'), join(path, 'objects'));
    },
  ],
  [
    'by what a pool names',
    (path: string, secret: string) => {
      const pool = at('now', `@pools/ab/cd/${'a'.repeat(64)}.git/objects`);
      mkdirSync(join(pool, 'info'), { recursive: true });
      writeFileSync(join(pool, 'info/alternates'), `${secret}/objects\n`);
      writeFileSync(join(path, 'objects/info/alternates'), `${pool.replace(/.*@pools/, '../../../../../@pools')}\n`);
    },
  ],
])('a repository of this machine that is not among the data is read by nobody, %s', async (_how, lead) => {
  const secret = join(folder, 'secret.git');
  execFileSync('git', ['init', '-q', '--bare', '-b', 'main', secret], { env });
  const id = commit(secret, 'of this machine');
  const path = repository(storedPath(1));
  lead(path, secret, id);
  // git itself, in the repository, reads it.
  expect(git(path, '-c', 'safe.directory=*', 'cat-file', '-t', id)).toBe('commit');
  const read = BorrowedRepository.of([path], id, signal).then(async (borrowed) => {
    try {
      return await borrowed.git(['cat-file', '-t', id], { signal, timeoutMs: 5000 });
    } finally {
      await borrowed.drop();
    }
  });
  await expect(read).rejects.toThrow(/is a link, or leads to what is not among GitLab's data/);
});

it('links in the place of folders of the data are not followed', async () => {
  repository(storedPath(1));
  becomesThen();
  mkdirSync(join(folder, 'else/one'), { recursive: true });
  writeFileSync(join(folder, 'else/one/file'), '');
  symlinkSync(join(folder, 'else'), join(side('now').bulk, 'artifacts'));
  expect((await compare()).files).toEqual([]);
  cpSync(at('now', ''), join(folder, 'repositories'), { recursive: true });
  rmSync(at('now', ''), { recursive: true });
  symlinkSync(join(folder, 'repositories'), at('now', '').replace(/\/$/, ''));
  await expect(compare()).rejects.toThrow(/is not followed/);
});
