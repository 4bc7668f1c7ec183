import { describe, expect, it } from 'vitest';
import { smallCommands } from './small-commands.ts';

/** What `gitlab move` says and asks: the published command before an agent in small. */
describe('gitlab move', () => {
  const here = smallCommands('move', (agent) => {
    agent.gitlab = { ...served };
  });

  const { run } = here;
  const asked = () => here.agent.asked.filter((one) => Object.hasOwn(one as object, 'move'));
  const served = {
    ...{ mode: 'hosted' as const, state: 'healthy' as const, url: 'http://192.168.1.10:8080', host: 'kang' },
    version: '19.3.0',
    hosted: { image: 'i', preset: 'homelab', folder: '/srv/gitlab', because: 'it answers', progress: null },
  };
  const wish = { from: 'kang', to: 'desktop-1' };
  const ended = { ...wish, because: 'asked on kang', at: '2026-11-29T04:00:00Z' };
  const there = { host: 'desktop-1', url: 'http://192.168.1.11:8080' };
  const soon = (ms: number, more: object) => setTimeout(() => Object.assign(here.agent.gitlab, more), ms);

  it('looks, asks, tells each step once and where GitLab is then', async () => {
    const silent = await run('--no-input', 'gitlab', 'move', 'desktop-1');
    expect([silent.code, silent.stderr]).toEqual([2, expect.stringContaining('the same command with --yes')]);
    expect(silent.stderr).toMatch(/^ +ok +copy +kang: in sync/m);
    expect(asked()).toEqual([]);
    here.agent.onceAsked('move', 1, () => {
      soon(0, { move: { wish, doing: { phase: 'it pulls the image', percent: 40 }, ended: null } });
      soon(800, { move: { wish, doing: { phase: 'the last round is taken', percent: null }, ended: null } });
      soon(1800, { ...there, move: { wish: null, doing: null, ended: { ...ended, isDone: true } } });
    });
    const done = await run('--yes', 'gitlab', 'move', 'desktop-1');
    expect([done.code, done.stdout]).toEqual([
      ...[0, expect.stringMatching(/^GitLab runs on desktop-1, http:\/\/192.168.1.11:8080, after /)],
    ]);
    expect(done.stderr).toMatch(/moving +it pulls the image: 40 %[\s\S]*moving +the last round is taken/);
    expect(asked()).toEqual([{ move: 'desktop-1' }]);
  });

  it('what speaks against it is a line with what helps, and nothing is asked for', async () => {
    const sentence = 'kang: desktop-1 is not in sync yet';
    here.agent.movePlan = {
      ...here.agent.movePlan,
      lines: [{ state: 'fail', what: 'copy', sentence, fix: 'autogit-node gitlab copies' }],
    };
    const refused = await run('--yes', '--json', 'gitlab', 'move', 'desktop-1');
    expect([refused.code, JSON.parse(refused.stdout).state]).toEqual([1, 'refused']);
    expect(refused.stderr).toMatch(/does not move to desktop-1: kang: desktop-1 is not in sync yet/);
    expect(refused.stderr).toMatch(/-> autogit-node .*gitlab copies/);
    expect(asked()).toEqual([]);
    here.agent.gitlab = { mode: 'none', state: 'absent', url: null, host: null, version: null };
    expect((await run('--yes', 'gitlab', 'move', 'desktop-1')).stderr).toContain('runs no GitLab itself');
  });

  it('a second one watches the first; that it went back is a failure with its reason, told once', async () => {
    const before = { ...ended, isDone: false, because: 'an earlier one', at: '2026-11-28T04:00:00Z' };
    here.agent.gitlab = {
      ...served,
      move: { wish, doing: { phase: 'GitLab ends here', percent: null }, ended: before },
    };
    const because = 'GitLab did not come up on desktop-1: its container ended';
    soon(1500, { move: { wish: null, doing: null, ended: { ...ended, isDone: false, because } } });
    const failed = await run('--yes', '--json', 'gitlab', 'move', 'desktop-1');
    expect([failed.code, JSON.parse(failed.stdout)]).toEqual([
      1,
      { state: 'failed', host: 'kang', url: served.url, because },
    ]);
    expect(failed.stderr).toContain(because);
    expect(asked()).toEqual([]);
  });

  it('is taken back by --cancel, which tells where GitLab stays', async () => {
    here.agent.gitlab = { ...served, move: { wish, doing: { phase: 'it pulls the image', percent: 40 }, ended: null } };
    const because = 'a person wants it no more';
    const stays = { move: { wish: null, doing: null, ended: { ...ended, isDone: false, because } } };
    here.agent.onceAsked('cancel', 1, () => soon(0, stays));
    const done = await run('gitlab', 'move', '--cancel');
    expect([done.code, done.stdout]).toEqual([
      0,
      'GitLab stays on kang, http://192.168.1.10:8080: a person wants it no more\n',
    ]);
    expect(here.agent.asked).toContainEqual({ cancel: null });
    here.agent.gitlab = { ...served, move: { wish, doing: null, ended: null } };
    const moved = { ...there, move: { wish: null, doing: null, ended: { ...ended, isDone: true } } };
    here.agent.onceAsked('cancel', 2, () => soon(0, moved));
    const late = await run('--json', 'gitlab', 'move', 'desktop-1', '--cancel');
    expect([late.code, late.stderr]).toEqual([1, expect.stringContaining('has moved to desktop-1 all the same')]);
    expect(JSON.parse(late.stdout)).toEqual({ state: 'moved', ...there, because: ended.because });
    expect(here.agent.asked).toContainEqual({ cancel: 'desktop-1' });
    expect((await run('gitlab', 'move')).stderr).toMatch(/missing required argument 'node'[\s\S]*gitlab move --help/);
  });

  it('does not go with the jobs of a machine that is paused: who pauses its host reads so, and who pauses its GPU alone does not', async () => {
    const words = '# GitLab goes on running on kang';
    expect((await run('pause', '--now')).stderr).toContain(words);
    expect((await run('pause', '--gpu')).stderr).not.toContain(words);
    here.agent.gitlab = { ...served, host: 'desktop-1' };
    expect((await run('pause')).stderr).not.toContain(words);
  });

  it('take-over says what is missing there, asks, and reaches the mesh; --cancel takes it back, clear-flag clears', async () => {
    const row = { node: 'desktop-1', round: '4.30', ageMs: 10_800_000, inSync: false, state: 'catching-up' as const };
    const standbys = [{ ...row, because: 'kang is away', percent: null, chosen: 'named' }];
    here.agent.gitlab = { ...served, epoch: 4, hosted: { ...served.hosted, data: 'k3v9q2m4' }, standbys };
    const silent = await run('--no-input', 'gitlab', 'take-over', 'desktop-1');
    expect([silent.code, silent.stderr]).toEqual([2, expect.stringContaining('the same command with --yes')]);
    const said = await run('--yes', 'gitlab', 'take-over', 'desktop-1');
    expect([said.code, said.stdout]).toEqual([0, expect.stringMatching(/-> autogit-node --home \S+ gitlab$/m)]);
    expect((await run('gitlab', 'take-over', '--cancel')).stdout).toContain("kang stays GitLab's host");
    expect((await run('gitlab', 'clear-flag')).code).toBe(0);
    const start = { kind: 'start-gitlab-at', data: 'k3v9q2m4', epoch: 4 };
    expect(here.agent.asked.filter((one) => Object.hasOwn(one as object, 'kind'))).toMatchObject([
      { ...start, to: 'desktop-1' },
      { ...start, to: null },
      { kind: 'clear-gitlab-flag', data: 'k3v9q2m4' },
    ]);
    expect((await run('--yes', 'gitlab', 'take-over', 'laptop')).stderr).toContain('laptop holds no copy of GitLab');
  });

  it('is a row of gitlab while it lasts, and afterwards how it ended', async () => {
    here.agent.gitlab = { ...served, move: { wish, doing: { phase: 'it pulls the image', percent: 40 }, ended: null } };
    expect((await run('gitlab')).stdout).toMatch(/^move\tfrom kang to desktop-1: it pulls the image, 40 %$/m);
    here.agent.gitlab = { ...served, ...there, move: { wish: null, doing: null, ended: { ...ended, isDone: true } } };
    expect((await run('gitlab')).stdout).toMatch(/^moved\tfrom kang to desktop-1, 2026-11-29T04:00:00Z$/m);
  });
});
