import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { RunLab } from './run-lab.ts';

let lab: RunLab;
afterEach(() => lab.stop());

async function commit(files: Record<string, string>, ...how: string[]): Promise<string> {
  for (const [name, text] of Object.entries(files)) writeFileSync(join(lab.folder, 'tree', name), text);
  await lab.git('add', '-A');
  await lab.git('commit', '-q', '-m', Object.keys(files).join(' '));
  await lab.git('push', '-q', ...how, lab.address, 'HEAD:main');
  return (await lab.git('rev-parse', 'HEAD')).stdout.trim();
}

const left = 'into the tree that a job before left here';
const pathOf = (trace: string): string => /\$ pwd.*\n(\/\S+)\n/.exec(trace)?.[1] as string;

/** All that git obeys, or stumbles over, in a repository. */
const hostile = `set -e
ran=$CI_PROJECT_DIR/../ran
mkdir -p .git/hooks .git/info .git/objects/info .git/refs/heads
printf '#!/bin/sh\\ntouch %s\\n' "$ran" >.git/hooks/post-checkout
chmod +x .git/hooks/post-checkout
cp .git/hooks/post-checkout .git/hooks/reference-transaction
git config filter.evil.smudge "touch $ran; cat"
git config filter.evil.clean "touch $ran; cat"
git config filter.evil.process "touch $ran"
git config core.fsmonitor "touch $ran"
git config include.path "$CI_PROJECT_DIR/file"
echo '* filter=evil' >.git/info/attributes
echo /nonexistent >.git/objects/info/alternates
mkfifo .gitattributes .git/refs/heads/pipe kept/pipe .git/objects/pack/pack-1.idx
ln -s /etc .git/objects/pack/link
for lock in index shallow HEAD config packed-refs refs/heads/x; do touch .git/$lock.lock; done
ln -s /etc .git/worktrees
ln -sf /dev/null .git/FETCH_HEAD
echo ../elsewhere >.git/commondir
`;

const ci = `
variables: { GIT_CLEAN_FLAGS: "-ffdx -e kept/", GIT_DEPTH: "3" }
one:
  script:
    - 'pwd; cat file; ls; cat kept/* || true; git log --format=%s; git status --short; git config --list --local; ls .git'
    - 'mkdir -p kept; echo "of $CI_JOB_ID" >>kept/note; echo junk >junk; echo changed >file; git rev-parse HEAD'
    - 'git checkout -q -b mine; sh ./hostile'
`;

