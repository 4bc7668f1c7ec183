import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, describe, expect, it } from 'vitest';
import { JobArtifact } from '../../gitlab-bridge/payload.ts';
import { ProcessExecutor } from '../../node/executors/process-executor.ts';
import { readRunFile } from '../../node/executors/run-file.ts';
import { processesOfUid } from '../../node/executors/run-processes.ts';
import { endUser, gateUser, takeUid, usualRange } from '../../node/executors/run-uids.ts';
import { collectArtifact } from '../../node/runs/artifact-up.ts';
import { executorContract } from '../contract/executor-contract.ts';
import { never, outputUntil, runStep, specOf, step } from '../contract/executor-steps.ts';

const home = mkdtempSync(join(tmpdir(), 'autogit-auto-'));
const workDir = `/var/lib/autogit-node-auto-${process.pid}`;
const options = { home, workDir, user: 'auto' };
const taken = '/run/autogit-node-uids';
afterAll(() => {
  for (const folder of [home, workDir]) rmSync(folder, { recursive: true, force: true });
});
// As the agent has it: what it makes for a job must be opened to the job's user.
process.umask(0o077);

executorContract('process, each run as a user of its own', () => ({ kind: 'process', options, image: null }));

/** What goes away while it looks (others work in /tmp) is no failure. */
const ofUid = (uid: number, ...places: string[]): string =>
  spawnSync('find', [...places, '-xdev', '-user', String(uid)], { encoding: 'utf8' }).stdout;

