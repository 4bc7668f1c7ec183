import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { PassThrough } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { deviceOf, usedBy } from '../../node/disk-use.ts';
import { usualTreeLimits } from '../../node/executors/kept-trees.ts';
import { ownerBelow, ProcessBuilds } from '../../node/executors/process-builds.ts';
import { ProcessExecutor } from '../../node/executors/process-executor.ts';
import { ProcessTree } from '../../node/executors/process-tree.ts';
import { straysBelow } from '../../node/executors/run-processes.ts';
import { removeTree } from '../../node/executors/tree-removal.ts';
import type { KeptTree } from '../../node/ports.ts';
import { SourcesFailure } from '../../node/runs/git-command.ts';
import { updateInPlace } from '../../node/runs/tree-in-place.ts';
import { keptTree, never, specOf, step, textOf } from '../contract/executor-steps.ts';

/** The places of runs, as the process executor keeps them; what jobs find in their trees is in run-trees.test.ts. */
let home: string;
beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'autogit-places-'));
});
afterEach(async () => {
  // What a test left running outlives it.
  await newExecutor().sweep(new Set());
  rmSync(home, { recursive: true, force: true });
});
const newExecutor = (): ProcessExecutor => new ProcessExecutor({ home, cgroups: false });
const prepared = (executor: ProcessExecutor, run: string) =>
  executor.prepare(specOf(run, null, { tree: keptTree() }), never);

