import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { ProcessExecutor, userWorkDir } from '../../node/executors/process-executor.ts';
import { marksOf, readRunFile, tmpOf } from '../../node/executors/run-file.ts';
import { processesOf } from '../../node/executors/run-processes.ts';
import type { ExecutorSpec } from '../../node/ports.ts';
import { specOf, step } from '../contract/executor-steps.ts';

const user = 'autogit-test-giver';
const home = mkdtempSync(join(tmpdir(), 'autogit-giver-'));
const workDir = `/var/lib/autogit-node-test-giver-${process.pid}`;
const canary = join(home, 'canary');
const never = new AbortController().signal;

/** What that user does between two steps of the agent: whatever it may, it puts a link to root's own in the place. */
let attack: (path: string) => void = () => undefined;
vi.mock('node:fs/promises', async (original) => {
  const real = await original<typeof import('node:fs/promises')>();
  const watched =
    (give: typeof real.chown): typeof real.chown =>
    async (path, ...ids) => {
      attack(String(path));
      await give(path, ...ids);
    };
  return { ...real, chown: watched(real.chown), lchown: watched(real.lchown) };
});

beforeAll(() => {
  if (spawnSync('id', [user]).status !== 0) execFileSync('useradd', ['--no-create-home', user]);
});
afterAll(() => {
  rmSync(home, { recursive: true, force: true });
  rmSync(workDir, { recursive: true, force: true });
  spawnSync('userdel', [user]);
});

describe('folders that root gives to a job’s user', () => {
  it('are given from within, and never through a link that this user put there', async () => {
    mkdirSync(canary);
    const executor = new ProcessExecutor({ home, workDir, user });
    const owner = Number(execFileSync('id', ['-u', user], { encoding: 'utf8' }));
    let tries = 0;
    attack = (path) => {
      const script = 'mv -T -- "$1" "$1.away" && ln -s "$2" "$1"';
      tries++;
      spawnSync('/bin/sh', ['-c', script, 'sh', path, canary], { uid: owner, gid: owner });
    };
    const variables = [{ key: 'CI_PROJECT_PATH', value: 'group/deeper/app', file: false }];
    const workspace = await executor.prepare(specOf('given-1', null, { variables }), never);
    await workspace.remove();
    attack = () => undefined;
    expect(tries).toBeGreaterThan(5);
    expect(statSync(canary).uid).toBe(0);
  });

  it('are made anew where an agent died before it noted the run', async () => {
    const executor = new ProcessExecutor({ home, workDir, user });
    const workspace = await executor.prepare(specOf('given-2', null), never);
    rmSync(join(workspace.handle, 'run.json'));
    const [victim, tmp] = [join(home, 'victim'), tmpOf(workspace.handle)];
    writeFileSync(victim, 'root’s own', { mode: 0o600 });
    const planted = `${workspace.projectDir}.tmp/FILE`;
    execFileSync('/bin/sh', ['-c', 'ln -s "$1" "$2" && touch "$3/old"', 'sh', victim, planted, tmp]);
    const variables = [{ key: 'FILE', value: 'of the job', file: true }];
    const again = await executor.prepare(specOf('given-2', null, { variables }), never);
    try {
      expect(statSync(victim).uid).toBe(0);
      expect(execFileSync('cat', [victim], { encoding: 'utf8' })).toBe('root’s own');
      expect(existsSync(join(tmp, 'old'))).toBe(false);
    } finally {
      await again.remove();
    }
  });
});

describe('runs of an agent whose --user was another', () => {
  const mine = join(home, 'agent');
  const elsewhere = userWorkDir(mine);
  afterAll(() => rmSync(elsewhere, { recursive: true, force: true }));
  const before = (): ProcessExecutor => new ProcessExecutor({ home: mine });
  const now = (): ProcessExecutor => new ProcessExecutor({ home: mine, user: 'auto' });

  it.each([
    ['root, then auto', before, now],
    ['auto, then root', now, before],
  ])('are found and ended: %s', async (_, first, second) => {
    const [kept, left] = ['found-1', 'left-1'].map((run) => specOf(run, null)) as [ExecutorSpec, ExecutorSpec];
    const handles: string[] = [];
    for (const spec of [kept, left]) {
      const workspace = await first().prepare(spec, never);
      handles.push(workspace.handle);
      await workspace.start(step('sleep 600'), 0);
    }
    const [handle, other] = handles as [string, string];
    const marks = handles.map((one) => marksOf(one, readRunFile(one)));
    const found = await second().adopt(kept, handle);
    expect(found?.handle).toBe(handle);
    expect(await second().sweep(new Set(['found-1']))).toEqual(['left-1']);
    expect(existsSync(other)).toBe(false);
    await found?.remove();
    expect(existsSync(handle)).toBe(false);
    expect(marks.flatMap((mark) => processesOf(mark))).toEqual([]);
  });
});

describe('a run whose file is damaged', () => {
  it.each([user, 'auto'])(
    'is ended where it is looked for, rather than run on beside its own failure: --user %s',
    async (who) => {
      const executor = new ProcessExecutor({ home, workDir, user: who });
      const spec = specOf(`damaged-${who}`, null);
      const workspace = await executor.prepare(spec, never);
      await workspace.start(step('sleep 600'), 0);
      const { handle } = workspace;
      const marks = marksOf(handle, readRunFile(handle));
      truncateSync(join(handle, 'run.json'), 20);
      expect(await new ProcessExecutor({ home, workDir, user: who }).adopt(spec, handle)).toBeNull();
      expect(processesOf(marks)).toEqual([]);
      expect(existsSync(handle)).toBe(false);
    },
  );
});
