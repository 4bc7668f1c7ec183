import { describe, expect, it } from 'vitest';
import { RehearsalRequests } from '../../node/agent/rehearsal-requests.ts';
import { Answer, type Ask } from '../../protocol/asks.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import { clockDrift, sharedTimings } from '../../protocol/timings.ts';
import { hostingTimings } from '../../scheduler/hosting/hosting-timings.ts';
import { raftTimings } from '../../scheduler/raft/raft-timings.ts';
import {
  lostAmong,
  openRuns,
  planLeaderLoss,
  rehearsalTimings,
  whyGitlabIsBusy,
} from '../../scheduler/rehearsed-loss.ts';
import { leaderContactAt, leaderOf } from '../../scheduler/views.ts';
import { Standby } from './beside-lab.ts';
import { copiesLab } from './copies-lab.ts';
import type { Lab } from './jobs-lab.ts';
import { labRun } from './jobs-lab-machines.ts';
import { mesh } from './raft-cluster.ts';
import { viewOf } from './snapshot-lab.ts';

const { silentMs, pauseMs } = rehearsalTimings;

it('the silence is long enough for an election without evidence, and too short for anything else', () => {
  expect(silentMs).toBeGreaterThan(raftTimings.longTimeoutMs + 2 * raftTimings.staggerMs);
  expect(silentMs).toBeLessThan(sharedTimings.runLeaseMs);
  expect(silentMs).toBeLessThan(sharedTimings.standsStillMs);
  // A host that leads has asked for its lease no longer ago than it asks again, and asks once more afterwards.
  const { leaseMs, renewMs, silentSaidMs } = hostingTimings;
  expect((silentMs + 2 * renewMs) * (1 + clockDrift)).toBeLessThan(leaseMs);
  expect(silentMs).toBeLessThan(silentSaidMs);
  expect(pauseMs).toBeGreaterThanOrEqual(raftTimings.falseAlarmMs);
});

describe('a leader whose loss is rehearsed (SAFETY L12, J1)', () => {
  it('leads no more in the same step, keeps its term and vote, and stands for nothing until it is back', () => {
    const cluster = mesh('kang', 'desktop-1', 'desktop-2');
    cluster.run(5000);
    const { term, votedFor } = cluster.box('kang').state!.raft;
    const contactAt = leaderContactAt(cluster.box('kang').state!);
    const effects = cluster.feed('kang', { kind: 'silence-asked', forMs: silentMs });
    const { raft } = cluster.box('kang').state!;
    expect([raft.leading, leaderOf(cluster.box('kang').state!)]).toEqual([null, null]);
    expect([raft.term, raft.votedFor]).toEqual([term, votedFor]);
    expect(effects.filter(({ kind }) => kind === 'send')).toEqual([]);
    // What its runs may go on by is no newer, and no older.
    expect(leaderContactAt(cluster.box('kang').state!)).toBe(contactAt);
    for (const other of ['desktop-1', 'desktop-2'])
      for (const way of [`kang>${other}`, `${other}>kang`]) cluster.cut.add(way);
    cluster.run(silentMs);
    expect(cluster.box('kang').state!.raft.term).toBe(term);
    expect(cluster.sent.filter(({ from, message }) => from === 'kang' && message.kind === 'pre-vote')).toEqual([]);
    cluster.cut.clear();
    cluster.run(2000);
    expect(cluster.leaders()).toHaveLength(1);
    expect(cluster.leaders()).not.toEqual(['kang']);
    expect(Object.keys(cluster.voters(cluster.leaders()[0]!))).toHaveLength(3);
  });

  it('leads on where nobody else came to it in that time', () => {
    const cluster = mesh('kang', 'desktop-1', 'desktop-2');
    cluster.run(5000);
    cluster.feed('kang', { kind: 'silence-asked', forMs: 0 });
    cluster.run(4000);
    expect(cluster.leaders()).toHaveLength(1);
  });

  it('is nothing to one that follows', () => {
    const cluster = mesh('kang', 'desktop-1', 'desktop-2');
    cluster.run(5000);
    cluster.feed('desktop-1', { kind: 'silence-asked', forMs: silentMs });
    cluster.run(1000);
    expect(cluster.leaders()).toEqual(['kang']);
  });
});

