import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';
import { usualTreeLimits } from '../../node/executors/kept-trees.ts';
import { ProcessBuilds } from '../../node/executors/process-builds.ts';
import type { ProcessExecutor } from '../../node/executors/process-executor.ts';
import { ProcessTree } from '../../node/executors/process-tree.ts';
import { removeTree } from '../../node/executors/tree-removal.ts';
import { never, specOf, step, textOf } from '../contract/executor-steps.ts';
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

it('a place that is removed once more takes nothing from the run that has its tree by then', async () => {
  lab = await RunLab.start({ '.gitlab-ci.yml': 'a: { script: ["true"] }\n' });
  const executor = lab.executor() as ProcessExecutor;
  const tree = { key: 'k', project: 'p', isKept: true, isFresh: false, isOnlyLeft: false };
  const first = await executor.prepare(specOf('tree-1', null, { tree }), never);
  writeFileSync(join(first.projectDir, 'left'), 'of the first');
  await first.remove();
  const second = await executor.prepare(specOf('tree-2', null, { tree: { ...tree } }), never);
  expect(second.projectDir).toBe(first.projectDir);
  expect(second.tree?.isLeft).toBe(true);
  // Its first try may have failed after the tree was given back: the place of a run is removed until that works.
  await first.tree?.forget();
  await first.remove();
  expect(readFileSync(join(second.projectDir, 'left'), 'utf8')).toBe('of the first');
  await second.remove();
  await executor.giveBack();
  expect(existsSync(first.projectDir)).toBe(false);
});