it('a place that is removed once more takes nothing from the run that has its tree by then', async () => {
  const executor = newExecutor();
  const first = await prepared(executor, 'tree-1');
  writeFileSync(join(first.projectDir, 'left'), 'of the first');
  await first.remove();
  const second = await prepared(executor, 'tree-2');
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
  it('is the next run’s alone: what is left to do for one of before ends nothing of it', async () => {
    const executor = newExecutor();
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
    const next = newExecutor();
    expect(await next.sweep(new Set(['tree-2']))).toEqual(['tree-1']);
    expect(existsSync(second.projectDir)).toBe(true);
    const end = second.ended(0);
    expect(await Promise.race([end, sleep(500, 'it goes on')])).toBe('it goes on');
    await second.remove();
    await seen.return?.(undefined);
  });

  it('is left by what git does in it for a run, also where its agent was killed meanwhile', async () => {
    const first = await prepared(newExecutor(), 'tree-1');
    const git = await first.tree?.run('echo begun; sleep 60', [], { HOME: '/nonexistent' }, never);
    await once(git?.output as NodeJS.ReadableStream, 'data');
    const ended = git?.ended.then(({ code }) => code);
    const found = await newExecutor().adopt(specOf('tree-1', null, { tree: keptTree() }), first.handle);
    await found?.remove();
    expect(await Promise.race([ended, sleep(5000, 'it goes on')])).toBe(128);
  });

  it('holds the disk for no run that could not be prepared, and none after it', async () => {
    const executor = newExecutor();
    const first = await prepared(executor, 'tree-1');
    writeFileSync(join(first.projectDir, 'left'), 'of the first');
    await first.remove();
    const place = dirname(dirname(first.projectDir));
    // A name that no file system takes stands for a disk that takes none.
    const variables = [{ key: 'N'.repeat(300), value: 'x', file: true }];
    await expect(executor.prepare(specOf('tree-2', null, { tree: keptTree(), variables }), never)).rejects.toThrow(
      /ENAMETOOLONG/,
    );
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
    const workDir = join(home, 'work');
    mkdirSync(workDir, { recursive: true });
    let isStuck = true;
    const said: string[] = [];
    const builds = new ProcessBuilds({
      ...{ workDir, home, limits: usualTreeLimits, wallMs: Date.now },
      log: { info: (sentence) => said.push(sentence) },
      remove: async (path) => {
        if (isStuck && existsSync(join(path, 'of-root'))) throw new Error('EACCES: permission denied');
        await removeTree(path);
      },
    });
    const first = await builds.take({ ...keptTree(), isKept: false }, 'run-1', null, never);
    mkdirSync(join(first?.folder ?? '', 'of-root'));
    await builds.give('run-1', first as NonNullable<typeof first>, join(first?.folder ?? '', 'p'), null);
    const second = await builds.take({ ...keptTree(), isKept: false }, 'run-2', null, never);
    expect(readdirSync(second?.folder ?? '')).toEqual([]);
    expect(said).toHaveLength(1);
    expect(said[0]).toMatch(/cannot be removed \(EACCES.*\): sudo rm -r .*left-\d+$/);
    const place = dirname(second?.folder ?? '');
    expect(readdirSync(place)).toHaveLength(3);
    isStuck = false;
    await builds.sweep((slug) => slug === 'run-2');
    expect(readdirSync(place).sort()).toEqual(['builds', 'run']);
  });

  it('is removed by no sweep that is under way when a run takes it, nor by one that comes then', async () => {
    const workDir = join(home, 'work');
    const place = join(workDir, '.builds', keptTree().key);
    mkdirSync(join(place, 'builds'), { recursive: true });
    let go = (): void => undefined;
    const waits = new Promise<void>((resolve) => {
      go = resolve;
    });
    const builds = new ProcessBuilds({
      ...{ workDir, home, limits: usualTreeLimits, wallMs: Date.now, log: { info: () => undefined } },
      remove: async (path) => {
        await waits;
        await removeTree(path);
      },
    });
    const sweeping = builds.sweep(() => false);
    const taking = builds.take(keptTree(), 'run-1', null, never);
    go();
    const taken = await taking;
    await sweeping;
    expect(existsSync(taken?.folder ?? '')).toBe(true);
    await builds.sweep(() => false);
    expect(readdirSync(place).sort()).toEqual(['builds', 'run']);
  });

  it('has an empty tree for a job where one of before has what another user owns', async () => {
    const place = await prepared(newExecutor(), 'tree-1');
    writeFileSync(join(place.projectDir, 'of-root'), '');
    const bin = join(home, 'bin');
    mkdirSync(bin);
    // What rm says of a folder that a container's root has made.
    writeFileSync(join(bin, 'rm'), '#!/bin/sh\nexit 1\n', { mode: 0o755 });
    const { PATH } = process.env;
    const stuck = new ProcessTree(
      { taken: { key: 'k', folder: '', project: 'p', isKept: true }, isLeft: true },
      {
        folder: place.handle,
        tmp: home,
        projectDir: place.projectDir,
        user: null,
        path: `${bin}:${PATH}`,
        cgroup: null,
        limits: [],
      },
    );
    await stuck.empty();
    expect(readdirSync(place.projectDir)).toEqual([]);
    // A control group that cannot be opened (a folder is where its file should be) leaves none of those before it open.
    const [group, odd] = ['group', 'odd'].map((name) => join(home, name)) as [string, string];
    mkdirSync(join(odd, 'cgroup.procs'), { recursive: true });
    mkdirSync(group);
    writeFileSync(join(group, 'cgroup.procs'), '');
    const unopened = new ProcessTree(
      { taken: { key: 'k', folder: '', project: 'p', isKept: true }, isLeft: true },
      {
        ...{ folder: place.handle, tmp: home, projectDir: place.projectDir, user: null, path: PATH },
        ...{ cgroup: group, limits: [odd] },
      },
    );
    await expect(unopened.run('true', [], {}, new AbortController().signal)).rejects.toThrow('EISDIR');
    const open = readdirSync('/proc/self/fd').map((fd) => {
      try {
        return readlinkSync(`/proc/self/fd/${fd}`);
      } catch {
        return '';
      }
    });
    expect(open).not.toContain(join(group, 'cgroup.procs'));
    await place.remove();
  });
});

