import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { LocalApi } from '../../node/agent/api.ts';
import { OwedRetries } from '../../node/agent/owed-retries.ts';
import { PauseSwitch } from '../../node/agent/pause.ts';
import { systemClock } from '../../node/clock.ts';
import { type SocketServer, serveSocket } from '../../node/local-api/unix-server.ts';
import { places } from '../../node/store/home.ts';
import { rehearsalTimings } from '../../scheduler/rehearsed-loss.ts';
import setUpBundle from '../e2e/bundle.ts';
import { cleanEnv, failing, runCli } from './cli-child.ts';
import { endMembers, expectOneHistory, type LabMember, labMesh, settled } from './member-lab.ts';
import { endParties, pause, until } from './network-party.ts';
import { SmallAgent } from './small-agent.ts';

const servers: SocketServer[] = [];
const homes: string[] = [];

beforeAll(() => setUpBundle());
afterEach(async () => {
  for (const one of servers.splice(0)) await one.close();
  for (const home of homes.splice(0)) rmSync(home, { recursive: true, force: true });
  await endMembers();
  await endParties();
});

const log = { warn: () => {}, error: () => {} };

async function served(api: Parameters<typeof serveSocket>[0]['api']): Promise<string> {
  const home = mkdtempSync(join(tmpdir(), 'autogit-rehearse-'));
  homes.push(home);
  servers.push(await serveSocket({ path: places(home).socket, api, log }));
  return home;
}

/** The published command before that member's own agent. */
async function commandAt(one: LabMember): Promise<(...args: string[]) => ReturnType<typeof runCli>> {
  const clock = systemClock();
  const api = new LocalApi({
    ...{ home: one.folder, network: one.network.network, clock, member: () => one.member },
    pause: new PauseSwitch({ get: async () => null, put: async () => {} }, () => clock.wallMs()),
    owed: new OwedRetries({ get: async () => null, put: async () => {} }, () => {}),
    words: () => ({ words: null, mesh: null }),
    leave: async () => 'gone',
    giveWay: { usual: null, byTag: [] },
    log: { info: () => {}, warn: () => {} },
    others: () => [],
    webhook: () => null,
  });
  const home = await served(api);
  return (...args) => runCli(['--home', home, ...args], cleanEnv(home));
}

/** Three machines, and which of them leads. */
async function three(): Promise<{ all: LabMember[]; leader: LabMember; others: [LabMember, LabMember] }> {
  const all = await labMesh(['kang', 'desktop-1', 'desktop-2']);
  const leader = await settled(all);
  return { all, leader, others: all.filter((one) => one !== leader) as [LabMember, LabMember] };
}

/** What a machine that watches asks of the one that leads. */
const fallSilent = (leader: LabMember, from: string, term = leader.term) =>
  leader.running.answer(from, { kind: 'fall-silent', term, forMs: 1750 });

const setGrace = (by: LabMember, value: number): Promise<void> => by.change({ kind: 'set', key: 'graceMs', value });

