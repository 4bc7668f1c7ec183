import { spawn } from 'node:child_process';
import { describe, expect, it } from 'vitest';
import { AutogitError } from '../../protocol/errors.ts';
import { bin } from './cli-child.ts';
import { smallCommands } from './small-commands.ts';
import { Terminal } from './terminal.ts';

/** What `gitlab deploy` and `gitlab uninstall` say and ask: the published commands before an agent in small. */
describe('a GitLab of the mesh, by its commands', () => {
  const here = smallCommands('deploy');

  const env = () => ({ PATH: process.env.PATH ?? '', HOME: here.home, TERM: 'dumb' });
  const { run } = here;
  const terminal = (...args: string[]) => new Terminal([process.execPath, bin, '--home', here.home, ...args], env());
  const asked = (kind: string) => here.agent.asked.filter((one) => Object.hasOwn(one as object, kind));
  const line = (state: 'ok' | 'warn' | 'fail', what: string, sentence: string, fix: string | null = null) => ({
    ...{ state, what, sentence, fix },
  });
  const hosted = (state: 'deploying' | 'healthy' | 'failed', phase: string | null, because = 'it boots') => ({
    ...{ mode: 'hosted' as const, state, url: 'http://kang.lan:8080', host: 'kang', version: '19.4.1' },
    hosted: {
      ...{ image: 'i', preset: 'homelab', folder: '/srv/gitlab', because },
      progress: phase === null ? null : { phase, percent: null },
    },
  });

  it('looks and says what it found; without anybody to answer it deploys nothing', async () => {
    here.agent.plan.lines = [
      line('ok', 'machine', 'kang, amd64'),
      line('warn', 'copies', 'one copy, on this machine alone'),
    ];
    const { code, stdout, stderr } = await run('gitlab', 'deploy', '--port', '9000', '--ssh-port', '0');
    expect([code, stdout]).toEqual([2, '']);
    expect(stderr).toMatch(/ {2}ok {4}machine {5}kang, amd64\n {2}warn {2}copies {6}one copy, on this machine alone\n/);
    expect(stderr).toContain(
      'error: nobody here can say that GitLab shall run on kang\nfix: the same command with --yes\n',
    );
    expect(asked('plan')).toMatchObject([
      { plan: { on: null, preset: 'homelab', port: 9000, sshPort: null, data: null } },
    ]);
    expect(asked('deploy')).toEqual([]);
  });

  it('a machine that is not fit is named with what helps, also with --yes', async () => {
    here.agent.plan.lines = [
      line('ok', 'machine', 'kang'),
      line('fail', 'ports', 'port 8080 is taken by nginx', 'name another: --port N'),
    ];
    const { code, stderr } = await run('gitlab', 'deploy', '--yes');
    expect(code).toBe(1);
    expect(stderr).toContain(
      '  fail  ports       port 8080 is taken by nginx\n                      -> name another: --port N\n',
    );
    expect(stderr).toContain('error: GitLab was not deployed: ports\nfix: name another: --port N\n');
    expect(asked('deploy')).toEqual([]);
    expect(JSON.parse((await run('gitlab', 'deploy', '--yes', '--json')).stdout)).toMatchObject({ state: 'refused' });
  });

  it('asks, tells each step, and at its end the address and the password', async () => {
    const typed = terminal('gitlab', 'deploy');
    await typed.until(/Deploy GitLab on kang as http:\/\/kang\.lan:8080\? \[y\/N\] $/);
    typed.type('y\n');
    // What the leader has committed is heard here a moment later.
    await expect.poll(() => asked('deploy')).toHaveLength(1);
    await new Promise((resolve) => setTimeout(resolve, 300));
    here.agent.gitlab = hosted('deploying', 'pulling the image');
    await typed.until(/deploying {3}pulling the image/);
    here.agent.gitlab = hosted('deploying', 'booting');
    await typed.until(/deploying {3}booting/);
    here.agent.password = 'cUx4-secret';
    here.agent.gitlab = hosted('healthy', null);
    expect(await typed.ended).toBe(0);
    expect(typed.text).toMatch(/serves {6}http:\/\/kang\.lan:8080, GitLab 19\.4\.1 on kang, after/);
    expect(typed.text).toContain("root's password, shown once: cUx4-secret");
    expect(asked('deploy')).toHaveLength(1);
  });

  it('answered with no, nothing happens', async () => {
    const typed = terminal('gitlab', 'deploy');
    await typed.until(/\[y\/N\] $/);
    typed.type('\n');
    expect(await typed.ended).toBe(1);
    expect(asked('deploy')).toEqual([]);
  });

  it('Ctrl-C ends the watching, and says that the mesh goes on', async () => {
    here.agent.gitlab = hosted('deploying', 'booting');
    const child = spawn(process.execPath, [bin, '--home', here.home, 'gitlab', 'deploy', '--yes'], { env: env() });
    let said = '';
    child.stderr.on('data', (data) => (said += data));
    await expect.poll(() => said, { timeout: 10_000 }).toMatch(/deploying {3}booting/);
    child.kill('SIGINT');
    expect(await new Promise((resolve) => child.once('close', resolve))).toBe(130);
    expect(said).toContain(`the mesh goes on deploying it: autogit-node --home ${here.home} gitlab`);
  });

  it('one that does not come up ends with the reason; a script gets all of it as JSON', async () => {
    here.agent.gitlab = hosted('failed', null, 'its container ended: out of memory');
    const { code, stdout, stderr } = await run('gitlab', 'deploy', '--yes', '--json');
    expect([code, JSON.parse(stdout)]).toEqual([1, { state: 'failed', because: 'its container ended: out of memory' }]);
    expect(stderr).toContain(
      `fix: mend that, then have it looked at again: autogit-node --home ${here.home} reconcile`,
    );
    here.agent.gitlab = hosted('healthy', null);
    here.agent.password = 'cUx4-secret';
    expect(JSON.parse((await run('gitlab', 'deploy', '--yes', '--json')).stdout)).toMatchObject({
      state: 'healthy',
      rootPassword: 'cUx4-secret',
    });
    expect(here.agent.password).toBeNull();
  });

  it("root's password is there once for who did not watch to the end", async () => {
    here.agent.password = 'cUx4-secret';
    // An answer that nobody got is no reason to forget it: it is the command that says, behind its output, what was seen.
    expect(await here.agent.gitlabPassword({})).toEqual({ password: 'cUx4-secret' });
    expect(await run('gitlab', 'password')).toMatchObject({ code: 0, stdout: 'cUx4-secret\n' });
    expect(asked('password').slice(1)).toEqual([{ password: null }, { password: 'cUx4-secret' }]);
    const { code, stderr } = await run('gitlab', 'password');
    expect([code, stderr]).toEqual([
      1,
      expect.stringMatching(/was shown before.*\nfix: .*autogit-node --home \S+ gitlab password root/),
    ]);
  });

  it('a user of GitLab gets a new password by name', async () => {
    here.agent.gitlab = hosted('healthy', null);
    expect(await run('--yes', 'gitlab', 'password', 'ann')).toMatchObject({ code: 0, stdout: 'once-ann\n' });
    expect(asked('password')).toEqual([{ password: 'ann' }]);
  });

  it('uninstalling names where the data stay; deleting them wants the name of the machine', async () => {
    expect((await run('gitlab', 'uninstall')).stderr).toContain('error: this mesh runs no GitLab itself');
    here.agent.gitlab = hosted('healthy', null);
    expect((await run('gitlab', 'uninstall')).code).toBe(2);
    const keep = terminal('gitlab', 'uninstall');
    await keep.until(/End GitLab on kang\? Its data stays in \/srv\/gitlab\. \[y\/N\] $/);
    keep.type('n\n');
    expect(await keep.ended).toBe(1);
    const other = terminal('gitlab', 'uninstall', '--delete-data');
    await other.until(/This DELETES GitLab on kang .* Type kang to do\s+it: $/s);
    other.type('y\n');
    expect(await other.ended).toBe(1);
    expect(asked('uninstall')).toEqual([]);
    const meant = terminal('gitlab', 'uninstall', '--delete-data');
    await meant.until(/to do\s+it: $/);
    meant.type('kang\n');
    await expect
      .poll(() => asked('uninstall'))
      .toEqual([{ uninstall: { deleteData: true, now: false, force: false } }]);
    here.agent.gitlab = {};
    expect(await meant.ended).toBe(0);
    expect(meant.text).toContain('GitLab is uninstalled');
  });

  describe('copies of it', () => {
    const standby = (node: string, more: object) => ({
      ...{ node, round: '1.40', ageMs: 12_300, inSync: true, state: 'in-sync' as const, because: 'has every push' },
      ...{ percent: null, chosen: 'a person named it' },
      ...more,
    });

    it('a deployment names who will hold them, before anybody agrees, and asks for those that were named', async () => {
      here.agent.plan.copies = ['desktop-1', 'desktop-2'];
      here.agent.plan.lines = [line('ok', 'copies', 'all of GitLab is copied to desktop-1 and desktop-2')];
      const shell = terminal('gitlab', 'deploy', '--copies', 'desktop-1,desktop-2');
      await shell.until(
        /Deploy GitLab on kang as http:\/\/kang\.lan:8080, copies of all of it on desktop-1 and desktop-2\?/,
      );
      shell.type('n\n');
      expect(await shell.ended).toBe(1);
      expect(asked('plan')).toMatchObject([{ plan: { copies: ['desktop-1', 'desktop-2'] } }]);
      await run('gitlab', 'deploy', '--copies', 'none');
      expect(asked('plan').at(-1)).toMatchObject({ plan: { copies: [] } });
      const both = await run('gitlab', 'deploy', '--copies', 'none,kang');
      expect(both.stderr).toContain('--copies none and a machine beside it');
    });

    it('says who holds what, and what a death would cost', async () => {
      here.agent.gitlab = {
        ...hosted('healthy', null),
        standbys: [
          standby('desktop-1', {}),
          standby('desktop-2', {
            state: 'catching-up',
            percent: 40.6,
            round: null,
            ageMs: null,
            because: 'a whole copy',
          }),
        ],
        loss: { pushes: false, seconds: 3 },
      };
      here.agent.agreed = ['desktop-1', 'desktop-2', 'pi'];
      const { stdout } = await run('gitlab', 'copies');
      expect(stdout.split('\n')).toEqual([
        'desktop-1\tin sync\t1.40\t12 s\thas every push',
        'desktop-2\tcatching up 40 %\t-\t-\ta whole copy',
        'pi\tnamed\t-\t-\tothers hold copies',
        '',
      ]);
      expect(JSON.parse((await run('gitlab', 'copies', '--json')).stdout)).toMatchObject({
        ...{ agreed: ['desktop-1', 'desktop-2', 'pi'], loss: { pushes: false, seconds: 3 } },
        standbys: [{ node: 'desktop-1' }, { node: 'desktop-2' }],
      });
    });

    it('a machine is looked at first; one that cannot is named with what helps, and nothing is asked', async () => {
      here.agent.copyLines = [line('fail', 'copies', 'pi: btrfs is not here', 'sudo apt-get install btrfs-progs')];
      const bad = await run('gitlab', 'copies', 'add', 'pi', '--yes');
      expect([bad.code, asked('agree')]).toEqual([1, []]);
      expect(bad.stderr).toContain('error: pi cannot hold copies of GitLab\nfix: sudo apt-get install btrfs-progs');
      here.agent.copyLines = [line('ok', 'copies', 'pi: /srv/copies, 40 GiB for it')];
      expect((await run('gitlab', 'copies', 'add', 'pi')).stderr).toContain('fix: the same command with --yes');
      const good = await run('gitlab', 'copies', 'add', 'pi', '--yes');
      expect(good.stdout).toBe('it holds copies of GitLab from now on\n');
      here.agent.agreed = ['pi'];
      await run('gitlab', 'copies', 'remove', 'pi', '--yes');
      expect(asked('agree')).toEqual([
        { agree: { node: 'pi', agreed: true } },
        { agree: { node: 'pi', agreed: false } },
      ]);
    });
  });

  describe('backups', () => {
    const vault = { target: '/mnt/disk', checkedAt: null, doing: null, problem: null, restored: null };
    // Newer than any question, however long the tests before took: one of a minute ago was there already.
    const soon = new Date(Date.now() + 3_600_000).toISOString();
    const lastMade = { id: 'abcdef01', at: soon, copies: ['/mnt/disk'] };

    it('names the place, makes one, and tells the key beside the data, not among it', async () => {
      here.agent.gitlab = { ...hosted('healthy', null), vault };
      here.agent.onceAsked('vault', 1, () => Object.assign(here.agent.gitlab, { lastBackup: lastMade }));
      const { code, stdout, stderr } = await run(
        'gitlab',
        'backup',
        '--to',
        '/mnt/disk',
        '--every',
        '12h',
        '--keep',
        '3,2,1',
      );
      expect([code, stdout]).toEqual([0, 'abcdef01\n']);
      const { password, ...wish } = (asked('vault')[0] as { vault: { password: string } }).vault;
      expect(stderr).toContain(`recovery key: ${password}\n`);
      expect(wish).toEqual({
        ...{ target: '/mnt/disk', isNew: true, credentials: {}, everyMs: 43_200_000 },
        keep: { daily: 3, weekly: 2, monthly: 1 },
      });
      for (const wrong of [
        ['--to', 'disk'],
        ['--to', 'rest:http://me:secret@nas/'],
        ['--to', '/mnt', '--keep', '0,1,1'],
        ['--to', '/mnt', '--every', '1s'],
        ['--to', '/mnt', '--every', '400d'],
      ]) {
        const refused = await run('gitlab', 'backup', ...wrong);
        expect([refused.code, refused.stderr.includes('fix: ')]).toEqual([2, true]);
      }
      expect(asked('vault')).toHaveLength(1);
      // Nothing is named by what failed: the fix names it.
      const { gitlabVault } = here.agent;
      here.agent.gitlabVault = () => Promise.reject(new AutogitError('backup', 'restic: no route to host'));
      expect((await run('gitlab', 'backup', '--to', '/mnt/other')).stderr).toMatch(
        /no route to host\nfix: look at the place that the backups go to, then again: .* gitlab backup --to \/mnt\/other\n$/,
      );
      here.agent.gitlabVault = gitlabVault;
      // What is left there is opened by that key alone, which the mesh forgets.
      const last =
        'what is at /mnt/disk is opened by this recovery key alone, which is shown for the last time: abcd-efgh';
      expect((await run('gitlab', 'backup', '--to', 'none')).stderr).toContain(last);
      here.agent.onceAsked('vault', 3, () =>
        Object.assign(here.agent.gitlab, { lastBackup: { ...lastMade, id: 'b' } }),
      );
      expect((await run('gitlab', 'backup', '--to', '/mnt/other')).stderr).toContain(last);
    });

    it('what keeps one from being made is the answer; of another GitLab than the mesh`s none is made', async () => {
      const problem = 'restic is not installed on this machine -> install it: apt install restic';
      here.agent.gitlab = {
        ...hosted('healthy', null),
        vault: { ...vault, doing: { what: 'backup', phase: 'copies', percent: 1 } },
      };
      here.agent.onceLookedAfter('backup', () => Object.assign(here.agent.gitlab, { vault: { ...vault, problem } }));
      const ill = await run('gitlab', 'backup');
      expect([ill.code, ill.stderr]).toEqual([
        1,
        'copies\nerror: restic is not installed on this machine\nfix: install it: apt install restic\n',
      ]);
      // One that had not said yet which was its newest: that one was not made now.
      const old = { ...lastMade, at: '2026-11-28T03:00:00Z' };
      here.agent.gitlab = { ...hosted('healthy', null), vault };
      here.agent.onceLookedAfter('backup', () => Object.assign(here.agent.gitlab, { lastBackup: old }));
      setTimeout(() => Object.assign(here.agent.gitlab, { lastBackup: { ...lastMade, id: 'fedcba10' } }), 4_000);
      expect((await run('gitlab', 'backup')).stdout).toBe('fedcba10\n');
      // An agent that was killed in its midst knows nothing of it.
      const doing = { what: 'backup' as const, phase: 'copies', percent: 1 };
      here.agent.gitlab = { ...hosted('healthy', null), lastBackup: lastMade, vault: { ...vault, doing } };
      setTimeout(() => Object.assign(here.agent.gitlab, { vault }), 2_000);
      const lost = await run('gitlab', 'backup');
      expect([lost.code, lost.stderr]).toEqual([
        1,
        expect.stringMatching(/error: the agent there was ended meanwhile: no backup was made\nfix: make one now: /),
      ]);
      here.agent.gitlab = { mode: 'connected' };
      expect((await run('gitlab', 'backup')).stderr).toContain('backs up no other');
      expect((await run('gitlab', 'fenced')).stderr).toMatch(/itself\nfix: autogit-node .*gitlab deploy\n$/);
      const own = { node: 'kang', container: 'gitlab', folder: '/srv/gitlab', version: null, way: null, because: '' };
      here.agent.gitlab = { mode: 'connected', protected: { ...own, lastBackup: null } as never };
      expect((await run('gitlab', 'diff')).stderr).toMatch(
        /^error: this mesh runs no GitLab itself\nfix: of the one that it backs up .*gitlab history\n$/,
      );
    });

    it('tries it from a copy, and tells each step as it is over', async () => {
      const step = (name: string, state = 'ok') => ({ step: name, state, ms: 1200, sentence: `${name} is ${state}` });
      const idle = { node: 'desktop-1', proven: null, last: null, doing: null, ended: null, waits: null };
      const drilled = (isProven: boolean, at: string) => ({
        ...idle,
        last: {
          at,
          round: '1.120',
          isProven,
          because: isProven ? 'GitLab works' : 'refs lead nowhere',
          steps: [step('boot'), step('refs')],
        },
      });
      here.agent.gitlab = { ...hosted('healthy', null), drills: [idle] };
      here.agent.onceAsked('drill', 1, () => {
        const doing = { phase: 'follows all refs', steps: [step('boot')] };
        Object.assign(here.agent.gitlab, { drills: [{ ...idle, doing }] });
        setTimeout(() => Object.assign(here.agent.gitlab, { drills: [drilled(true, 'a')] }), 2_000);
      });
      const good = await run('gitlab', 'drill');
      expect([good.code, good.stdout]).toEqual([0, 'proven: GitLab works (1.120 on desktop-1, 2.4 s)\n']);
      expect(good.stderr).toMatch(
        /a drill begins\n.*boot +1\.2 s {2}boot is ok\n +follows all refs\nok +refs +1\.2 s {2}refs is ok\n$/s,
      );
      here.agent.onceAsked('drill', 2, () => Object.assign(here.agent.gitlab, { drills: [drilled(false, 'b')] }));
      const bad = await run('gitlab', 'drill', '--on', 'desktop-1');
      expect([bad.code, bad.stderr]).toEqual([
        1,
        expect.stringContaining('error: GitLab does not come out whole of 1.120 on desktop-1: refs lead nowhere\n'),
      ]);
      const ended = { at: 'c', because: 'the owner of this machine is back' };
      here.agent.onceAsked('drill', 3, () =>
        Object.assign(here.agent.gitlab, { drills: [{ ...drilled(false, 'b'), ended }] }),
      );
      expect((await run('gitlab', 'drill')).stderr).toContain(
        'error: the drill on desktop-1 ended without a verdict: the owner of this machine is back\n',
      );
      here.agent.onceAsked('drill', 4, () => {
        Object.assign(here.agent.gitlab, { drills: [{ ...idle, doing: { phase: 'boots GitLab', steps: [] } }] });
        setTimeout(() => Object.assign(here.agent.gitlab, { drills: [idle] }), 2_000);
      });
      expect((await run('gitlab', 'drill')).stderr).toContain(
        'error: the drill on desktop-1 ended without a verdict: the agent there was ended meanwhile\n',
      );
      expect(asked('drill')).toEqual([{ drill: null }, { drill: 'desktop-1' }, { drill: null }, { drill: null }]);
    });
  });
});
