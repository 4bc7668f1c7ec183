import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, describe, expect, it } from 'vitest';
import { ProcessExecutor } from '../../node/executors/process-executor.ts';
import {
  cgroupProcesses,
  killCgroup,
  makeFreezerGroup,
  makeRunCgroup,
  removeCgroup,
} from '../../node/executors/run-cgroup.ts';
import { marksOf, readRunFile } from '../../node/executors/run-file.ts';
import { processesOf } from '../../node/executors/run-processes.ts';
import type { Workspace } from '../../node/ports.ts';
import { executorContract } from '../contract/executor-contract.ts';
import { filesContract } from '../contract/executor-files.ts';
import { never, outputUntil, runStep, specOf, step } from '../contract/executor-steps.ts';

const home = mkdtempSync(join(tmpdir(), 'autogit-executor-'));
afterAll(() => rmSync(home, { recursive: true, force: true }));

executorContract('process, by signals', () => ({
  kind: 'process',
  options: { home: join(home, 'signals'), cgroups: false },
  image: null,
}));

// As root on a machine with control groups version 2 it uses them; elsewhere this is the same as above.
executorContract('process, by control group where there is one', () => ({
  kind: 'process',
  options: { home: join(home, 'groups') },
  image: null,
}));

filesContract('process', () => ({ kind: 'process', options: { home: join(home, 'files') }, image: null }));

describe.each([
  ['signals', false],
  ['a control group where there is one', true],
])('process executor, by %s, and a job that is not of good will', (_, cgroups) => {
  const executor = new ProcessExecutor({ home: join(home, 'ill'), cgroups });
  const run = (name: string): string => `ill-${name}-${cgroups}-${process.pid}`;

  it('kills its supervisor: a failed script with its output, and nothing of it runs on', async () => {
    const workspace = await executor.prepare(specOf(run('parent'), null), never);
    try {
      const { text, end } = await runStep(workspace, 0, 'echo before', 'kill -9 $PPID', 'echo after', 'sleep 600');
      expect(text).toMatch(/^before\n/);
      expect(end).toMatchObject({ kind: 'exited', exitCode: 137, because: expect.stringContaining('SIGKILL') });
      expect(processesOf(marksOf(workspace.handle, readRunFile(workspace.handle)))).toEqual([]);
    } finally {
      await workspace.remove();
    }
  });

  it.each([
    ['removes', (path: string) => [`rm '${path}'`, 'sleep 3']],
    ['empties', (path: string) => [`: >'${path}'`, 'kill -9 $PPID', 'sleep 600']],
  ])('%s the record of its step: it has failed itself, and nothing of it runs on', async (how, does) => {
    const workspace = await executor.prepare(specOf(run(how), null), never);
    try {
      const spoils = does(join(workspace.handle, 'step-0.status'));
      const { end } = await runStep(workspace, 0, ...spoils);
      expect(end).toMatchObject({
        kind: 'exited',
        exitCode: 137,
        because: expect.stringContaining('record of this step'),
      });
      expect(processesOf(marksOf(workspace.handle, readRunFile(workspace.handle)))).toEqual([]);
    } finally {
      await workspace.remove();
    }
  });

  it('is removed while it runs, which is no end of its own', async () => {
    const workspace = await executor.prepare(specOf(run('removed'), null), never);
    await workspace.start(step('echo up', 'sleep 600'), 0);
    await outputUntil(workspace, 0, 'up');
    const [end] = await Promise.all([workspace.ended(0), workspace.remove()]);
    expect(end).toMatchObject({ kind: 'lost' });
  });
});