describe('whether it is rehearsed', () => {
  const why = (all: Lab, over: Parameters<typeof viewOf>[2] = {}) =>
    planLeaderLoss(viewOf(all, 'laptop', over)).because;
  function lab(change: (ledger: Ledger) => Ledger = (same) => same): Lab {
    const all = copiesLab(
      ['desktop-1'],
      {
        standbys: [{ node: 'desktop-1', because: 'named' }],
        set: { version: 1, members: ['desktop-1'], last: null, boot: 'b' },
      },
      'http://g',
    );
    all.run(5000);
    all.accepted = change(all.accepted);
    all.committed = all.accepted;
    all.elect('desktop-1');
    all.run(2000);
    return all;
  }
  const hosted = (over: object) =>
    lab((ledger) => ({
      ...ledger,
      gitlab: { ...ledger.gitlab, hosted: { ...ledger.gitlab.hosted!, ...over } },
    }));

  it('not in a mesh of two, while a vote is missing, or who votes is being changed', () => {
    const all = lab();
    expect(why(all)).toBeNull();
    const { kang, 'desktop-1': first } = all.committed.configuration.voters;
    const two = { kang: { ...kang!, weight: 3 }, 'desktop-1': { ...first!, weight: 2 } };
    expect(why(lab((ledger) => ({ ...ledger, configuration: { voters: two, next: null } })))).toBe(
      '2 machines of this mesh vote: without desktop-1 nothing could be decided until it is back',
    );
    const next = lab((ledger) => ({ ...ledger, configuration: { ...ledger.configuration, next: two } }));
    expect(why(next)).toContain('who votes is being changed');
    const silent = { liveness: () => ({ state: 'silent' as const, since: 0 }) };
    expect(why(all, silent)).toContain('too few of the machines that vote are left');
    expect(why(all, { leader: null })).toContain('no machine leads now');
  });

  it('not while GitLab moves, is upgraded or uninstalled, its host is silent, or a machine of a former era is unseen', () => {
    const move = { from: 'desktop-1', to: 'kang', since: 0, because: 'asked' };
    expect(why(hosted({ move }))).toContain('GitLab is moving to kang');
    expect(why(hosted({ upgrade: { image: 'i' } }))).toContain('being upgraded');
    expect(why(hosted({ ending: { since: 0 } }))).toContain('being uninstalled');
    const recovery = {
      by: 'kang',
      at: 0,
      from: { era: { id: 'e', counter: 1 }, stamp: { term: 1, version: 1 } },
      off: [],
    };
    expect(why(lab((ledger) => ({ ...ledger, recovery: { ...recovery, unseen: ['desktop-2'] } })))).toContain(
      'desktop-2 did not come over',
    );
    const view = viewOf(lab(), 'laptop');
    const gone = (node: string) => (node === 'kang' ? ({ state: 'silent', since: 0 } as const) : view.liveness(node));
    expect(whyGitlabIsBusy({ ...view, liveness: gone }, view.ledger!)).toBe('kang, which runs GitLab, does not answer');
  });

  it('who watches votes, is there, and is not the one that falls silent', () => {
    const all = lab();
    const planAt = (node: string) => planLeaderLoss(viewOf(all, node));
    expect(planAt('kang')).toMatchObject({ leader: 'desktop-1', watcher: 'kang' });
    expect(planAt('desktop-1')).toMatchObject({ watcher: expect.not.stringMatching('desktop-1') });
  });

  it("before a host's loss the machine that would go on is asked whether it is ready, and nobody else", async () => {
    const all = lab();
    const asked: [string, Ask][] = [];
    const checks = [{ state: 'warn', what: 'memory', sentence: '3 GiB are free', fix: null }];
    const answers = [
      Answer.parse({ kind: 'move-checked', checks, place: null, address: null, awayMs: null }),
      Answer.parse({ kind: 'refused', because: 'it is busy' }),
    ];
    const requests = new RehearsalRequests({
      ledger: () => all.committed,
      view: () => viewOf(all, 'laptop'),
      ask: async (node, ask) => {
        asked.push([node, ask]);
        return answers.shift()!;
      },
    });
    const lines = async () => (await requests.rehearsalPlan('host-loss')).lines.slice(-1);
    expect(await lines()).toEqual([{ ...checks[0], sentence: 'desktop-1: 3 GiB are free' }]);
    expect(asked).toEqual([['desktop-1', expect.objectContaining({ kind: 'check-move', to: 'desktop-1' })]]);
    expect(await lines()).toMatchObject([
      { state: 'warn', sentence: 'desktop-1 could not be asked whether it is ready: desktop-1: it is busy' },
    ]);
  });
});

it('whether it is booted beside the grace there, and from when on, is told before the loss of its host is rehearsed', async () => {
  const one = new Standby();
  one.away = [];
  const plan = async () => {
    const lines = { ledger: () => one.ledger, view: () => ({ ...one.now(0), self: 'laptop' }) };
    const ask = async () => Answer.parse({ kind: 'refused', because: 'it is busy' });
    const { to, besideMs, lines: said } = await new RehearsalRequests({ ...lines, ask }).rehearsalPlan('host-loss');
    return [to, besideMs, said.find(({ what }) => what === 'boot')?.sentence];
  };
  const none = { round: null, since: null, isUp: false };
  one.beside = { ...none, waits: null };
  expect(await plan()).toEqual([
    ...['desktop-1', 5000],
    'desktop-1 boots GitLab beforehand, without network, after 5 s of silence',
  ]);
  one.ledger = { ...one.ledger, settings: { ...one.ledger.settings, graceMs: 600_000, inSyncGraceMs: 600_000 } };
  expect((await plan())[1]).toBe(300_000);
  one.beside = { ...none, waits: 'its owner plays' };
  expect((await plan()).slice(1)).toEqual([
    null,
    'desktop-1 boots GitLab once it goes on there, and not beforehand: its owner plays',
  ]);
  // Of an earlier version.
  one.beside = undefined;
  expect((await plan())[1]).toBeNull();
});

it('a run is lost to a rehearsal only where it was under way when that began', () => {
  const run = (id: string, state: 'running' | 'lost' | 'delivered') => labRun({ run: id, node: 'kang', state });
  const ledger = (states: [string, 'running' | 'lost' | 'delivered'][]) =>
    ({ runs: Object.fromEntries(states.map(([id, state]) => [id, run(id, state)])) }) as unknown as Ledger;
  const were = openRuns(
    ledger([
      ['a', 'running'],
      ['b', 'lost'],
      ['c', 'delivered'],
      ['d', 'running'],
    ]),
  );
  expect(were).toEqual(['a', 'd']);
  const after = ledger([
    ['a', 'lost'],
    ['b', 'lost'],
    ['d', 'delivered'],
  ]);
  expect(lostAmong(after, were)).toEqual([after.runs.a!.job]);
});
