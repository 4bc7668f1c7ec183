import { describe, expect, it } from 'vitest';
import type { HostedFailover, HostedMove } from '../../protocol/hosted-move.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import { StatusSnapshot } from '../../protocol/status.ts';
import { snapshot } from '../../scheduler/snapshot.ts';
import { copiesLab } from './copies-lab.ts';
import type { Lab } from './jobs-lab.ts';
import { viewOf } from './snapshot-lab.ts';

/** desktop-1 and desktop-2 hold copies; desktop-1 is in sync, unless `members` says otherwise. kang hosts. */
function lab(members = ['desktop-1'], last: string[] | null = null): Lab {
  const standbys = ['desktop-1', 'desktop-2'].map((node) => ({ node, because: 'named' }));
  const set = { version: 3, members, last, boot: 'b' };
  const all = copiesLab(['desktop-1', 'desktop-2'], { standbys, set }, 'http://g');
  all.run(5000);
  return all;
}
const changed = (all: Lab, change: (ledger: Ledger) => Ledger): Lab => {
  all.accepted = change(all.accepted);
  all.committed = all.accepted;
  all.run(1500);
  return all;
};
const withHosted = (all: Lab, over: { move?: HostedMove; failover?: HostedFailover }): Lab =>
  changed(all, (ledger) => ({
    ...ledger,
    gitlab: { ...ledger.gitlab, hosted: { ...ledger.gitlab.hosted!, ...over } },
  }));
const now = (all: Lab) => StatusSnapshot.parse(snapshot(viewOf(all, 'laptop')));
const foretold = (all: Lab): string | undefined => now(all).gitlab.forecast?.sentence.split('; ').at(-1);