it('what a run that is over left in a folder that stays is found, and nothing of a run that goes on', async () => {
  const executor = newExecutor();
  const place = await prepared(executor, 'tree-1');
  const builds = place.buildsDir ?? '';
  const left = spawn('sleep', ['60'], {
    ...{ env: { ...process.env, CI_BUILDS_DIR: builds }, stdio: 'ignore', detached: true },
  });
  const pids = () =>
    straysBelow(join(home, 'work'), (path) => ownerBelow(join(home, 'work'), path) === 'tree-1').map(({ pid }) => pid);
  try {
    await once(left, 'spawn');
    expect(pids()).toEqual([]);
    // Its tree was given back; who says that it is the folder's is nobody's any more.
    rmSync(join(dirname(builds), 'run'));
    await expect.poll(pids).toEqual([left.pid]);
  } finally {
    left.kill('SIGKILL');
    await place.remove();
  }
});

it('git has a limit of its own in a tree: beyond it a new one is made, as where it fails', async () => {
  const forever: KeptTree = {
    isLeft: true,
    run: async (_script, _args, _environment, signal) => {
      const ended = new Promise<{ code: number; said: string }>((resolve) =>
        signal.addEventListener('abort', () => resolve({ code: 137, said: '' })),
      );
      return { input: new PassThrough(), output: new PassThrough(), ended };
    },
    empty: async () => undefined,
    forget: async () => undefined,
  };
  const spec = { gitlabUrl: '', repoUrl: '', token: '', sha: 'a'.repeat(40), ref: 'main', refspecs: [], depth: 0 };
  const how = { mirror: home, address: 'http://g/p.git', spec: { ...spec, treeLimitMs: 100 }, cleanFlags: null };
  const limited = updateInPlace(forever, how, never);
  await expect(limited).rejects.toThrow(SourcesFailure);
  await expect(limited).rejects.toThrow('git took longer than 0 s in it');
});

it('what removes a tree knows nothing of the agent’s environment', async () => {
  chmodSync(home, 0o755);
  const [bin, seen, tree] = [join(home, 'bin'), join(home, 'seen'), join(home, 'tree')];
  mkdirSync(bin);
  writeFileSync(join(bin, 'chmod'), `#!/bin/sh\nenv >>${seen}\nexec /bin/chmod "$@"\n`, { mode: 0o755 });
  writeFileSync(seen, '');
  chmodSync(seen, 0o666);
  mkdirSync(join(tree, 'shut'), { recursive: true });
  writeFileSync(join(tree, 'shut', 'file'), '');
  // Root removes as its owner what a job's user left; others open what is shut.
  if (process.getuid?.() === 0) for (const path of [join(tree, 'shut'), tree]) chownSync(path, 65534, 65534);
  chmodSync(join(tree, 'shut'), 0);
  vi.stubEnv('PATH', `${bin}:${process.env.PATH}`);
  vi.stubEnv('AGENTS_SECRET', 'known to nobody');
  await removeTree(tree);
  vi.unstubAllEnvs();
  expect(existsSync(tree)).toBe(false);
  expect(readFileSync(seen, 'utf8')).toContain('PATH=');
  expect(readFileSync(seen, 'utf8')).not.toContain('known to nobody');
});

it('a tree that cannot be measured in time is not one without bytes', async () => {
  expect(await usedBy(home, deviceOf(home) ?? 0)).toBeGreaterThan(0);
  // Whatever a du has to walk through that long.
  const bin = join(home, 'bin');
  mkdirSync(bin);
  writeFileSync(join(bin, 'du'), '#!/bin/sh\nexec sleep 60\n', { mode: 0o755 });
  vi.stubEnv('PATH', `${bin}:${process.env.PATH}`);
  expect(await usedBy(home, deviceOf(home) ?? 0, 200)).toBeNull();
  vi.unstubAllEnvs();
});

it('a step that was begun by an agent which was killed at once has no output, and no error', async () => {
  const executor = newExecutor();
  const place = await executor.prepare(specOf('killed-1', null), never);
  writeFileSync(join(place.handle, 'step-0.status'), 'begun 1 0\n');
  expect(await textOf(place, 0)).toBe('');
  expect(await place.ended(0)).toMatchObject({ kind: 'lost' });
  await place.remove();
});
