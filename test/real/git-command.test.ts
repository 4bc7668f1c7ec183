import { execFile } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { git, serveMirror } from '../../node/runs/git-command.ts';
import { refreshModule } from '../../node/runs/git-mirror.ts';

/** A git that does what it likes: our call ends all the same, and nothing of ours is in its environment. */
let folder = '';
const path = process.env.PATH;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 't-git-'));
  process.env.PATH = `${folder}${delimiter}${path}`;
});
afterEach(() => {
  process.env.PATH = path;
  delete process.env.AUTOGIT_SECRET_OF_THE_AGENT;
  rmSync(folder, { recursive: true, force: true });
});

function become(script: string): void {
  writeFileSync(join(folder, 'git'), `#!/bin/sh\n${script}\n`);
  chmodSync(join(folder, 'git'), 0o755);
}
/** A zombie that nobody has reaped yet has ended. */
const isAlive = (pid: number): boolean =>
  existsSync(`/proc/${pid}/stat`) && !/\) Z /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));

describe('a call of git', () => {
  it('tells git who it is (without, git asks DNS for 20 s), and nothing of the agent', async () => {
    process.env.AUTOGIT_SECRET_OF_THE_AGENT = 'secret';
    become('env');
    const said = await git(['fetch'], { cwd: '/' });
    expect(said).toMatch(/^GIT_COMMITTER_EMAIL=./m);
    expect(said).toMatch(/^GIT_AUTHOR_NAME=./m);
    expect(said).not.toContain('SECRET_OF_THE_AGENT');
    // What git may speak: nothing unless it is said.
    expect(said).toContain('=protocol.allow\n');
    expect(said).not.toMatch(/protocol\.(?:http|https|file)\.allow/);
    expect(await git(['fetch'], { cwd: '/', speaks: 'file' })).toMatch(/protocol\.file\.allow/);
  });

  it('is ended before the agent where memory runs out: a commit of a few kB can ask it for more than there is', async () => {
    become('cat /proc/self/oom_score_adj');
    expect(await git(['checkout'], { cwd: '/' })).toBe('500\n');
    expect(await git(['--version'], { cwd: '/', isLook: true })).toBe('500\n');
    expect(readFileSync('/proc/self/oom_score_adj', 'utf8')).not.toBe('500\n');
    const serving = serveMirror('/');
    let said = '';
    for await (const chunk of serving.stdout as AsyncIterable<Buffer>) said += chunk.toString();
    expect(said).toBe('500\n');
  });

  it('that hears no signal ends with its helpers, soon', async () => {
    become(`trap '' TERM; sh -c 'trap "" TERM; echo $$ > ${folder}/helper; sleep 60' & sleep 60; sleep 60`);
    const ending = new AbortController();
    const call = git(['fetch'], { cwd: '/', signal: ending.signal }).catch((error: Error) => error.message);
    while (!existsSync(join(folder, 'helper')) || readFileSync(join(folder, 'helper'), 'utf8') === '')
      await new Promise((resolve) => setTimeout(resolve, 20));
    const begun = Date.now();
    ending.abort();
    expect(await call).toBe('git fetch: ended');
    expect(Date.now() - begun).toBeLessThan(4_500);
    const helper = Number(readFileSync(join(folder, 'helper'), 'utf8'));
    for (let i = 0; i < 50 && isAlive(helper); i++) await new Promise((resolve) => setTimeout(resolve, 20));
    expect(isAlive(helper)).toBe(false);
  });

  it('is answered whole or not at all: a list that is cut is another list', async () => {
    become("head -c 65536 /dev/zero | tr '\\0' x");
    expect(await git(['config'], { cwd: '/' })).toHaveLength(65_536);
    become("head -c 65537 /dev/zero | tr '\\0' x; sleep 60");
    await expect(git(['config'], { cwd: '/' })).rejects.toThrow('git config: it printed more than 64 KiB');
    become("head -c 65537 /dev/zero | tr '\\0' x");
    expect(await git(['ls-tree'], { cwd: '/', mostBytes: 1 << 20 })).toHaveLength(65_537);
    become("printf 'caf\\303'; sleep 0.2; printf '\\251'");
    expect(await git(['config'], { cwd: '/' })).toBe('café');
  });

  it('that brings a submodule’s branches forgets those that have gone: one may be a folder of another’s name by now', async () => {
    const whole = (await promisify(execFile)('bash', ['-c', `PATH=${path} type -P git`])).stdout.trim();
    const here = join(folder, 'its');
    const own = async (...args: string[]): Promise<string> =>
      (
        await promisify(execFile)(whole, ['-C', here, '-c', 'user.name=t', '-c', 'user.email=t@t', ...args])
      ).stdout.trim();
    mkdirSync(here);
    await own('init', '-q', '-b', 'main');
    const commit = async (): Promise<string> => {
      await own('commit', '-q', '--allow-empty', '-m', 'one');
      return own('rev-parse', 'HEAD');
    };
    // A server that gives what its branches lead to, and nothing by a commit's name.
    become(`case "$*" in *"+"[0-9a-f]*:*) echo no >&2; exit 1 ;; esac; GIT_ALLOW_PROTOCOL=file exec ${whole} "$@"`);
    const mirror = join(folder, 'mirror.git');
    const bring = (sha: string) =>
      refreshModule(mirror, { address: here, token: null }, sha, new AbortController().signal, 20_000);
    await bring(await commit());
    await own('branch', 'a');
    await bring(await commit());
    await own('branch', '-D', 'a');
    await own('branch', 'a/b');
    const last = await commit();
    writeFileSync(join(mirror, 'the same'), '');
    await bring(last);
    expect(existsSync(join(mirror, 'the same')), 'the mirror is not made anew').toBe(true);
    expect(await git(['rev-parse', `refs/autogit/modules/${last}`], { cwd: mirror })).toBe(`${last}\n`);
  });

  it('that is ended in the midst of a fetch leaves nothing of it in the mirror', async () => {
    const mirror = join(folder, 'mirror.git');
    for (const place of ['pack', 'ab']) mkdirSync(join(mirror, 'objects', place), { recursive: true });
    for (const kept of ['HEAD', 'objects/pack/pack-1.pack', 'objects/ab/cd']) writeFileSync(join(mirror, kept), 'x');
    const half = 'echo x >objects/pack/tmp_pack_1; echo x >objects/ab/tmp_obj_2; exec sleep 60';
    become(`case $1 in fetch) ${half} ;; cat-file) exit 1 ;; esac`);
    const address = 'http://gitlab.example/m.git';
    const never = new AbortController().signal;
    await expect(refreshModule(mirror, { address, token: null }, 'a'.repeat(40), never, 300)).rejects.toMatchObject({
      isAway: true,
    });
    expect(readdirSync(join(mirror, 'objects/pack'))).toEqual(['pack-1.pack']);
    expect(readdirSync(join(mirror, 'objects/ab'))).toEqual(['cd']);
  });

  it('that is silent is away; one that reports progress is not', async () => {
    become('sleep 60');
    const silent = git(['fetch'], { cwd: '/', silenceMs: 300 });
    await expect(silent).rejects.toMatchObject({ isAway: true, message: expect.stringContaining('nothing came') });
    become('for i in 1 2 3 4 5 6; do echo "Receiving objects: $i%" >&2; sleep 0.2; done; echo whole');
    expect(await git(['fetch'], { cwd: '/', silenceMs: 800 })).toBe('whole\n');
  });
});