describe('without a control group', () => {
  const executor = new ProcessExecutor({ home: join(home, 'alone'), cgroups: false });
  const processes = (): string => execFileSync('ps', ['-eww', '-o', 'args='], { encoding: 'utf8' });
  let counter = 0;
  const sleeper = (): string => `sleep 97${process.pid}${++counter}`;

  it('the supervisor holds what takes a new session, clears its environment and leaves the folder (security A15)', async () => {
    const workspace = await executor.prepare(specOf(`held-${process.pid}`, null), never);
    const [direct, orphan, late] = [sleeper(), sleeper(), sleeper()];
    const { text, end } = await runStep(
      workspace,
      0,
      `cd /; env -i setsid ${direct} &`,
      `(env -i setsid sh -c 'cd /; ${orphan} & exit 0' &)`,
      `(env -i setsid sh -c 'cd /; sleep 0.3; env -i setsid ${late} & exit 0' &)`,
      'echo done',
    );
    expect([text, end]).toEqual(['done\n', { kind: 'exited', exitCode: 0 }]);
    await sleep(600);
    for (const one of [direct, orphan, late]) expect(processes()).toContain(one);
    // They are frozen with the run (SAFETY J1), and go on between its steps.
    const marks = marksOf(workspace.handle, readRunFile(workspace.handle));
    await workspace.freeze();
    const found = processesOf(marks);
    await workspace.thaw();
    expect(found.length).toBeGreaterThanOrEqual(3);
    expect(found.filter(({ state }) => state !== 'T')).toEqual([]);
    expect((await runStep(workspace, 1, 'echo more')).text).toBe('more\n');
    await workspace.remove();
    for (const one of [direct, orphan, late]) expect(processes()).not.toContain(one);
  });

  it('goes on in a run that an earlier version prepared, and an earlier version in one of ours', async () => {
    const workspace = await executor.prepare(specOf(`earlier-${process.pid}`, null), never);
    const [supervisor, feeder] = ['supervisor.sh', 'feeder.sh'].map((name) => join(workspace.handle, name)) as [
      string,
      string,
    ];
    const [script, output, status] = ['s', 'o', 't'].map((name) => join(home, `earlier-${name}`)) as [
      string,
      string,
      string,
    ];
    try {
      writeFileSync(script, 'echo "as before $-"; exit 3\n');
      const files = [output, output, status, '/dev/null'].map((path) => openSync(path, 'a'));
      spawnSync('bash', [supervisor, script], { stdio: ['ignore', ...files] });
      for (const file of files) closeSync(file);
      expect(readFileSync(output, 'utf8')).toBe('as before hB\n');
      expect(readFileSync(status, 'utf8')).toMatch(/^pid \d+ \d+\nexit 3\n$/);
      rmSync(feeder);
      writeFileSync(supervisor, 'echo "exit 9" >&3\n');
      expect(await runStep(workspace, 0, 'echo anew')).toMatchObject({ text: 'anew\n', end: { exitCode: 0 } });
    } finally {
      await workspace.remove();
    }
  });

  it('what was seen to be of the run is ended too when the job has killed its supervisor', async () => {
    const workspace = await executor.prepare(specOf(`seen-${process.pid}`, null), never);
    const escaped = sleeper();
    try {
      const { end } = await runStep(
        workspace,
        0,
        `cd /; env -i setsid sh -c '${escaped} & wait' &`,
        'sleep 1.2; kill -9 $PPID; sleep 5',
      );
      expect(end).toMatchObject({ kind: 'exited', exitCode: 137 });
      expect(processes()).not.toContain(escaped);
    } finally {
      await workspace.remove();
    }
  });

  it('who works in the folder of the run without an environment is of it, a person who looks there is not', async () => {
    const run = `place-${process.pid}`;
    const workspace = await executor.prepare(specOf(run, null), never);
    const at = { cwd: workspace.projectDir, stdio: 'ignore', detached: true } as const;
    const ofEarlierAgent = spawn('sleep', ['60'], { ...at, cwd: '/', env: { HOME: '/', AUTOGIT_RUN: run } });
    const cleared = spawn('sleep', ['60'], { ...at, env: {} });
    const person = spawn('sleep', ['60'], { ...at, env: { HOME: '/root', PWD: workspace.projectDir } });
    try {
      await sleep(100);
      await workspace.remove();
      await sleep(100);
      const signals = [cleared, ofEarlierAgent, person].map(({ signalCode }) => signalCode);
      expect(signals).toEqual(['SIGKILL', 'SIGKILL', null]);
    } finally {
      for (const child of [cleared, ofEarlierAgent, person]) child.kill('SIGKILL');
    }
  });

  it('strays of a run whose folder is gone are ended by a sweep, those of a known run are not', async () => {
    const runs = [`kept-${process.pid}`, `stray-${process.pid}`] as const;
    const marks = [sleeper(), sleeper()] as const;
    const workspaces: Workspace[] = [];
    for (const [k, run] of runs.entries()) {
      const workspace = await executor.prepare(specOf(run, null), never);
      workspaces.push(workspace);
      await runStep(workspace, 0, `setsid ${marks[k]} &`);
    }
    rmSync(workspaces[1]!.handle, { recursive: true });
    await executor.sweep(new Set([runs[0]]));
    expect(processes()).toContain(marks[0]);
    expect(processes()).not.toContain(marks[1]);
    await workspaces[0]!.remove();
  });
});