describe('a place that many runs have in turn', () => {
  const tree = { key: 'k', project: 'p', isKept: true, isFresh: false, isOnlyLeft: false };
  const prepared = (executor: ProcessExecutor, run: string) => executor.prepare(specOf(run, null, { tree }), never);

  it('is the next run’s alone: what is left to do for one of before ends nothing of it', async () => {
    lab = await RunLab.start({ '.gitlab-ci.yml': 'a: { script: ["true"] }\n' });
    const executor = lab.executor() as ProcessExecutor;
    const first = await prepared(executor, 'tree-1');
    const file = readFileSync(join(first.handle, 'run.json'));
    await first.remove();
    const second = await prepared(executor, 'tree-2');
    // By its script's own environment alone.
    await second.start(step('echo begun; exec sleep 60'), 0);
    const seen = second.output(0, 0, never)[Symbol.asyncIterator]();
    expect(String((await seen.next()).value)).toBe('begun\n');
    await first.remove();
    // Of an agent that was killed when the tree was given back, and the run's own folder not yet removed.
    mkdirSync(first.handle);
    writeFileSync(join(first.handle, 'run.json'), file);
    const next = lab.executor() as ProcessExecutor;
    expect(await next.sweep(new Set(['tree-2']))).toEqual(['tree-1']);
    expect(existsSync(second.projectDir)).toBe(true);
    const end = second.ended(0);
    expect(await Promise.race([end, sleep(500, 'it goes on')])).toBe('it goes on');
    await second.remove();
    await seen.return?.(undefined);
  });

  it('is left by what git does in it for a run, also where its agent was killed meanwhile', async () => {
    lab = await RunLab.start({ '.gitlab-ci.yml': 'a: { script: ["true"] }\n' });
    const first = await prepared(lab.executor() as ProcessExecutor, 'tree-1');
    const git = await first.tree?.run('echo begun; sleep 60', [], { HOME: '/nonexistent' }, never);
    await once(git?.output as NodeJS.ReadableStream, 'data');
    const ended = git?.ended.then(({ code }) => code);
    const found = await (lab.executor() as ProcessExecutor).adopt(specOf('tree-1', null, { tree }), first.handle);
    await found?.remove();
    expect(await Promise.race([ended, sleep(5000, 'it goes on')])).toBe(128);
  });

  it('holds the disk for no run that could not be prepared, and none after it', async () => {
    lab = await RunLab.start({ '.gitlab-ci.yml': 'a: { script: ["true"] }\n' });
    const executor = lab.executor() as ProcessExecutor;
    const first = await prepared(executor, 'tree-1');
    writeFileSync(join(first.projectDir, 'left'), 'of the first');
    await first.remove();
    const place = dirname(dirname(first.projectDir));
    // A name that no file system takes stands for a disk that takes none.
    const variables = [{ key: 'N'.repeat(300), value: 'x', file: true }];
    await expect(executor.prepare(specOf('tree-2', null, { tree, variables }), never)).rejects.toThrow(/ENAMETOOLONG/);
    expect(existsSync(join(dirname(first.handle), 'tree-2'))).toBe(false);
    // A full disk takes the file of who has it, and not the name in it.
    writeFileSync(join(place, 'run'), '');
    expect(await executor.giveBack()).toBe(true);
    expect(existsSync(first.projectDir)).toBe(false);
    const begun = performance.now();
    const third = await prepared(executor, 'tree-3');
    expect(third.projectDir).toBe(first.projectDir);
    expect(performance.now() - begun).toBeLessThan(5000);
    await third.remove();
  });

  it('is there for the next job where what one left cannot be removed', async () => {
    lab = await RunLab.start({ '.gitlab-ci.yml': 'a: { script: ["true"] }\n' });
    const workDir = join(lab.home, 'work');
    mkdirSync(workDir, { recursive: true });
    let isStuck = true;
    const said: string[] = [];
    const builds = new ProcessBuilds({
      ...{ workDir, home: lab.home, limits: usualTreeLimits, wallMs: Date.now },
      log: { info: (sentence) => said.push(sentence) },
      remove: async (path) => {
        if (isStuck && existsSync(join(path, 'of-root'))) throw new Error('EACCES: permission denied');
        await removeTree(path);
      },
    });
    const first = await builds.take({ ...tree, isKept: false }, 'run-1', null, never);
    mkdirSync(join(first?.folder ?? '', 'of-root'));
    await builds.give('run-1', first as NonNullable<typeof first>, join(first?.folder ?? '', 'p'), null);
    const second = await builds.take({ ...tree, isKept: false }, 'run-2', null, never);
    expect(readdirSync(second?.folder ?? '')).toEqual([]);
    expect(said).toHaveLength(1);
    expect(said[0]).toMatch(/cannot be removed \(EACCES.*\): sudo rm -r .*left-\d+$/);
    const place = dirname(second?.folder ?? '');
    expect(readdirSync(place)).toHaveLength(3);
    isStuck = false;
    await builds.sweep((slug) => slug === 'run-2');
    expect(readdirSync(place).sort()).toEqual(['builds', 'run']);
  });

  it('has an empty tree for a job where one of before has what another user owns', async () => {
    lab = await RunLab.start({ '.gitlab-ci.yml': 'a: { script: ["true"] }\n' });
    const place = await prepared(lab.executor() as ProcessExecutor, 'tree-1');
    writeFileSync(join(place.projectDir, 'of-root'), '');
    const bin = join(lab.home, 'bin');
    mkdirSync(bin);
    // What rm says of a folder that a container's root has made.
    writeFileSync(join(bin, 'rm'), '#!/bin/sh\nexit 1\n', { mode: 0o755 });
    const { PATH } = process.env;
    const stuck = new ProcessTree(
      { taken: { key: 'k', folder: '', project: 'p', isKept: true }, isLeft: true },
      { folder: place.handle, tmp: lab.home, projectDir: place.projectDir, user: null, path: `${bin}:${PATH}` },
    );
    await stuck.empty();
    expect(readdirSync(place.projectDir)).toEqual([]);
    await place.remove();
  });
});

it('a step that was begun by an agent which was killed at once has no output, and no error', async () => {
  lab = await RunLab.start({ '.gitlab-ci.yml': 'a: { script: ["true"] }\n' });
  const executor = lab.executor() as ProcessExecutor;
  const place = await executor.prepare(specOf('killed-1', null), never);
  writeFileSync(join(place.handle, 'step-0.status'), 'begun 1 0\n');
  expect(await textOf(place, 0)).toBe('');
  expect(await place.ended(0)).toMatchObject({ kind: 'lost' });
  await place.remove();
});
