import { expect, it } from 'vitest';
import { filesLines, headline, words } from '../../node/cli/gitlab-diff.ts';
import { pageOf } from '../../node/hosting/vault/gitlab-compare.ts';
import { packedRefs, refChanges } from '../../node/hosting/vault/ref-maps.ts';
import { storedNames, storedPath } from '../../node/hosting/vault/stored-names.ts';
import { Comparison, type Difference } from '../../protocol/differences.ts';

const id = (digit: string): string => digit.repeat(40);
const row = (more: Partial<Difference> = {}): Difference => ({
  ...{ repository: 'home/blog', what: 'ref', ref: 'refs/heads/main', then: id('a'), now: id('b'), added: 2, lost: 0 },
  ...more,
});

it('the file of packed refs is read; what is no ref in it is none', () => {
  const text = `# pack-refs with: peeled \n${id('a')} refs/heads/main\n${id('b')} refs/tags/v1\n^${id('c')}\nzz refs/heads/x\n${id('d')} HEAD\n`;
  expect([...packedRefs(text)]).toEqual([
    ['refs/heads/main', id('a')],
    ['refs/tags/v1', id('b')],
  ]);
  expect(packedRefs('').size).toBe(0);
});

it('what people pushed is told ref by ref, the rest is counted', () => {
  const then = new Map([
    ['refs/heads/a', id('1')],
    ['refs/heads/b', id('1')],
    ['refs/pipelines/1', id('1')],
  ]);
  const now = new Map([
    ['refs/heads/a', id('2')],
    ['refs/heads/b', id('1')],
    ['refs/tags/c', id('3')],
  ]);
  expect(refChanges(then, now)).toEqual({
    changes: [
      { ref: 'refs/heads/a', then: id('1'), now: id('2') },
      { ref: 'refs/tags/c', then: null, now: id('3') },
    ],
    others: 1,
  });
});

it('a stored repository has its project for a name, also one that is gone, a wiki, or none', () => {
  // By `printf 1 | sha256sum`.
  expect(storedPath(1)).toBe('@hashed/6b/86/6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b.git');
  const nameOf = storedNames([
    { id: 1, path: 'home/blog' },
    { id: 900_000, path: 'home/late' },
  ]);
  expect(nameOf(storedPath(1))).toBe('home/blog');
  expect(nameOf(storedPath(2))).toBe('project 2, which is gone');
  expect(nameOf(storedPath(900_000))).toBe('home/late');
  expect(nameOf(storedPath(1).replace('.git', '.wiki.git'))).toBe('home/blog (wiki)');
  expect(nameOf('@snippets/ab/x.git')).toBe('@snippets/ab/x.git');
  expect(storedNames(null)(storedPath(1))).toBe(storedPath(1));
});

it.each([
  [row(), '2 commits since'],
  [row({ added: 0, lost: 1 }), '1 commit back'],
  [row({ added: 1, lost: 3 }), '1 commit since, 3 commits of then are gone'],
  [row({ added: null, lost: null }), 'another commit'],
  [row({ then: null }), 'new since'],
  [row({ now: null }), 'deleted since'],
  [row({ what: 'gone' }), 'there then, not now'],
  [row({ what: 'new' }), 'not there then'],
  [row({ what: 'others', added: 4 }), "4 of GitLab's own refs (merge requests, pipelines) differ"],
])('a difference in words', (one, said) => {
  expect(words(one)).toBe(said);
});

it('the first line says since when, and that nothing of the database is compared', () => {
  const of = { at: Date.parse('2026-11-29T12:00:00Z'), passedMs: 7_200_000, total: 3, files: [] };
  expect(headline('round-0-1-7', of)).toBe(
    'between round-0-1-7, of 2026-11-29 12:00:00 UTC, 2 h ago, and now: 3 differences of repositories; rows of the database are not compared',
  );
  expect(headline('replaced-1', { ...of, at: 0, total: 0 })).toContain('are as in replaced-1');
  expect(headline('round-0-1-7', { ...of, total: 1 })).toContain('and now: 1 difference of repositories;');
  // Of a backup refs are not read: what was pushed since is no difference that it could tell.
  expect(headline('7f0e2902', { ...of, total: 0 })).toMatch(
    /^repositories and files are those of 7f0e2902.*by their names$/,
  );
  expect(filesLines({ files: [{ kind: 'artifacts', then: 1, now: 2 }] })).toEqual([
    'files of artifacts: 1 only then, 2 only now',
  ]);
});

it('a page holds what one answer does, and each row is on one page', () => {
  const rows = Array.from({ length: 2500 }, (_, index) => row({ repository: `home/${'x'.repeat(200)}-${index}` }));
  const whole = { at: 1, passedMs: 1, rows, files: [], total: rows.length, notes: [] };
  const seen: string[] = [];
  for (let from = 0; from < rows.length; ) {
    const page = Comparison.parse(pageOf(whole, from));
    expect(JSON.stringify(page).length).toBeLessThan(60_000);
    expect(page.rows.length).toBeGreaterThan(0);
    seen.push(...page.rows.map(({ repository }) => repository));
    from += page.rows.length;
  }
  expect(seen).toEqual(rows.map(({ repository }) => repository));
});
