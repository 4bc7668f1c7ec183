import { describe, expect, it } from 'vitest';
import { smallCommands } from './small-commands.ts';

/** What `gitlab adopt` says and asks: the published command before an agent in small. */
describe('gitlab adopt', () => {
  const here = smallCommands('adopt', (agent) => {
    agent.adoptPlan = {
      ...{ host: 'kang', url: 'http://kang.lan:8929' },
      found: {
        ...{ container: 'gitlab', image: 'gitlab/gitlab-ce:17.5.1-ce.0', hostname: 'kang.lan', port: 8929 },
        ...{ folder: '/srv/place', awayMs: 300_000 },
      },
      lines: [{ state: 'ok', what: 'container', sentence: 'gitlab runs', fix: null }],
    };
  });

  const { run } = here;
  const asked = (kind: string) => here.agent.asked.filter((one) => Object.hasOwn(one as object, kind));
  const soon = (ms: number, more: Partial<typeof here.agent.adoption>) =>
    setTimeout(() => Object.assign(here.agent.adoption, more), ms);

  it('looks, asks, tells how far it is, and what is kept; nothing is begun by an answer that was not given', async () => {
    expect((await run('gitlab', 'adopt')).stderr).toMatch(
      /ok +container +gitlab runs[\s\S]*the same command with --yes/,
    );
    // Its ports stay what they are: another one that was typed is not passed over.
    const typed = await run('--yes', 'gitlab', 'adopt', 'gitlab', '--port', '9000');
    expect([typed.code, typed.stderr]).toEqual([2, expect.stringContaining('--port is for data of a mesh')]);
    expect(asked('adopt')).toEqual([]);
    soon(3500, { state: 'served', because: 'the old container is kept as gitlab-before-autogit' });
    Object.assign(here.agent, { gitlab: { mode: 'hosted', url: 'http://kang.lan:8929', host: 'kang' } });
    const done = await run('--yes', 'gitlab', 'adopt', 'gitlab', '--on', 'kang', '--preset', 'minimal');
    expect([done.code, done.stdout, done.stderr]).toEqual([
      0,
      'the old container is kept as gitlab-before-autogit\n',
      expect.stringMatching(/adopting +copies its data: 10 %[\s\S]*ok +serves +http:\/\/kang.lan:8929 on kang/),
    ]);
    expect(asked('adopt')).toEqual([
      { adopt: { on: 'kang', container: 'gitlab', preset: 'minimal', hostname: null, data: null } },
    ]);
  });

  it('one that is under way is watched and not asked for again; that it went back is the answer, with why', async () => {
    Object.assign(here.agent.adoption, { state: 'under-way', phase: 'boots', problem: 'no majority' });
    soon(1500, { state: 'returned', because: 'the copy failed: no space', problem: null });
    const back = await run('--json', 'gitlab', 'adopt');
    expect([back.code, JSON.parse(back.stdout), back.stderr]).toEqual([
      1,
      { state: 'returned', because: 'the copy failed: no space', host: 'kang', url: null },
      expect.stringMatching(/waits +no majority[\s\S]*not taken over, and it is as it was: the copy failed: no space/),
    ]);
    expect([asked('adopt'), asked('adoption')]).toEqual([[], []]);
  });

  it('what was found and speaks against it is shown with what helps, and nothing is begun', async () => {
    const line = {
      state: 'fail' as const,
      what: 'ports',
      sentence: 'it publishes no port',
      fix: 'docker run -p 8929:80',
    };
    here.agent.adoptPlan = { ...here.agent.adoptPlan, found: null, url: null, lines: [line] };
    const refused = await run('--yes', 'gitlab', 'adopt');
    expect([refused.code, refused.stderr]).toEqual([
      1,
      expect.stringMatching(/no GitLab on kang is taken over: it publishes no port[\s\S]*fix: docker run -p 8929:80/),
    ]);
    expect(asked('adopt')).toEqual([]);
  });

  it('--data of a mesh that is gone: says what it is and how old, asks, and watches until GitLab serves', async () => {
    here.agent.left = {
      ...{ host: 'kang', isPlace: true, url: 'http://kang.lan:8080' },
      found: {
        ...{ path: '/mnt/disk/copies', mesh: '2f6c19d0-of-before', data: 'k3v9q2m4', what: 'copies', epoch: 7 },
        ...{ round: '0-7-51201', at: Date.now() - 180_000, version: '19.4.1', image: 'gitlab/gitlab-ce:19.4.1-ce.0' },
      },
      lines: [{ state: 'warn', what: 'mesh', sentence: 'no machine of mesh 2f6c19d0 is in sight', fix: null }],
    };
    const unasked = await run('gitlab', 'adopt', '--data', '/mnt/disk/copies');
    expect([unasked.code, unasked.stderr]).toEqual([
      2,
      expect.stringMatching(/warn +mesh +no machine of mesh 2f6c19d0 is in sight[\s\S]*the same command with --yes/),
    ]);
    expect(asked('regain')).toEqual([]);
    Object.assign(here.agent, {
      gitlab: { mode: 'hosted', state: 'healthy', url: 'http://kang.lan:8080', host: 'kang', version: '19.4.1' },
    });
    const done = await run('--yes', 'gitlab', 'adopt', '--data', '/mnt/disk/copies', '--port', '8090');
    expect([done.code, done.stderr]).toEqual([0, expect.stringMatching(/serves[\s\S]*with the recovery key/)]);
    expect(asked('regain')).toMatchObject([
      { regain: { data: '/mnt/disk/copies', image: null, port: 8090, on: null } },
    ]);
    // What cannot be taken is refused before anything is asked; where nothing of a mesh lies, DIR is for a container's data.
    here.agent.left = {
      ...here.agent.left,
      found: null,
      lines: [{ state: 'fail', what: 'place', sentence: 'it is half of a GitLab', fix: 'name another' }],
    };
    const refused = await run('--yes', 'gitlab', 'adopt', '--data', '/mnt/disk/copies');
    expect([refused.code, refused.stderr]).toEqual([1, expect.stringContaining('it is half of a GitLab')]);
    expect(asked('regain')).toHaveLength(1);
    here.agent.left = { ...here.agent.left, isPlace: false, lines: [] };
    soon(1500, { state: 'served', because: 'kept' });
    expect((await run('--yes', 'gitlab', 'adopt', '--data', '/srv/new')).code).toBe(0);
    expect(asked('adopt')).toMatchObject([{ adopt: { data: '/srv/new' } }]);
  });
});
