import { describe, expect, it } from 'vitest';
import type { NodeRow } from '../../protocol/status.ts';
import { nodeRow } from './node-row.ts';
import { smallCommands } from './small-commands.ts';

/** What `gitlab history`, `restore` and `diff` say: the published commands before an agent in small. */
describe('GitLab as it was, by its commands', () => {
  const here = smallCommands('deploy');

  const { run } = here;
  const asked = (kind: string) => here.agent.asked.filter((one) => Object.hasOwn(one as object, kind));
  const hosted = (state: 'deploying' | 'healthy' | 'failed', phase: string | null, because = 'it boots') => ({
    ...{ mode: 'hosted' as const, state, url: 'http://kang.lan:8080', host: 'kang', version: '19.4.1' },
    hosted: {
      ...{ image: 'i', preset: 'homelab', folder: '/srv/gitlab', because },
      progress: phase === null ? null : { phase, percent: null },
    },
  });

  const row = {
    id: 'abcdef01',
    at: Date.UTC(2026, 10, 28, 3),
    version: '19.4.1',
    epoch: 3,
    isOwn: true,
    because: 'a backup in /mnt/disk',
  };
  const vault = { target: '/mnt/disk', checkedAt: null, doing: null, problem: null, restored: null };

  it('lists what there is, restores one that a person means, and says how that ended', async () => {
    here.agent.gitlab = { ...hosted('healthy', null), epoch: 3, vault };
    here.agent.backups = [
      row,
      { ...row, id: 'replaced-2', epoch: 2, isOwn: true, because: 'what a restore has replaced' },
    ];
    const list = await run('gitlab', 'history');
    expect(list.stdout.split('\n')[0]).toMatch(
      /^abcdef01\t2026-11-28T03:00:00.000Z\tbackup\t19.4.1\t3\ta backup in \/mnt\/disk/,
    );
    expect((await run('gitlab', 'restore', 'abcdef01')).stderr).toContain('the same command with --yes');
    expect((await run('--yes', 'gitlab', 'restore', '12345678')).stderr).toContain(
      'there is no backup or round 12345678',
    );
    expect(asked('restore')).toEqual([]);
    const restored = {
      backup: 'abcdef01',
      isDone: false,
      because: 'GitLab did not come up with abcdef01, and has what it had',
    };
    here.agent.onceAsked('restore', 1, () => Object.assign(here.agent.gitlab, { vault: { ...vault, restored } }));
    const end = await run('--yes', 'gitlab', 'restore', 'abcdef01');
    expect([end.code, end.stderr]).toEqual([1, expect.stringContaining('has what it had')]);
    expect(asked('restore')).toEqual([{ restore: { backup: 'abcdef01' } }]);
    // By time, one project of it; that the last one ended so is no news of this one.
    const told = { backup: 'abcdef01', isDone: true, because: 'home/blog is home/blog-restored-1 now' };
    here.agent.onceAsked('restore', 2, () => Object.assign(here.agent.gitlab, { vault: { ...vault, restored: told } }));
    const at = ['--at', '2026-11-28 03:00'];
    const beside = await run('gitlab', 'restore', ...at, '--project', 'home/blog');
    expect([beside.code, beside.stdout, beside.stderr]).toEqual([
      ...[
        0,
        'home/blog is home/blog-restored-1 now\n',
        expect.stringContaining('the newest at or before that is abcdef01'),
      ],
    ]);
    expect(asked('restore').at(-1)).toEqual({ restore: { backup: 'abcdef01', project: 'home/blog' } });
    for (const [words, why] of [
      [['abcdef01', ...at], 'name either a backup (or a round), or a time'],
      [[], 'name either a backup (or a round), or a time'],
      [['--at', 'noon'], '"noon" is no time'],
      [['abcdef01', '--project', '../etc'], 'is no path of a project'],
      [['--at', '2026-11-28 02:59'], 'the oldest that there is is of 2026-11-28 03:00:00 UTC'],
    ] as const)
      expect((await run('gitlab', 'restore', ...words)).stderr).toContain(why);
    expect(await run('gitlab', 'backup', '--show-recovery-key')).toMatchObject({ code: 0, stdout: 'abcd-efgh\n' });
  });

  it('ends where its machine is gone in the midst of it, with what is known of that', async () => {
    const doing = { what: 'restore', phase: 'reads abcdef01 out of the repository', percent: 10 };
    here.agent.gitlab = { ...hosted('healthy', null), epoch: 3, vault: { ...vault, doing } };
    here.agent.backups = [row];
    const agent = here.agent;
    const heard = agent.status.bind(agent);
    const becomes = async (nodes: NodeRow[], gitlab: object): Promise<string> => {
      const times = asked('restore').length + 1;
      agent.onceAsked('restore', times, () => {
        Object.assign(agent.gitlab, gitlab);
        agent.status = () => ({ ...heard(), nodes });
      });
      const end = await run('--yes', 'gitlab', 'restore', 'abcdef01');
      agent.status = heard;
      expect([end.code, end.stdout]).toEqual([1, '']);
      return end.stderr;
    };
    const because = 'kang is silent for 60 s; GitLab goes on nowhere else by itself: no machine holds a copy of it';
    const away = { state: 'failed', vault: { ...vault, doing: null }, hosted: hosted('failed', null, because).hosted };
    const fix = `fix: what came of it: autogit-node --home ${here.home} gitlab diff abcdef01; then again: autogit-node --home ${here.home} gitlab restore abcdef01`;
    // Silent for a moment is not gone: an agent that is begun anew goes on.
    const silent = await becomes([nodeRow('kang', 'gone'), nodeRow('desktop-1', 'ready')], away);
    expect(silent).toContain(`error: nothing more is heard of abcdef01: ${because}\n${fix}`);
    const there = { ...hosted('healthy', null), host: 'desktop-1', epoch: 4, vault: { ...vault, doing: null } };
    const moved = "kang is not GitLab's host any more: desktop-1 goes on with what it has";
    expect(await becomes([nodeRow('kang', 'gone'), nodeRow('desktop-1', 'ready')], there)).toContain(moved);
    // Forgotten: no machine has that name, and GitLab's host is told by its number.
    Object.assign(agent.gitlab, { ...hosted('healthy', null), epoch: 3 });
    const removed = 'its host was removed from the mesh: autogit-node gitlab uninstall';
    const gone = { host: '12D3Koo', state: 'failed', hosted: hosted('failed', null, removed).hosted };
    expect(await becomes([nodeRow('desktop-1', 'ready')], gone)).toContain('its host was removed from the mesh');
  });

  it('of what a machine served before another one took over it lists, brings one project, and deletes on a yes alone', async () => {
    const kept = {
      node: 'kang',
      name: 'fenced-1',
      at: '2026-11-29T14:05:12Z',
      bytes: 3 * 2 ** 30,
      doing: null,
      brought: null,
    };
    here.agent.gitlab = { ...hosted('healthy', null), epoch: 2 };
    expect((await run('gitlab', 'fenced', 'drop', 'fenced-1')).stderr).toContain(
      'no machine that was heard keeps fenced-1',
    );
    expect((await run('--json', 'gitlab', 'fenced')).stdout.trim()).toBe('[]');
    here.agent.gitlab = { ...here.agent.gitlab, fenced: [kept] };
    expect((await run('gitlab', 'fenced')).stdout).toBe('fenced-1\tkang\t2026-11-29T14:05:12.000Z\t3 GiB\t-\n');
    expect((await run('gitlab')).stdout).toContain('fenced\tkang keeps fenced-1');
    // Not by accident: neither without a yes, nor by a name that makes no sense.
    here.agent.differences = [];
    const unsaid = await run('gitlab', 'fenced', 'drop', 'fenced-1');
    expect([unsaid.code, unsaid.stderr]).toEqual([
      2,
      expect.stringContaining('nobody here can say that fenced-1 shall be deleted'),
    ]);
    expect((await run('--yes', 'gitlab', 'fenced', 'drop', '../live')).code).toBe(1);
    expect(asked('drop')).toEqual([]);
    expect(await run('--yes', 'gitlab', 'fenced', 'drop', 'fenced-1')).toMatchObject({
      code: 0,
      stdout: 'fenced-1 is deleted\n',
    });
    expect(asked('drop')).toEqual([{ drop: { name: 'fenced-1', on: 'kang' } }]);

    expect((await run('--yes', 'gitlab', 'restore', 'fenced-1')).stderr).toContain(
      'fenced-1 takes no place of what serves',
    );
    const project = ['--project', 'home/blog'];
    const brought = { isDone: true, because: 'home/blog is home/blog-restored-1 now' };
    here.agent.onceAsked('bring', 1, () => Object.assign(here.agent.gitlab, { fenced: [{ ...kept, brought }] }));
    const end = await run('gitlab', 'restore', 'fenced-1', ...project);
    expect([end.code, end.stdout]).toEqual([0, 'home/blog is home/blog-restored-1 now\n']);
    expect(asked('bring')).toEqual([{ bring: { name: 'fenced-1', on: 'kang', project: 'home/blog' } }]);
    const failed = { isDone: false, because: 'nothing of fenced-1 was brought over: GitLab answered 502' };
    here.agent.onceAsked('bring', 2, () =>
      Object.assign(here.agent.gitlab, { fenced: [{ ...kept, brought: failed }] }),
    );
    const bad = await run('gitlab', 'restore', 'fenced-1', ...project);
    expect([bad.code, bad.stderr]).toEqual([1, expect.stringContaining('GitLab answered 502')]);
  });

  it('says page by page what is not as it was then', async () => {
    here.agent.gitlab = { ...hosted('healthy', null), epoch: 3, vault };
    here.agent.backups = [row, { ...row, id: 'replaced-2', epoch: 2, isOwn: true }];
    const id = (digit: string) => digit.repeat(40);
    const one = { repository: 'home/blog', what: 'ref' as const, then: id('a'), now: id('b'), added: 1, lost: 0 };
    here.agent.differences = Array.from({ length: 70 }, (_, index) => ({ ...one, ref: `refs/heads/${index}` }));
    const brief = await run('gitlab', 'diff');
    expect(brief.stdout.split('\n')[0]).toBe('home/blog\trefs/heads/0\taaaaaaaaaa\tbbbbbbbbbb\t1 commit since');
    expect([brief.stdout.trim().split('\n').length, brief.stderr]).toEqual([
      ...[40, expect.stringContaining(`and 30 more: autogit-node --home ${here.home} gitlab diff replaced-2 --all`)],
    ]);
    const all = JSON.parse((await run('--json', 'gitlab', 'diff', 'fenced-7')).stdout);
    expect([all.with, all.rows.length, all.total]).toEqual(['fenced-7', 70, 70]);
    // Both sides of a recovery by force served: whoever looks ends that, and is told so.
    const fix = 'autogit-node gitlab diff fenced-7';
    const now = here.agent.status();
    const attention = [{ code: 'gitlab-two-sides', severity: 'fail' as const, sentence: 'no push is taken', fix }];
    here.agent.status = () => ({ ...now, attention });
    expect((await run('gitlab', 'diff', 'fenced-7')).stderr).toContain('GitLab takes pushes again');
    expect((await run('gitlab', 'diff', 'fenced-70')).stderr).not.toContain('takes pushes again');
    here.agent.status = () => now;
    expect((await run('gitlab', 'diff', '--at', '2026-11-28 03:00', '--all')).stdout.trim().split('\n')).toHaveLength(
      70,
    );
    here.agent.backups = [];
    expect((await run('gitlab', 'diff')).stderr).toContain('nothing yet that GitLab could be compared with');
  });
});