describe('rehearse leader-loss', () => {
  it.each(['another machine', 'the leader itself'])(
    'asked at %s: another one really leads, decides, and the old one is back by itself',
    async (where) => {
      const { all, leader, others } = await three();
      const { term } = leader;
      const run = await commandAt(where === 'the leader itself' ? leader : others[0]);
      failing(
        2,
        /nobody here can say that kang shall fall silent/,
        /--yes/,
      )(await run('-q', '--no-input', 'rehearse', 'leader-loss'));
      expect(leader.term).toBe(term);
      const done = await run('--yes', '--json', 'rehearse', 'leader-loss');
      expect([done.code, done.stderr.match(/^ +fail/m)]).toEqual([0, null]);
      const seen = JSON.parse(done.stdout);
      expect(seen).toMatchObject({ what: 'leader-loss', leader: 'kang', state: 'over', jobs: 0, lost: [] });
      // As fast as after a real death: by a refused look at its machine, not by the long timeout.
      expect(seen.ledMs).toBeLessThan(1200);
      expect(seen.decidedMs).toBeGreaterThanOrEqual(seen.ledMs);
      expect(seen.backMs).toBeGreaterThan(rehearsalTimings.silentMs - 300);
      expect(done.stderr).toMatch(/ok +election +desktop-\d leads in term \d+/);
      expect(done.stderr).toMatch(/ok +jobs +none was under way/);
      const next = await settled(all);
      expect(next.name).toBe(seen.next);
      expect(next).not.toBe(leader);
      await setGrace(leader, 222_000);
      await until(
        () => all.every(({ ledger }) => ledger.settings.graceMs === 222_000),
        'all have what was decided next',
      );
      expectOneHistory(all);
      // It stepped down before anybody else could lead.
      const events = leader.notes.map(({ event }) => event);
      expect(events.lastIndexOf('leader-lost')).toBeLessThan(events.lastIndexOf('leader-elected'));
      expect(leader.notes.find(({ event }) => event === 'leader-lost')?.sentence).toContain('its loss is rehearsed');
    },
    60_000,
  );

  it('nothing is rehearsed where nobody could decide without it', async () => {
    const { leader, others } = await three();
    const [stays, gone] = others;
    const run = await commandAt(stays);
    await gone.stop();
    await until(async () => (await run('-q', '--yes', 'rehearse', 'leader-loss')).code === 1, 'it is known to be away');
    const refused = await run('-q', '--yes', 'rehearse', 'leader-loss');
    expect(refused.stderr).toMatch(
      new RegExp(`^error: nothing is rehearsed: ${gone.name} does not answer: without ${leader.name} too few`, 'm'),
    );
    expect(leader.leads).toBe(true);
    expect(leader.term).toBe(stays.term);
    // Asked all the same, by a machine that looked a moment ago: the leader looks for itself.
    expect(await fallSilent(leader, stays.id)).toMatchObject({
      kind: 'refused',
      because: expect.stringContaining('too few'),
    });
    await pause(300);
    expect(leader.leads).toBe(true);
  }, 60_000);

  it('of another term, by one that does not vote, or for longer than a run may wait, is refused', async () => {
    const { leader, others } = await three();
    const [other] = others;
    expect(await fallSilent(leader, other.id, leader.term - 1)).toMatchObject({ kind: 'refused' });
    expect(await fallSilent(leader, 'stranger')).toMatchObject({ kind: 'refused' });
    await expect(
      other.network.network.ask(leader.id, { kind: 'fall-silent', term: leader.term, forMs: 60_000 }, 3000),
    ).rejects.toThrow();
    await pause(300);
    expect(leader.leads).toBe(true);
  }, 60_000);

  it('an agent that dies while it is silent is as any other when it starts again', async () => {
    const { all, leader, others } = await three();
    const [other] = others;
    await until(async () => (await fallSilent(leader, other.id)).kind === 'said', 'it is about to fall silent');
    expect(await fallSilent(leader, other.id)).toMatchObject({
      because: expect.stringMatching(/^the loss of \S+ was rehearsed less than a minute ago/),
    });
    await until(() => all.some((one) => one !== leader && one.leads), 'another one leads');
    await leader.stop();
    await leader.start();
    const next = await settled(all);
    await setGrace(next, 333_000);
    await until(() => all.every(({ ledger }) => ledger.settings.graceMs === 333_000), 'it follows');
    expectOneHistory(all);
  }, 60_000);
});

