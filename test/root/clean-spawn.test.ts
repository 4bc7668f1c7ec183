import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, openSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { execCleanly, spawnClean, spawnCleanSync } from '../../node/clean-spawn.ts';
import { ProcessExecutor } from '../../node/executors/process-executor.ts';
import { openStore } from '../../node/store/level-store.ts';
import { runStep, specOf } from '../contract/executor-steps.ts';

const user = 'autogit-fd-user';
const folder = mkdtempSync(join(tmpdir(), 'autogit-fds-'));
const workDir = `/var/lib/autogit-node-fds-${process.pid}`;
const never = new AbortController().signal;
const list = 'for f in /proc/self/fd/*; do echo "$f $(readlink $f)"; done';

beforeAll(() => {
  if (spawnSync('id', [user]).status !== 0) execFileSync('useradd', ['--no-create-home', '--shell', '/bin/sh', user]);
});
afterAll(() => {
  for (const path of [folder, workDir]) rmSync(path, { recursive: true, force: true });
  spawnSync('userdel', [user]);
});

describe('children of the agent', () => {
  it('a job, as another user, beside an open store in the same process: no descriptor of the agent is its', async () => {
    const store = await openStore(join(folder, 'store'));
    const open = execFileSync('ls', ['-l', `/proc/${process.pid}/fd`], { encoding: 'utf8' });
    expect(open, 'the store is open here').toContain(join(folder, 'store'));
    const executor = new ProcessExecutor({ home: folder, workDir, user });
    const workspace = await executor.prepare(specOf('fds-1', null), never);
    try {
      const { text } = await runStep(workspace, 0, list, 'ls -l /proc/$PPID/fd 2>&1 || true');
      expect(text).not.toContain(folder);
      expect(text).not.toMatch(/socket:|anon_inode|level/);
    } finally {
      await workspace.remove();
      await store.close();
    }
  });

  it('get what they are meant to have, whatever is open here, and are who they are meant to be', async () => {
    for (let i = 0; i < 30; i++) openSync('/etc/hostname', 'r');
    const { uid, gid } = { uid: 65534, gid: 65534 };
    const said = spawnCleanSync('bash', ['--norc', '-c', `id -u; id -G; ${list}; echo "bash:$BASH_ENV"`], { uid, gid });
    expect(said.stderr).toBe('');
    const [id, groups, ...rest] = said.stdout.trim().split('\n');
    expect([id, groups]).toEqual(['65534', '65534']);
    expect(rest.filter((line) => line.startsWith('/proc')).map((line) => line.split(/[/ ]/)[4])).toEqual([
      '0',
      '1',
      '2',
      '3',
    ]);
    expect(said.stdout).not.toContain('hostname');
    const third = openSync('/etc/passwd', 'r');
    const kept = spawnCleanSync('bash', ['-c', 'head -c 4 <&3; readlink /proc/self/fd/4'], {
      stdio: ['ignore', 'pipe', 'pipe', third],
    });
    expect(kept.stdout).toBe('root');
    expect((await execCleanly('sh', ['-c', 'echo out; echo err >&2'])).stdout).toBe('out\n');
    await expect(execCleanly('sh', ['-c', 'echo why; exit 3'])).rejects.toMatchObject({ code: 3, stdout: 'why\n' });
    await expect(execCleanly('no-such-program', [])).rejects.toMatchObject({ code: 'ENOENT' });
    const child = spawnClean('sleep', ['60'], { detached: true });
    const ended = new Promise((done) => child.once('exit', (_, signal) => done(signal)));
    process.kill(-(child.pid as number), 'SIGKILL');
    expect(await ended).toBe('SIGKILL');
  });

  it('read no start-up file of any shell: not with a socket for a stdin, not by BASH_ENV', () => {
    const greeting = join(folder, 'greeting');
    writeFileSync(greeting, 'echo "Welcome back"\nexec /bin/false\n');
    const code = fileURLToPath(new URL('bashrc-child.ts', import.meta.url));
    const home = execFileSync('sh', ['-c', 'getent passwd root | cut -d: -f6'], { encoding: 'utf8' }).trim();
    const bundle = join(folder, 'child.cjs');
    execFileSync(join(fileURLToPath(new URL('../..', import.meta.url)), 'node_modules/.bin/esbuild'), [
      code,
      '--bundle',
      '--platform=node',
      '--external:classic-level',
      `--outfile=${bundle}`,
      '--log-level=error',
    ]);
    const script = 'touch "$1/.bashrc" && mount --bind "$2" "$1/.bashrc" && exec "$3" "$4" "$5"';
    const { stdout, stderr } = spawnSync(
      'unshare',
      ['-m', 'sh', '-c', script, 'sh', home, greeting, process.execPath, bundle, join(folder, 'bashrc-home')],
      { encoding: 'utf8', env: { ...process.env, BASH_ENV: greeting, ENV: greeting } },
    );
    expect(stderr).toBe('');
    expect(JSON.parse(stdout)).toEqual({ put: 'there', got: ['in', 'in/file'], step: 'ran\n' });
  });

  it('and the store is nobody else’s, also one of an earlier version', async () => {
    const path = join(folder, 'private');
    await (await openStore(path)).close();
    execFileSync('chmod', ['-R', 'a+rX', path]);
    await (await openStore(path)).close();
    for (const file of [
      '',
      'level',
      ...execFileSync('ls', [join(path, 'level')], { encoding: 'utf8' })
        .trim()
        .split('\n')
        .map((name) => join('level', name)),
    ])
      expect([file, statSync(join(path, file)).mode & 0o077]).toEqual([file, 0]);
    // What LevelDB makes later, too.
    expect(readFileSync('/proc/self/status', 'utf8')).toMatch(/^Umask:\s+0077$/m);
  });
});
