import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { serveSocket } from '../../node/local-api/unix-server.ts';
import { places } from '../../node/store/home.ts';
import { bin, cleanEnv } from './cli-child.ts';
import { SmallAgent } from './small-agent.ts';
import { smallCommands } from './small-commands.ts';
import { Terminal } from './terminal.ts';

/** Commands that go on: what Ctrl-C does to them, and an agent that goes and comes. */
describe('a command that watches', () => {
  const served = {
    ...{ mode: 'hosted' as const, state: 'healthy' as const, url: 'http://kang.lan', host: 'kang', version: '19.3.0' },
    hosted: { image: 'i', preset: 'homelab', folder: '/srv/gitlab', because: 'it answers', progress: null },
  };
  const here = smallCommands('watching', (agent) => {
    agent.gitlab = { ...served };
  });
  const begin = (
    ...words: string[]
  ): { child: ChildProcess; said(): string; out(): string; ended: Promise<unknown> } => {
    const child = spawn(process.execPath, [bin, '--home', here.home, ...words], { env: cleanEnv(here.home) });
    let [said, out] = ['', ''];
    child.stderr.on('data', (data) => (said += data));
    child.stdout.on('data', (data) => (out += data));
    const ended = new Promise((resolve) => child.once('close', resolve));
    return { child, said: () => said, out: () => out, ended };
  };

  const wish = { from: 'kang', to: 'desktop-1' };
  const image = 'gitlab/gitlab-ce:19.4.1-ce.0';
  const watched: [string, object, string[], RegExp][] = [
    [
      'gitlab move',
      { move: { wish, doing: { phase: 'it pulls the image', percent: null }, ended: null } },
      ['desktop-1'],
      /the mesh goes on moving it: autogit-node --home \S+ gitlab/,
    ],
    [
      'gitlab upgrade',
      {
        upgrade: {
          ...{ wish: { image, from: '19.3.0', to: '19.4.1' }, ended: null, rehearsed: null },
          doing: { what: 'upgrade', to: '19.4.1', phase: 'it pulls the image', percent: null },
        },
      },
      ['--image', image],
      /the mesh goes on upgrading it: autogit-node --home \S+ gitlab/,
    ],
  ];
  it.each(watched)('%s: Ctrl-C ends the watching, and says that the mesh goes on', async (name, gitlab, more, last) => {
    Object.assign(here.agent.gitlab, gitlab);
    const { child, said, ended } = begin(...name.split(' '), ...more);
    await expect.poll(said, { timeout: 20_000 }).toContain('it pulls the image');
    child.kill('SIGINT');
    expect(await ended).toBe(130);
    expect(said()).toMatch(last);
  });

  it('before it watches, Ctrl-C ends it at once', async () => {
    const never = (): never => new Promise(() => {}) as never;
    here.agent.gitlabMovePlan = never;
    const { child, ended } = begin('--yes', 'gitlab', 'move', 'desktop-1');
    await expect.poll(() => here.agent.looks, { timeout: 20_000 }).toBeGreaterThan(0);
    await new Promise((resolve) => setTimeout(resolve, 500));
    const at = performance.now();
    child.kill('SIGINT');
    expect(await ended).toBe(130);
    expect(performance.now() - at).toBeLessThan(3_000);
  });

  const row = {
    ...{ job: 16, name: 'train', project: 'lab/vision', ref: 'main', tags: [], state: 'running' as const },
    ...{ node: 'kang', attempt: 1, queuedAt: null, startedAt: null, finishedAt: null, exitCode: null, because: '' },
  };
  it.each([
    ['jobs', '-w', '200ms'],
    ['settings', '-w'],
    ['events', '-f'],
  ])('%s %s goes on over a restart of its agent', async (...words) => {
    here.agent.rows = [row];
    here.agent.events = [event('1', 'kang leads in term 1')];
    const { child, said, out } = begin(...words);
    await expect.poll(out, { timeout: 20_000 }).not.toBe('');
    await here.close();
    await expect.poll(said, { timeout: 20_000 }).toContain('# waiting for the agent: no agent');
    const next = new SmallAgent();
    next.rows = [{ ...row, job: 17 }];
    next.graceMs = 7_000;
    next.events = [event('2', 'desktop-1 leads in term 2')];
    const log = { warn: () => {}, error: () => {} };
    const server = await serveSocket({ path: places(here.home).socket, api: next, log });
    const news = { jobs: /^17\trunning/m, settings: /^graceMs\t7000/m, events: /desktop-1 leads in term 2/ };
    await expect.poll(out, { timeout: 20_000 }).toMatch(news[words[0] as keyof typeof news]);
    child.kill('SIGKILL');
    await server.close();
  });
  const event = (id: string, sentence: string) => ({
    ...{ id: id.padStart(16, '0'), at: new Date().toISOString(), kind: 'election' as const, severity: 'info' as const },
    ...{ node: null, sentence, because: null },
  });

  it('a pause of the GPU on a machine without one says that it keeps nothing away, unless all is paused', async () => {
    const status = here.agent.status.bind(here.agent);
    const gone = { version: null, address: null, lastHeardMs: 0, arch: null, os: null, room: null, because: null };
    const self = (paused?: 'all') => ({
      ...{ node: 'kang', id: 'kang', self: true, state: 'ready', voter: true, runs: [], labels: [], owner: null },
      ...{ ...gone, capacity: { cpuMillis: 1, memoryBytes: 1, diskBytes: 1, gpus: [] }, ...(paused && { paused }) },
    });
    here.agent.status = () => ({ ...status(), nodes: [self()] as never });
    expect((await here.run('pause', '--gpu')).stderr).toContain('no GPU that jobs could use: they still come');
    here.agent.status = () => ({ ...status(), nodes: [self('all')] as never });
    expect((await here.run('pause', '--gpu')).stderr).not.toContain('still come');
  });

  it('what asks a person fails with --no-input, and is done with --yes or where a script says it', async () => {
    const kinds = (): string[] =>
      here.agent.asked.map((one) => JSON.stringify(one)).filter((one) => one.includes('forget'));
    const refused = await here.run('--no-input', 'forget', 'desktop-1');
    expect([refused.code, refused.stderr]).toEqual([
      2,
      expect.stringMatching(/nobody has answered: Remove desktop-1[\s\S]*--yes/),
    ]);
    const left = await here.run('--no-input', 'gitlab', 'password', 'ann');
    expect([left.code, kinds()]).toEqual([2, []]);
    expect((await here.run('--no-input', '--yes', 'forget', 'desktop-1')).code).toBe(0);
    expect((await here.run('forget', 'desktop-1')).code).toBe(0);
  });

  it.runIf(existsSync('/dev/full'))('output that does not fit on its disk is said, and is no fault to report', () => {
    for (const words of ['paths', 'config', 'version --json']) {
      const script = `"$0" "$1" --home "$2" ${words} > /dev/full`;
      // Without what the tests set for themselves, of which it would say that it means nothing.
      const env = { PATH: process.env.PATH, HOME: here.home };
      const full = spawnSync('bash', ['-c', script, process.execPath, bin, here.home], { encoding: 'utf8', env });
      const told = expect.stringMatching(/^error: .*does not fit.*\nfix: make room.*\n$/);
      expect([words, full.status, full.stderr]).toEqual([words, 1, told]);
    }
  });

  it('jobs -w at a terminal ends with q, and gives the terminal back', async () => {
    here.agent.rows = [row];
    const screen = new Terminal([process.execPath, bin, '--home', here.home, 'jobs', '-w', '200ms'], {
      ...{ PATH: process.env.PATH, HOME: here.home },
    });
    await screen.until(/16 +running +kang +train/);
    screen.type('q');
    expect(await screen.ended).toBe(0);
    expect(screen.isGivenBack).toBe(true);
  });
});