describe.skipIf(process.getuid?.() !== 0)('a control group ends what no signal catches', () => {
  it.each([
    ['version 2 or what there is', makeRunCgroup],
    ['the freezer of version 1', makeFreezerGroup],
  ])('%s: processes that make others all the time, without the mark', async (_, make) => {
    const path = make(`ill-${make.name}-${process.pid}`);
    if (path === null) return;
    // At most a few at a time: each makes its successor and ends.
    const chain = 'f() { sleep 0.005; f & }; f & f & f & wait';
    const script = `echo 0 >${path}/cgroup.procs; exec env -i setsid bash -c '${chain}'`;
    const child = spawn('bash', ['-c', script], { stdio: 'ignore' });
    await new Promise((done) => setTimeout(done, 200));
    expect(cgroupProcesses(path).length).toBeGreaterThan(0);
    try {
      await killCgroup(path);
      expect(cgroupProcesses(path)).toEqual([]);
    } finally {
      child.kill('SIGKILL');
      await removeCgroup(path);
    }
    expect(existsSync(path)).toBe(false);
  });

  it('spares the supervisors that it is told to', async () => {
    const path = makeFreezerGroup(`ill-spared-${process.pid}`) ?? makeRunCgroup(`ill-spared-${process.pid}`);
    if (path === null) return;
    const start = () => spawn('sh', ['-c', `echo 0 >${path}/cgroup.procs; exec sleep 60`], { stdio: 'ignore' });
    const children = [start(), start()];
    try {
      await new Promise((done) => setTimeout(done, 200));
      const spared = children[0]?.pid as number;
      await killCgroup(path, new Set([spared]));
      expect(cgroupProcesses(path)).toEqual([{ pid: spared }]);
    } finally {
      for (const child of children) child.kill('SIGKILL');
      await removeCgroup(path);
    }
  });
});

describe.skipIf(process.getuid?.() !== 0)('limits of a process job', () => {
  it('are those that it asked for, as far as this machine can (security A11); and the groups go with the run', async () => {
    const name = `limits-${process.pid}`;
    const executor = new ProcessExecutor({ home: join(home, 'limits') });
    const workspace = await executor.prepare(specOf(name, null, { memoryBytes: 256 << 20, cpuMillis: 500 }), never);
    const missing = /no limit of ([\w, ]+) can be set/.exec(await executor.check())?.[1] ?? '';
    let groups: string[] = [];
    try {
      const { text } = await runStep(
        workspace,
        0,
        'cat /proc/self/cgroup',
        'ls /proc/self/fd | tr "\\n" " "; echo',
        // Stops by itself where nothing else stops it.
        '(head -c 400M /dev/zero | tail -c 390M | wc -c) 2>&1 || echo memory limited',
      );
      groups = readRunFile(workspace.handle)?.limits ?? [];
      const inGroup = (controller: string): boolean =>
        new RegExp(`^\\d+:([\\w,]*,)?${controller}(,\\w+)*:/autogit/`, 'm').test(text) || /^0::\/autogit\//m.test(text);
      for (const [word, controller] of [
        ['processes', 'pids'],
        ['CPU', 'cpu'],
        ['memory', 'memory'],
      ] as const)
        if (!missing.includes(word)) expect(inGroup(controller)).toBe(true);
      expect(text).toMatch(/^0 1 2 3 $/m);
      if (missing.includes('memory')) return;
      expect(text).toContain('memory limited');
      expect(await runStep(workspace, 1, 'head -c 400M /dev/zero | tail -c 390M | wc -c')).toMatchObject({
        end: {
          kind: 'exited',
          exitCode: 137,
          because: 'killed: out of memory, this job may use 256 MiB; ask for more with the tag mem-4g (exit code 137)',
        },
      });
      // What was killed before it began says nothing of how this one ended.
      expect((await runStep(workspace, 2, 'exit 4')).end).toEqual({ kind: 'exited', exitCode: 4 });
    } finally {
      await workspace.remove();
    }
    for (const group of groups) expect(existsSync(group)).toBe(false);
  });

  it('let the agent and the machine go first, also where a job asked for nothing; the group goes with the run', async () => {
    const executor = new ProcessExecutor({ home: join(home, 'weight') });
    const workspace = await executor.prepare(specOf(`weight-${process.pid}`, null), never);
    let groups: string[] = [];
    try {
      const { text } = await runStep(workspace, 0, 'cat /proc/self/cgroup');
      groups = readRunFile(workspace.handle)?.limits ?? [];
      const group =
        groups.find((path) => existsSync(join(path, 'cpu.shares'))) ?? readRunFile(workspace.handle)?.cgroup;
      const [file, weight] = existsSync(join(`${group}`, 'cpu.shares')) ? ['cpu.shares', 256] : ['cpu.weight', 25];
      expect(Number(readFileSync(join(dirname(`${group}`), file as string), 'utf8'))).toBe(weight);
      // The job is in it.
      expect(text).toContain(`/autogit/${basename(`${group}`)}`);
    } finally {
      await workspace.remove();
    }
    for (const group of groups) expect(existsSync(group)).toBe(false);
  });
});