describe('a tree that a job left', () => {
  it('is brought to the next commit with the files that are asked for, and nothing that a job planted in it runs or stays', async () => {
    const files = { '.gitignore': 'kept/\n', file: 'first\n', gone: 'gone\n', hostile };
    lab = await RunLab.start({ '.gitlab-ci.yml': ci, ...files });
    await lab.agent();
    const first = await lab.traceOfNext();
    expect(first).toContain('into a tree that stays here');
    await lab.git('rm', '-q', 'gone');
    const sha = await commit({ file: 'second\n', more: 'more\n' });
    const second = await lab.traceOfNext();
    expect(second).toContain(left);
    expect(second).toContain('Removing junk\n');
    const seen = second.slice(0, second.indexOf('$ mkdir'));
    const path = pathOf(first);
    // The same path, the new files and what was kept; clean, with its own history.
    expect(seen).toContain(`${path}\nsecond\nfile\nhostile\nkept\nmore\nof `);
    expect(seen).toContain('\nfile more\nfirst\ncore.repositoryformatversion=0\n');
    expect(seen).not.toMatch(/evil|fsmonitor|include/);
    expect(seen).toMatch(/\nHEAD\nconfig\nindex\nlogs\nobjects\nrefs\n$/);
    expect(second).toContain(`${sha}\n`);
    const place = dirname(path);
    expect(existsSync(join(place, 'ran'))).toBe(false);
    // Of the run itself nothing is left beside the tree: neither variables nor a lock of the place.
    await expect.poll(() => readdirSync(place)).toEqual(['sample']);
    await expect.poll(() => readdirSync(dirname(dirname(place)))).toEqual(['builds']);
    expect(readFileSync(join(lab.home, 'trees-process.json'), 'utf8')).toMatch(/"project":"http/);
  });

  it('is used as it is by "none" and with no clean, and is given up where git cannot use it, which is said', async () => {
    const job = (name: string, variables: string, script: string): string =>
      `${name}: { variables: { ${variables} }, script: ['${script}'] }\n`;
    const all = [
      job('a', 'GIT_CLEAN_FLAGS: "none"', 'pwd; echo a >untracked; echo b >file'),
      job('b', 'GIT_STRATEGY: "none"', 'pwd; cat untracked file'),
      job('c', 'GIT_CLEAN_FLAGS: "none"', 'cat untracked file; rm .git/HEAD; ln -s / .git/HEAD'),
      job('d', 'GIT_CLEAN_FLAGS: "none"', 'ls; cat file; printf x >.git/shallow; chmod 555 .'),
      job('e', 'GIT_CLEAN_FLAGS: "none"', 'ls; cat file; echo e >untracked'),
      job('f', 'GIT_CLEAN_FLAGS: "--no-such"', 'true'),
      job('g', 'GIT_STRATEGY: "clone", GIT_CLEAN_FLAGS: "none"', 'ls; cat file'),
      job('h', 'GIT_STRATEGY: "empty"', 'pwd; ls'),
    ];
    lab = await RunLab.start({ '.gitlab-ci.yml': all.join(''), file: 'of git\n' });
    await lab.agent();
    const a = await lab.traceOfNext();
    const b = await lab.traceOfNext();
    expect(b).toContain('Skipping Git repository setup: the tree is as the job before it left it here\n');
    expect(b).toContain(`${pathOf(a)}\na\nb\n`);
    expect(await lab.traceOfNext()).toContain('a\nof git\n');
    // HEAD was a link: the repository is made anew in the tree, whose other files stay.
    expect(await lab.traceOfNext()).toContain('file\nuntracked\nof git\n');
    const e = await lab.traceOfNext();
    expect(e).toContain('The tree that was left here cannot be used, a new one is made: ');
    expect(e).toContain('$ ls; cat file; echo e >untracked\nfile\nof git\n');
    const f = await lab.traceOfNext('failed');
    expect(f).toMatch(/Job failed: .*GIT_CLEAN_FLAGS are none that git clean knows: error: unknown option/);
    expect(await lab.traceOfNext()).toContain('$ ls; cat file\nfile\nof git\n');
    expect(await lab.traceOfNext()).toContain(`$ pwd; ls\n${pathOf(a)}\nJob succeeded`);
  });

  it('is made whole from the mirror where its history is damaged or shallow', async () => {
    lab = await RunLab.start({
      '.gitlab-ci.yml': `
variables: { GIT_CLEAN_FLAGS: "none" }
a: { variables: { GIT_DEPTH: "1" }, script: ["git log --format=%s; git branch -r"] }
b: { variables: { GIT_DEPTH: "0" }, script: ["git log --format=%s; git branch -r; git fsck --no-dangling", "find .git/objects -type f -exec rm -f {} +"] }
c: { script: ["git log --format=%s; git fsck --no-dangling"] }
`,
      file: 'one\n',
    });
    await lab.git('push', '-q', '-o', 'ci.skip', lab.address, 'HEAD:refs/heads/other');
    const { jobs } = await lab.admin.readQueue(100);
    for (const { job } of jobs) await lab.admin.cancelJob(lab.projectId, job);
    await commit({ file: 'two\n' });
    await lab.agent();
    expect(await lab.traceOfNext()).toContain('git branch -r\nfile\n  origin/main\nJob');
    const b = await lab.traceOfNext();
    expect(b).toContain(left);
    expect(b).toContain('\nfile\nfirst\n  origin/main\n  origin/other\n');
    const c = await lab.traceOfNext();
    expect(c).toContain('\nfile\nfirst\nJob succeeded');
  });
});

it('GIT_CLONE_PATH is a place below CI_BUILDS_DIR, and no other', async () => {
  const at = (name: string, path: string): string =>
    `${name}: { variables: { GIT_CLONE_PATH: "${path}" }, script: ['pwd; cat file; echo "$CI_PROJECT_DIR in $CI_BUILDS_DIR"'] }\n`;
  const paths = ['$CI_BUILDS_DIR/go/src/$CI_PROJECT_NAME', '$CI_BUILDS_DIR/../x', '/etc/x', 'relative'];
  lab = await RunLab.start({ '.gitlab-ci.yml': paths.map((path, n) => at(`j${n}`, path)).join(''), file: 'here\n' });
  await lab.agent();
  const first = await lab.traceOfNext();
  expect(pathOf(first)).toMatch(/\/builds\/go\/src\/sample$/);
  expect(first).toContain(`here\n${pathOf(first)} in ${pathOf(first).slice(0, -'/go/src/sample'.length)}\n`);
  for (const _ of paths.slice(1))
    expect(await lab.traceOfNext('failed')).toContain('GIT_CLONE_PATH is no path below CI_BUILDS_DIR: ');
});
