import { describe, expect, it } from 'vitest';
import { nodeRow } from './node-row.ts';
import { smallCommands } from './small-commands.ts';

/** What `gitlab upgrade` says and asks: the published command before an agent in small. */
describe('gitlab upgrade', () => {
  const here = smallCommands('upgrade', (agent) => {
    agent.gitlab = served;
  });

  const { run } = here;
  const asked = (kind: string) => here.agent.asked.filter((one) => Object.hasOwn(one as object, kind));
  const served = {
    ...{
      mode: 'hosted' as const,
      state: 'healthy' as const,
      url: 'http://kang.lan:8080',
      host: 'kang',
      version: '19.3.0',
    },
    hosted: { image: 'i', preset: 'homelab', folder: '/srv/gitlab', because: 'it answers', progress: null },
  };
  const image = 'gitlab/gitlab-ce:19.4.1-ce.0';
  const none = { wish: null, doing: null, ended: null, rehearsed: null };
  const wish = { image, from: '19.3.0', to: '19.4.1' };
  const soon = (ms: number, upgrade: object) =>
    setTimeout(() => Object.assign(here.agent.gitlab, { upgrade: { ...none, ...upgrade } }), ms);
  const doing = { what: 'upgrade', to: '19.4.1', phase: 'pulls the image', percent: 40 };

  it('looks, asks, tells each step and how it ended; what runs already is no fault', async () => {
    here.agent.gitlab = { ...served };
    expect((await run('gitlab', 'upgrade')).stderr).toContain('the same command with --yes');
    here.agent.onceAsked('upgrade', 1, () => {
      soon(0, { wish, doing });
      soon(1_200, { ended: { image, isDone: true, because: 'GitLab is 19.4.1', at: '2026-11-29T04:00:00Z' } });
    });
    const done = await run('--yes', 'gitlab', 'upgrade', '--no-rehearsal');
    expect([done.code, done.stdout]).toEqual([0, expect.stringMatching(/^GitLab is 19.4.1, after /)]);
    expect(done.stderr).toMatch(/ok +version +19.3.0 to 19.4.1[\s\S]*upgrading +pulls the image: 40 %/);
    expect(asked('upgrade')).toEqual([{ upgrade: { image, rehearse: false } }]);
    here.agent.upgradePlan = { ...here.agent.upgradePlan, from: '19.4.1' };
    expect(await run('gitlab', 'upgrade')).toMatchObject({ code: 0, stdout: 'GitLab 19.4.1 runs already\n' });
  });

  it('asked twice it is one; what failed is the answer, with what helps', async () => {
    here.agent.gitlab = { ...served, upgrade: { ...none, wish, doing } };
    const because = 'GitLab stays as it is: no room -> make some: df -h';
    soon(1_500, { ended: { image, isDone: false, because, at: '2026-11-29T04:00:00Z' } });
    const failed = await run('gitlab', 'upgrade');
    expect([failed.code, failed.stderr]).toEqual([
      1,
      expect.stringContaining('error: GitLab stays as it is: no room\nfix: make some: df -h\n'),
    ]);
    expect([asked('plan'), asked('upgrade')]).toEqual([[], []]);
    here.agent.upgradePlan.lines = [
      { state: 'fail', what: 'version', sentence: '19.4.1 is older', fix: 'take another' },
    ];
    const older = await run('--yes', 'gitlab', 'upgrade', '--image', 'gitlab/gitlab-ce:19.0.0-ce.0');
    expect([older.code, older.stderr]).toEqual([1, expect.stringContaining('fix: take another')]);
  });

  it('ends where its machine is gone, which alone can go on with it', async () => {
    const because = 'kang is silent for 60 s; GitLab goes on nowhere else by itself: it is being upgraded';
    here.agent.gitlab = { ...served, upgrade: { ...none, wish, doing } };
    const heard = here.agent.status.bind(here.agent);
    setTimeout(() => {
      Object.assign(here.agent.gitlab, { state: 'failed', hosted: { ...served.hosted, because } });
      here.agent.status = () => ({ ...heard(), nodes: [nodeRow('kang', 'gone')] });
    }, 1_500);
    const lost = await run('gitlab', 'upgrade');
    expect([lost.code, lost.stderr]).toEqual([
      1,
      expect.stringContaining(
        `error: nothing more is heard of the upgrade: ${because}\nfix: its agent goes on with it`,
      ),
    ]);
  });

  it('a rehearsal asks nobody, and says how long it took', async () => {
    here.agent.gitlab = { ...served };
    here.agent.onceAsked('rehearse', 1, () => {
      soon(0, { doing: { ...doing, what: 'rehearsal' } });
      soon(1_000, { rehearsed: { image, isDone: true, because: 'it came up after 70 s', seconds: 70 } });
    });
    const tried = await run('gitlab', 'upgrade', '--rehearse');
    expect(tried).toMatchObject({ code: 0, stdout: 'it came up after 70 s. Nothing was changed.\n' });
    expect([asked('rehearse'), asked('upgrade')]).toEqual([[{ rehearse: image }], []]);
  });
});
