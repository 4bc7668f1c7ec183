import { execFileSync, spawn, spawnSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { JobArtifact } from '../../gitlab-bridge/payload.ts';
import { findProgram } from '../../node/clean-spawn.ts';
import { ProcessExecutor } from '../../node/executors/process-executor.ts';
import { isAlive, startTicksOf } from '../../node/executors/run-processes.ts';
import { statusFile } from '../../node/executors/step-record.ts';
import { removeTree } from '../../node/executors/tree-removal.ts';
import { collectArtifact } from '../../node/runs/artifact-up.ts';
import { executorContract } from '../contract/executor-contract.ts';
import { filesContract } from '../contract/executor-files.ts';
import { keptTree, outputUntil, runStep, specOf, step, tarOf } from '../contract/executor-steps.ts';

const user = 'autogit-test-user';
const home = mkdtempSync(join(tmpdir(), 'autogit-user-'));
const workDir = `/var/lib/autogit-node-test-${process.pid}`;
const never = new AbortController().signal;
// As the agent has it: what it makes for a job must be opened to the job's user.
process.umask(0o077);

beforeAll(() => {
  if (spawnSync('id', [user]).status !== 0) execFileSync('useradd', ['--no-create-home', '--shell', '/bin/sh', user]);
});
afterAll(() => {
  rmSync(home, { recursive: true, force: true });
  rmSync(workDir, { recursive: true, force: true });
  spawnSync('userdel', [user]);
});

executorContract('process, as another user', () => ({
  kind: 'process',
  options: { home, workDir, user },
  image: null,
}));

filesContract('process, as another user', () => ({ kind: 'process', options: { home, workDir, user }, image: null }));

describe('process executor of a root agent', () => {
  const executor = new ProcessExecutor({ home, workDir, user });

  it('runs the job as the user, who cannot read or forge what is the agent’s', async () => {
    expect(await executor.check()).toContain(`as user ${user}`);
    const secret = join(home, 'identity.key');
    writeFileSync(secret, 'private', { mode: 0o600 });
    const spec = specOf('user-1', null, { variables: [{ key: 'FILE', value: 'content', file: true }] });
    const workspace = await executor.prepare(spec, never);
    try {
      await workspace.putTar('in', tarOf({ 'a.txt': 'a' }));
      const { text, end } = await runStep(
        workspace,
        0,
        'id -un; id -G | wc -w',
        'cat "$FILE"; echo',
        'echo more >>in/a.txt && echo writable',
        `cat ${secret} 2>&1 || true`,
        `ls ${workspace.handle} 2>&1 || true`,
        `echo exit 0 2>&1 >>${workspace.handle}/step-0.status || echo "not forged"`,
        // A link to where only root may write: putTar must not go through it with the agent's rights.
        `ln -s ${home} out`,
        'exit 7',
      );
      expect(text).toMatch(new RegExp(`^${user}\n1\ncontent\nwritable\n`));
      expect(text.match(/Permission denied/g)?.length).toBe(3);
      expect(text).toContain('not forged');
      expect(end).toEqual({ kind: 'exited', exitCode: 7 });
      await expect(workspace.putTar('out', tarOf({ 'planted.txt': 'x' }))).rejects.toThrow(/could not put files/);
    } finally {
      await workspace.remove();
    }
  });

  it('leaves out of an artifact what the job itself may not read, and says so (public-reports 17)', async () => {
    const workspace = await executor.prepare(specOf('user-2', null), never);
    try {
      const script = ['echo a >open', 'echo b >shut; chmod 0 shut', 'mkdir closed; echo c >closed/in; chmod 0 closed'];
      await runStep(workspace, 0, ...script);
      const file = join(home, 'artifact.zip');
      const artifact = JobArtifact.parse({ paths: ['open', 'shut', 'closed'], exclude: [], artifact_format: 'zip' });
      const { upload, said } = await collectArtifact(workspace, artifact, file, { limitBytes: 1 << 20, signal: never });
      expect(execFileSync('unzip', ['-Z1', file], { encoding: 'utf8' })).toBe('open\n');
      expect(upload?.lengthBytes).toBeGreaterThan(0);
      const text = said.map((line) => line.text).join('\n');
      expect(text).toContain('shut: cannot be read, left out');
      expect(text).toContain('closed: cannot be read, left out');
      expect(text).toMatch(/while files were listed: find: .*closed.*Permission denied/);
    } finally {
      execFileSync('chmod', ['-R', '700', workspace.projectDir]);
      await workspace.remove();
    }
  });

  it('a job that kills all that it can has failed by its own doing, and keeps its output', async () => {
    const workspace = await executor.prepare(specOf('user-3', null), never);
    try {
      // More than half of what a pipe holds: whoever brings it to its file has it to do when all else is gone.
      const much = 'printf "%040000d\\n" 0';
      const { text, end } = await runStep(workspace, 0, 'echo before', `${much}; kill -9 -1; echo after`, 'sleep 60');
      expect(text.slice(0, 40_008)).toBe(`before\n${'0'.repeat(40_000)}\n`);
      expect(end).toMatchObject({ kind: 'exited', exitCode: 137 });
    } finally {
      await workspace.remove();
    }
  });

  it('removes what a job left, and nothing of what a link or a mount in it leads to (security A8)', async () => {
    const [uid = 0, gid = 0] = ['-u', '-g'].map((flag) =>
      Number(execFileSync('id', [flag, user], { encoding: 'utf8' })),
    );
    const tree = join(workDir, 'left');
    const victim = join(home, 'victim');
    const mounted = join(tree, 'builds', 'mounted');
    for (const path of [victim, mounted, join(tree, 'builds', 'closed', 'in')]) mkdirSync(path, { recursive: true });
    writeFileSync(join(victim, 'kept'), 'x');
    symlinkSync(victim, join(tree, 'builds', 'link'));
    chmodSync(tree, 0o711);
    execFileSync('chown', ['-R', '-h', `${uid}:${gid}`, join(tree, 'builds')]);
    chmodSync(join(tree, 'builds', 'closed'), 0);
    execFileSync('mount', ['-t', 'tmpfs', 'autogit-test', mounted]);
    writeFileSync(join(mounted, 'kept'), 'x');
    try {
      await expect(removeTree(tree)).rejects.toThrow(/cannot remove/);
      expect(readdirSync(join(tree, 'builds'))).toEqual(['mounted']);
      expect(readdirSync(mounted)).toEqual(['kept']);
      expect(readdirSync(victim)).toEqual(['kept']);
    } finally {
      execFileSync('umount', ['-l', mounted]);
    }
    await removeTree(tree);
    expect(existsSync(tree)).toBe(false);
  });

  it('ends nobody else whom a job has put into a record of its steps', async () => {
    // What runs as the job's user may take the descriptor that its supervisor has of that file (pidfd_getfd): here it has.
    const victim = spawn('sleep', ['60'], { detached: true, stdio: 'ignore' });
    const workspace = await executor.prepare(specOf('forged-1', null), never);
    try {
      await workspace.start(step('echo ready; sleep 60'), 0);
      await outputUntil(workspace, 0, 'ready');
      const named = `${victim.pid} ${startTicksOf(victim.pid ?? 0)}`;
      writeFileSync(statusFile(workspace.handle, 0), `begun 1 0\nfilter ${named}\npid ${named}\n`);
      await workspace.kill(0);
      expect((await workspace.ended(0)).kind).toBe('killed');
    } finally {
      await workspace.remove();
      expect(victim.signalCode).toBeNull();
      expect(isAlive(victim.pid ?? 0, startTicksOf(victim.pid ?? 0))).toBe(true);
      victim.kill('SIGKILL');
    }
  });

  it('a person’s HOME and shell are the job’s on purpose, and no start-up file is read (official-runner F19)', async () => {
    const person = 'autogit-test-person';
    const homeDir = `/var/lib/${person}-${process.pid}`;
    execFileSync('useradd', ['--create-home', '--home-dir', homeDir, '--shell', '/bin/dash', person]);
    try {
      mkdirSync(join(homeDir, '.local', 'bin'), { recursive: true });
      writeFileSync(join(homeDir, '.local', 'bin', 'persons-tool'), '#!/bin/sh\ncat "$HOME/.toolrc"\n', {
        mode: 0o755,
      });
      writeFileSync(join(homeDir, '.toolrc'), 'configured\n');
      // What stands first in a person's PATH is hers, and whoever is she can put it there: nobody else may run it.
      const whoRuns = join(homeDir, 'who-runs');
      for (const tool of ['bash', 'sh', 'setpriv', 'cat', 'chown', 'perl', 'tar', 'chmod', 'rm'])
        writeFileSync(
          join(homeDir, '.local', 'bin', tool),
          `#!/bin/sh\nid -u >>${whoRuns}\nfor f in /proc/$$/fd/*; do readlink $f >>${homeDir}/has; done\nexec ${findProgram(tool, '/usr/bin:/bin')} "$@"\n`,
          { mode: 0o755 },
        );
      for (const file of ['.bashrc', '.profile', '.bash_profile', '.shrc'])
        writeFileSync(join(homeDir, file), 'echo started-up; export STARTED_UP=1\n');
      execFileSync('chown', ['-R', `${person}:`, homeDir]);
      const said: string[] = [];
      const personal = new ProcessExecutor({ home, workDir, user: person, note: (_, text) => said.push(text) });
      expect(await personal.check()).not.toContain('HOME');
      const workspace = await personal.prepare(specOf('person-1', null, { tree: keptTree() }), never);
      const { text, end } = await runStep(
        workspace,
        0,
        'echo "$HOME $USER $LOGNAME $SHELL $STARTED_UP"',
        'persons-tool; echo kept >>~/.toolrc; bash -c "echo inner"; env | grep -i -c started_up || true',
        'case $PATH in *//*|*/root*) echo "$PATH";; esac',
      );
      const inTree = await workspace.tree?.run('id -u', [], {}, never);
      inTree?.output.resume();
      expect((await inTree?.ended)?.code).toBe(0);
      await workspace.remove();
      const uid = execFileSync('id', ['-u', person], { encoding: 'utf8' }).trim();
      expect([...new Set(readFileSync(whoRuns, 'utf8').trim().split('\n'))]).toEqual([uid]);
      // Opened by root, such a file takes any process of the machine, and all of the group are ended with the run.
      expect(readFileSync(join(homeDir, 'has'), 'utf8')).not.toContain('cgroup.procs');
      expect(end).toEqual({ kind: 'exited', exitCode: 0 });
      expect(text).toBe(`${homeDir} ${person} ${person} /bin/dash \nconfigured\ninner\n0\n`);
      expect(readFileSync(join(homeDir, '.toolrc'), 'utf8')).toBe('configured\nkept\n');
      expect(said).toEqual([]);

      rmSync(homeDir, { recursive: true });
      const sentence = `the home ${homeDir} of user ${person} is not there: jobs have a fresh HOME`;
      expect(await personal.check()).toContain(sentence);
      const again = await personal.prepare(specOf('person-2', null), never);
      expect((await runStep(again, 0, 'echo "$HOME"; echo x >~/x')).text).toBe(`${again.handle}/home\n`);
      await again.remove();
      expect(said).toEqual([sentence]);
    } finally {
      spawnSync('userdel', [person]);
      rmSync(homeDir, { recursive: true, force: true });
    }
  });

  it('a run of an earlier agent, which did not note its user, goes on as whom its tree belongs to', async () => {
    const spec = specOf('before-1', null);
    const begun = await executor.prepare(spec, never);
    const file = join(begun.handle, 'run.json');
    const { user: _, ...before } = JSON.parse(readFileSync(file, 'utf8'));
    writeFileSync(file, JSON.stringify(before));
    // Whatever this one is told now, and root least of all.
    const adopted = await new ProcessExecutor({ home, workDir, user: 'auto' }).adopt(spec, begun.handle);
    try {
      const { text } = await runStep(adopted!, 0, 'id -un; echo "$HOME $USER"');
      expect(text).toBe(`${user}\n${begun.handle}/home ${user}\n`);
    } finally {
      await adopted?.remove();
    }
  });

  it('refuses a user that is not there, in words', async () => {
    await expect(new ProcessExecutor({ home, workDir, user: 'nobody-here' }).check()).rejects.toMatchObject({
      code: 'bad-config',
      message: 'there is no user nobody-here on this machine',
    });
    // The agent's home is closed to the user.
    await expect(new ProcessExecutor({ home, workDir: join(home, 'work'), user }).check()).rejects.toMatchObject({
      code: 'home-unwritable',
    });
  });
});