describe('rehearse host-loss', () => {
  const step = (name: string, ms: number) => ({ step: name, state: 'ok' as const, ms, sentence: 'well' });
  const steps = [step('secrets file', 1), step('clone', 800), step('boot', 90_000), step('refs', 400)];
  const last = { at: '2026-11-29T04:00:00Z', round: '1.5120', isProven: true, because: 'GitLab works', steps };
  const drilled = (over: object) => [
    { node: 'desktop-1', proven: null, doing: null, ended: null, waits: null, last, ...over },
  ];
  const hosted = {
    ...{ mode: 'hosted' as const, state: 'healthy' as const, url: 'http://192.168.1.10:8080', host: 'kang' },
    ...{ version: '19.3.0', loss: { pushes: false, seconds: 3 }, drills: drilled({ last: null }) },
  };

  it('tells how long each part took, and what would be lost; a copy that is not whole is a failure', async () => {
    const agent = new SmallAgent();
    const home = await served(agent);
    const run = (...args: string[]) => runCli(['--home', home, ...args], cleanEnv(home));
    agent.gitlab = { ...hosted };
    failing(2, /desktop-1 shall try GitLab/, /--yes/)(await run('-q', '--no-input', 'rehearse', 'host-loss'));
    expect(agent.asked).toEqual([{ rehearsal: 'host-loss' }]);
    agent.onceAsked('drill', 1, () => Object.assign(agent.gitlab, { drills: drilled({}) }));
    const done = await run('--yes', 'rehearse', 'host-loss');
    // Booted beside the grace of 45 s, from 5 s on: the longer of the two, and not their sum.
    expect([done.code, done.stdout]).toEqual([
      0,
      'had kang died, GitLab would serve on desktop-1 about 96 s later; no acknowledged push would be lost, and 3 s of all else\n',
    ]);
    expect(done.stderr).toMatch(
      /noticed +after 45 s[\s\S]*chosen +desktop-1[\s\S]*round +ready after 800 ms[\s\S]*boot .* 90 s; it begins after 5 s of silence, beforehand/,
    );
    expect(agent.asked).toContainEqual({ drill: 'desktop-1' });
    const outageOf = async (count: number, besideMs: number | null, bootMs: number): Promise<number> => {
      agent.gitlab = { ...hosted };
      agent.rehearsed = { ...agent.rehearsed, besideMs };
      const taken = { ...last, steps: [step('clone', 1000), step('boot', bootMs)] };
      agent.onceAsked('drill', count, () => Object.assign(agent.gitlab, { drills: drilled({ last: taken }) }));
      const told = JSON.parse((await run('--yes', '--json', 'rehearse', 'host-loss')).stdout);
      expect(told.besideMs).toBe(besideMs);
      return Math.round(told.outageMs - told.chosenMs);
    };
    expect(await outageOf(2, 5000, 20_000)).toBe(45_000);
    expect(await outageOf(3, null, 20_000)).toBe(66_000);
    agent.gitlab = { ...hosted };
    const notWhole = { ...last, isProven: false, because: 'a ref is gone' };
    agent.onceAsked('drill', 4, () => Object.assign(agent.gitlab, { drills: drilled({ last: notWhole }) }));
    const broken = await run('--yes', '--json', 'rehearse', 'host-loss');
    expect([broken.code, JSON.parse(broken.stdout).isWhole]).toEqual([1, false]);
    expect(broken.stderr).toContain('would not come out whole on desktop-1: a ref is gone');
  });

  it('is refused in words where nothing would go on, and nothing is begun', async () => {
    const agent = new SmallAgent();
    const home = await served(agent);
    agent.gitlab = { ...hosted };
    agent.rehearsed = {
      whose: 'kang',
      to: null,
      graceMs: null,
      besideMs: null,
      lines: [{ state: 'fail', what: 'mesh', sentence: 'no machine holds a copy of it', fix: null }],
    };
    const refused = await runCli(['--home', home, '--yes', '--json', 'rehearse', 'host-loss'], cleanEnv(home));
    expect([refused.code, JSON.parse(refused.stdout).state]).toEqual([1, 'refused']);
    expect(refused.stderr).toContain('nothing is rehearsed: no machine holds a copy of it');
    expect(agent.asked).toEqual([{ rehearsal: 'host-loss' }]);
  });
});