describe('--user auto', () => {
  const executor = new ProcessExecutor(options);
  const prepare = async (name: string) => {
    const workspace = await executor.prepare(specOf(`${name}-${process.pid}`, null), never);
    return { workspace, uid: readRunFile(workspace.handle)?.user?.uid ?? 0 };
  };

  it('gives each run a uid that nobody has, a HOME that works, and nothing of the other run', async () => {
    expect(await executor.check()).toMatch(/each job as a user of its own: no isolation between jobs and this machine/);
    const [one, other] = [await prepare('one'), await prepare('other')];
    try {
      expect(one.uid).not.toBe(other.uid);
      for (const { uid } of [one, other]) {
        expect(uid >= usualRange.first && uid <= usualRange.last).toBe(true);
        expect(readFileSync('/etc/passwd', 'utf8')).not.toContain(`:${uid}:`);
      }
      const { text, end } = await runStep(
        one.workspace,
        0,
        'id -u; id -g; id -G',
        'echo "$HOME"; cd "$HOME"; ls -A | wc -l',
        'git config --global user.name Job; git config --global user.email job@example.org; cd "$CI_PROJECT_DIR"',
        'git init -q .; echo a >a; git add a; git commit -qm first; git log --format=%an',
        `ls ${other.workspace.projectDir} 2>&1 || true`,
        // Runtimes read their limits themselves.
        'own() { sed -n "s/^[0-9]*:$1://p" /proc/self/cgroup; }',
        'cat /sys/fs/cgroup/pids$(own pids)/pids.max /sys/fs/cgroup$(own "")/pids.max 2>/dev/null || true',
        `kill -0 -- -1 2>&1 || true; echo "$USER $LOGNAME $SHELL"`,
      );
      expect(end).toEqual({ kind: 'exited', exitCode: 0 });
      expect(text).toMatch(new RegExp(`^${one.uid}\n${one.uid}\n${one.uid}\n${one.workspace.handle}/home\n0\nJob\n`));
      expect(text).toContain('Permission denied');
      if (!(await executor.check()).includes('no limit of')) expect(text).toContain('8192');
      expect(text).toContain(`job-${one.uid} job-${one.uid} /bin/bash`);
      const file = join(home, 'artifact.zip');
      const artifact = JobArtifact.parse({ paths: ['a'], exclude: [], artifact_format: 'zip' });
      await collectArtifact(one.workspace, artifact, file, { limitBytes: 1 << 20, signal: never });
      expect(execFileSync('unzip', ['-Z1', file], { encoding: 'utf8' })).toBe('a\n');
    } finally {
      for (const { workspace } of [one, other]) await workspace.remove();
    }
  });

  it.each([true, false])('leaves nothing of a hostile job, control groups: %s', async (cgroups) => {
    const executor = new ProcessExecutor({ ...options, cgroups });
    const workspace = await executor.prepare(specOf(`ill-${cgroups}-${process.pid}`, null), never);
    const uid = readRunFile(workspace.handle)?.user?.uid ?? 0;
    expect(readFileSync(join(taken, String(uid)), 'utf8')).toBe(workspace.handle);
    const { end } = await runStep(
      workspace,
      0,
      'mkdir -p /tmp/t-users-$$/in /var/tmp/t-users-$$; echo x >/tmp/t-users-$$/in/file; echo x >/dev/shm/t-users-$$',
      '[ ! -w /run/lock ] || echo x >/run/lock/t-users-$$; chmod 0 /tmp/t-users-$$/in; mkdir closed; chmod 0 closed; ipcmk -M 4096 >/dev/null',
      // Each makes its successor and ends; without mark, session and folder.
      `env -i setsid bash -c 'cd /; f() { sleep 0.01; f & }; f & f & f & wait' >/dev/null 2>&1 &`,
      `env -i setsid sh -c 'cd /; trap "" TERM; while :; do sleep 0.1; done' >/dev/null 2>&1 &`,
      'sleep 0.3; kill -9 $PPID; sleep 5',
    );
    expect(end).toMatchObject({ kind: 'exited', exitCode: 137 });
    await workspace.remove();
    expect(processesOfUid(uid)).toEqual([]);
    expect(existsSync(workspace.handle)).toBe(false);
    expect(ofUid(uid, '/tmp', '/var/tmp', '/dev/shm', '/run/lock')).toBe('');
    expect(execFileSync('ipcs', ['-m'], { encoding: 'utf8' })).not.toMatch(new RegExp(`\\b(job-)?${uid}\\b`));
    expect(existsSync(join(taken, String(uid)))).toBe(false);
  });

  it('an agent that starts sweeps what the one before it left, and takes a run’s uid for no other meanwhile', async () => {
    const { workspace, uid } = await prepare('crashed');
    await workspace.start(step('echo x >/tmp/t-users-left-$$; echo up; sleep 600'), 0);
    await outputUntil(workspace, 0, 'up');
    // Died between the uid and the folder.
    const early = await takeUid(usualRange, join(workDir, 'early'));
    // A run of another agent on this machine.
    const foreign = await takeUid(usualRange, '/elsewhere/run');
    await expect(takeUid({ first: uid, last: uid }, join(workDir, 'x'))).rejects.toMatchObject({
      message: `no uid from ${uid} to ${uid} is free for a run`,
      hint: expect.stringContaining('--user auto:FIRST-LAST'),
    });
    try {
      await new ProcessExecutor(options).sweep(new Set([`early`]));
      expect(existsSync(join(taken, String(early)))).toBe(true);
      await new ProcessExecutor(options).sweep(new Set());
      expect(processesOfUid(uid)).toEqual([]);
      expect(readdirSync(workDir)).toEqual([]);
      expect(ofUid(uid, '/tmp')).toBe('');
      expect([uid, early, foreign].map((one) => existsSync(join(taken, String(one))))).toEqual([false, false, true]);
    } finally {
      await endUser(foreign, '/elsewhere/run');
    }
  });

  it('prepares anew what an agent that died had half prepared, as another uid', async () => {
    const { workspace, uid } = await prepare('half');
    rmSync(join(workspace.handle, 'run.json'));
    const again = await prepare('half');
    expect(again.workspace.handle).toBe(workspace.handle);
    expect((await runStep(again.workspace, 0, 'id -u; echo x >"$TMPDIR/x"')).text).toBe(`${again.uid}\n`);
    if (uid !== again.uid) expect(existsSync(join(taken, String(uid)))).toBe(false);
    await again.workspace.remove();
  });

  it('takes no uid with which something runs, or that somebody is', async () => {
    const [first, last] = [usualRange.last - 1, usualRange.last];
    const child = spawn('sleep', ['60'], { uid: first, gid: first, stdio: 'ignore' });
    await sleep(100);
    try {
      const uid = await takeUid({ first, last }, '/elsewhere/run');
      expect(uid).toBe(last);
      await endUser(uid, '/elsewhere/run');
      // The gate's has no name, and nothing runs with it while no GitLab is hosted here.
      await expect(takeUid({ first: gateUser, last: gateUser }, '/elsewhere/run')).rejects.toThrow(/is free/);
      // `nobody` has a name.
      await expect(takeUid({ first: 65534, last: 65534 }, '/elsewhere/run')).rejects.toThrow(/is free/);
    } finally {
      child.kill('SIGKILL');
    }
  });
});