describe("what comes of the death of GitLab's host, in status (SAFETY H10)", () => {
  it('is foretold: who goes on, and after how long', () => {
    expect(foretold(lab())).toBe('desktop-1 goes on by itself after 45 s');
    expect(now(lab()).gitlab.forecast?.to).toBe('desktop-1');
    expect(foretold(lab([], ['desktop-2']))).toBe('desktop-2 goes on by itself after 2 min');
  });

  it('is foretold where nothing moves: nobody awake, too few left, switched off, flagged', () => {
    const asleep = changed(lab(), (ledger) => ({
      ...ledger,
      nodes: { ...ledger.nodes, 'desktop-1': { ...ledger.nodes['desktop-1']!, left: true } },
    }));
    expect(foretold(asleep)).toBe(
      'nothing moves by itself: desktop-1 is away, and no other machine has all that it needs, until it is back',
    );
    const two = changed(lab(), (ledger) => {
      const { kang, 'desktop-1': desktop } = ledger.configuration.voters;
      const voters = { kang: { ...kang!, weight: 3 }, 'desktop-1': { ...desktop!, weight: 2 } };
      return { ...ledger, configuration: { voters, next: null } };
    });
    expect(foretold(two)).toBe(
      'nothing moves by itself: without kang too few of the machines that vote are left to decide anything, and desktop-1 goes on only by autogit-node recover --force',
    );
    const pair = changed(two, (ledger) => {
      const { kang, 'desktop-1': desktop } = ledger.nodes;
      return { ...ledger, nodes: { kang: kang!, 'desktop-1': desktop! } };
    });
    const alone = StatusSnapshot.parse(snapshot(viewOf(pair, 'kang'))).gitlab.forecast?.sentence;
    expect(alone).toMatch(
      /nothing moves by itself: of two machines one alone decides nothing, and desktop-1 goes on only by/,
    );
    expect(alone).toContain('a third machine, however small');
    const off = changed(lab(), (ledger) => ({ ...ledger, settings: { ...ledger.settings, failover: false } }));
    expect(foretold(off)).toContain('autogit-node settings failover on');
    const flagged = withHosted(lab(), { failover: { count: 3, flag: 'it moved too often' } });
    expect(foretold(flagged)).toBe('nothing moves by itself: it moved too often');
    expect(now(flagged).gitlab.flag).toBe('it moved too often');
    expect(now(flagged).attention).toContainEqual({
      ...{ code: 'gitlab-flag', severity: 'fail', sentence: 'it moved too often' },
      fix: 'autogit-node gitlab clear-flag',
    });
  });

  it('right after a restore or an upgrade no copy of before goes on by itself, which is said with what does', () => {
    const all = changed(lab([]), (ledger) => ({ ...ledger, gitlab: { ...ledger.gitlab, epoch: 2 } }));
    all.elect('laptop');
    all.run(10_000);
    const { data } = all.accepted.gitlab.hosted!;
    const holds = (node: string, epoch: number): void => {
      const newest = { round: { era: 0, epoch, number: 7 }, takenAt: all.wallMs };
      all.feed(node, { kind: 'standby-seen', report: { data, newest, freeBytes: 1, problem: null } });
      all.run(1500);
    };
    for (const node of ['desktop-1', 'desktop-2']) holds(node, 1);
    const words =
      'desktop-1 and desktop-2 hold GitLab as it was before its data were last replaced (restore, upgrade), and no copy since; is kang gone for good: gitlab uninstall, forget kang, then gitlab adopt --data there';
    expect(now(all).gitlab.forecast?.sentence).toContain(`nothing moves by itself: ${words}`);
    all.vanish('kang');
    all.run(140_000);
    expect(now(all).gitlab.hosted?.because).toContain(`GitLab goes on nowhere else by itself: ${words}`);
    // The first copy of what it is now.
    holds('desktop-2', 2);
    expect(now(all).gitlab.hosted?.because).toContain('desktop-2 takes GitLab over now, unless it is back');
  });

  it('while the host is silent, counts down; with a hold it says so', () => {
    const all = lab();
    all.elect('laptop');
    all.run(10_000);
    all.vanish('kang');
    all.run(14_000);
    expect(now(all).gitlab.hosted?.because).toMatch(
      /^kang is silent for 1\d s; desktop-1 takes GitLab over in 3\d s unless it is back$/,
    );
    all.run(40_000);
    expect(now(all).gitlab.hosted?.because).toContain('desktop-1 takes GitLab over now, unless it is back');
  });

  it('counts down from the election of who leads, where nobody has heard the host since: after a power cut of all', () => {
    const all = lab();
    all.elect('laptop');
    all.run(10_000);
    const view = viewOf(all, 'laptop');
    const { kang: _unheard, ...reports } = view.jobs.reports;
    const heard = { ...view.jobs, reports };
    const liveness: typeof view.liveness = (node) =>
      node === 'kang' ? { state: 'silent', since: Number.NEGATIVE_INFINITY } : view.liveness(node);
    const leader = { ...view.leader!, sinceWallMs: view.wallMs - 90_000 };
    const told = StatusSnapshot.parse(snapshot({ ...view, jobs: heard, liveness, leader })).gitlab.hosted?.because;
    expect(told).toMatch(/^kang is silent; desktop-1 takes GitLab over in 60 s unless it is back$/);
  });

  it('afterwards says where it went and why, for a day; and what could not bring it up', () => {
    const at = { place: { kind: 'image' as const, path: '/x' }, hostname: 'h' };
    const move: HostedMove = {
      ...{
        from: 'desktop-2',
        to: 'kang',
        there: at,
        back: at,
        since: 1,
        because: 'desktop-2 is silent for 45 s: kang goes on',
      },
      unplanned: { tried: [] },
    };
    const lines = (all: Lab) => now(all).attention.filter(({ code }) => code === 'gitlab-taken-over');
    expect(lines(withHosted(lab(), { move }))).toMatchObject([
      { severity: 'warn', sentence: 'desktop-2 is silent for 45 s: kang goes on; kang starts it' },
    ]);
    const failed = { ...move, unplanned: { tried: [], failed: 'no room' } };
    expect(lines(withHosted(lab(), { move: failed }))).toMatchObject([
      { severity: 'fail', sentence: 'kang could not bring GitLab up: no room' },
    ]);
    const stood = (agoMs: number): Lab => {
      const all = lab();
      const at = all.wallMs - agoMs;
      const moved = { from: 'desktop-2', to: 'kang', isDone: true, because: 'kang went on', at, isUnplanned: true };
      return withHosted(all, { moved } as never);
    };
    expect(lines(stood(5000))).toMatchObject([{ severity: 'warn', sentence: 'kang went on' }]);
    expect(lines(stood(90_000_000))).toEqual([]);
  });
});
