import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { trackedNames } from '../../node/runs/git-index.ts';
import { plainText, RunLab } from './run-lab.ts';

const folder = mkdtempSync(join(tmpdir(), 'autogit-index-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('an index of git', () => {
  const names = ['a', 'a-long-name/of/folders/and a space', 'dir/b', 'dir/bb', 'lat\xe9n', 'x'.repeat(300), 'zz'];
  const made = (version: string, format: 'sha1' | 'sha256'): Buffer => {
    const tree = join(folder, `${version}-${format}`);
    mkdirSync(tree);
    const git = (...args: string[]) => execFileSync('git', args, { cwd: tree, encoding: 'latin1' });
    git('init', '-q', `--object-format=${format}`);
    const at = (name: string): Buffer => Buffer.from(`${tree}/${name}`, 'latin1');
    for (const name of names.filter((one) => one.length < 250)) {
      mkdirSync(join(tree, name, '..'), { recursive: true });
      writeFileSync(at(name), name);
    }
    git('-c', `index.version=${version}`, 'add', '.');
    const blob = git('hash-object', '-w', 'a').trim();
    git('update-index', '--add', '--cacheinfo', `100644,${blob},${'x'.repeat(300)}`);
    git('update-index', '--add', '--cacheinfo', `160000,${blob},libs/sub`);
    if (version !== '2') writeFileSync(join(tree, 'later'), '');
    if (version !== '2') git('add', '--intent-to-add', 'later');
    if (version === '4') git('update-index', '--index-version', '4');
    return readFileSync(join(tree, '.git', 'index'));
  };

  it.each([
    ['2', 'sha1'],
    ['3', 'sha1'],
    ['4', 'sha1'],
    ['2', 'sha256'],
    ['4', 'sha256'],
  ] as const)('of version %s, %s, says what it tracks', (version, format) => {
    const index = made(version, format);
    expect(index.readUInt32BE(4)).toBe(Number(version));
    const found = trackedNames(index, format === 'sha1' ? 20 : 32);
    const all = [...names, 'libs/sub', ...(version === '2' ? [] : ['later'])];
    expect([...found.names].sort()).toEqual(all.sort());
    expect([...found.links]).toEqual(['libs/sub']);
    // Cut off or changed anywhere it is an error or a list, never anything else.
    for (let cut = 0; cut < index.length; cut += 7)
      try {
        trackedNames(index.subarray(0, cut), 20);
        const odd = Buffer.from(index);
        odd.fill(0xff, cut, Math.min(cut + 3, odd.length));
        trackedNames(odd, 20);
      } catch (error) {
        expect((error as Error).message).toMatch(/cut off|no index|version/);
      }
  });
});

it('artifacts:untracked are what git does not track when the script has ended', async () => {
  const lab = await RunLab.start({
    '.gitlab-ci.yml': `
stages: [a, b]
build:
  stage: a
  script:
    - mkdir -p out/deep src empty; echo 1 > out/deep/x; echo 2 > src/new.o; echo 3 > ignored.tmp; echo 4 > no.log; echo 5 >> src/tracked; echo 6 > added; git add added
  artifacts: { untracked: true, exclude: ["*.log"], paths: [src/tracked] }
bare:
  stage: a
  variables: { GIT_STRATEGY: none }
  script: ["echo 1 > file"]
  artifacts: { untracked: true }
use:
  stage: b
  variables: { GIT_STRATEGY: none }
  script: ["find . -type f | sort; cat src/tracked"]
`,
    'src/tracked': 'tracked\n',
    '.gitignore': '*.tmp\n',
  });
  try {
    await lab.agent();
    const next = async (): Promise<string> => {
      const ended = await lab.ended(await lab.begin());
      const text = plainText(await lab.traceAt(ended));
      expect(ended.result, text).toMatchObject({ state: 'success' });
      return text;
    };
    expect(await next()).toContain('untracked: found 4 files\n');
    expect(await next()).toContain(
      'WARNING: untracked: nothing is known of what git tracks: the tree has no .git/index',
    );
    expect(await next()).toMatch(
      /\n\.\/ignored\.tmp\n\.\/out\/deep\/x\n\.\/src\/new\.o\n\.\/src\/tracked\ntracked\n5\n/,
    );
  } finally {
    await lab.stop();
  }
});
