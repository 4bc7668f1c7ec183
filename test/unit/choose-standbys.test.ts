import { describe, expect, it } from 'vitest';
import type { HostedCopies } from '../../protocol/ledger-gitlab.ts';
import { type Candidate, chooseStandbys } from '../../scheduler/hosting/choose-standbys.ts';
import { hostingTimings } from '../../scheduler/hosting/hosting-timings.ts';
import { hostedGitlab } from '../fixtures/hosted-gitlab.ts';
import { copiesLab as lab } from './copies-lab.ts';
import type { Lab } from './jobs-lab.ts';

const { standbyGoneMs } = hostingTimings;
const { data } = hostedGitlab();

const one = (node: string, over: Partial<Candidate> = {}): Candidate => ({
  node,
  name: `machine-${node}`,
  barred: null,
  unfit: null,
  unfitMs: 0,
  isLikeHost: true,
  ...over,
});
const standing = (...nodes: string[]) => nodes.map((node) => ({ node, because: 'it was well' }));
const chosen = (candidates: Candidate[], ...before: string[]): string[] =>
  chooseStandbys(candidates, standing(...before)).map(({ node }) => node);
const asleep = (unfitMs: number) => ({ unfit: 'has not answered for 15 min', unfitMs });

/** SAFETY H10. */
describe('which of the machines that a person named get the rounds of GitLab', () => {
  it('two at most, as they were named, and those that could run it first', () => {
    expect(chosen([one('A'), one('B'), one('C')])).toEqual(['A', 'B']);
    expect(chosen([one('A', { isLikeHost: false }), one('B'), one('C')])).toEqual(['B', 'C']);
    expect(chosen([one('A', { isLikeHost: false }), one('B', { isLikeHost: null })])).toEqual(['B', 'A']);
    expect(chosen([])).toEqual([]);
  });

  it('whoever cannot take one now, or may hold none, is not begun with', () => {
    expect(chosen([one('A', asleep(1)), one('B', { barred: 'is drained' }), one('C')])).toEqual(['C']);
  });

  it('whoever has begun stays: better ones, and a night`s sleep, cost no whole copy', () => {
    expect(chosen([one('A'), one('B'), one('C', { isLikeHost: false })], 'C', 'B')).toEqual(['C', 'B']);
    expect(chosen([one('A', asleep(standbyGoneMs - 1)), one('B'), one('C')], 'A', 'B')).toEqual(['A', 'B']);
    // Nobody else could take its place.
    expect(chosen([one('A', asleep(9 * standbyGoneMs)), one('B')], 'A', 'B')).toEqual(['A', 'B']);
    expect(chosen([one('A', asleep(9 * standbyGoneMs)), one('B'), one('C', asleep(1))], 'A', 'B')).toEqual(['A', 'B']);
  });

  it('gone for long, it gives way to one that can, which then stays', () => {
    const candidates = [one('A', asleep(standbyGoneMs)), one('B'), one('C')];
    expect(chooseStandbys(candidates, standing('A', 'B'))).toEqual([
      {
        node: 'C',
        because: 'a person named it, and it is well, in place of machine-A, which has not answered for 15 min',
      },
      { node: 'B', because: 'it was well' },
    ]);
    expect(chosen([one('A'), one('B'), one('C')], 'C', 'B')).toEqual(['C', 'B']);
  });

  it('barred, or named no more, it goes at once', () => {
    expect(chosen([one('A', { barred: 'is drained' }), one('B')], 'A', 'B')).toEqual(['B']);
    expect(chosen([one('B')], 'A', 'B')).toEqual(['B']);
  });

  it('says of one of another architecture what it could not do', () => {
    expect(chooseStandbys([one('A', { isLikeHost: false })], [])[0]?.because).toContain('could not run what it holds');
  });
});

const copiesOf = (all: Lab): HostedCopies => all.committed.gitlab.hosted?.copies as HostedCopies;
const standbysOf = (all: Lab): string[] => copiesOf(all).standbys.map(({ node }) => node);
const settled = { members: ['desktop-1', 'desktop-2'], version: 7, last: null, boot: 'b' };
const both = () =>
  lab(['desktop-1', 'desktop-2', 'laptop'], { standbys: standing('desktop-1', 'desktop-2'), set: settled });
const silent = (all: Lab, name: string): void => {
  all.vanish(name);
  all.run(1000);
};

describe('the leader chooses standbys by what the machines say', () => {
  it('as soon as they have reported, and writes no ledger for it after that', () => {
    const all = lab(['desktop-2', 'laptop', 'desktop-1']);
    expect(standbysOf(all)).toEqual([]);
    all.run(5000);
    expect(standbysOf(all)).toEqual(['desktop-2', 'laptop']);
    const { committed } = all;
    all.run(60_000);
    expect(all.committed).toBe(committed);
  });

  it('a machine whose owner says never, or that is drained, leaves the set in the same edit', () => {
    const all = both();
    all.feed('desktop-1', { kind: 'copies-said', copies: 'never' });
    all.run(5000);
    expect(standbysOf(all)).toEqual(['desktop-2', 'laptop']);
    expect(copiesOf(all).set).toMatchObject({ members: ['desktop-2'], version: 8 });
    const nodes = { ...all.accepted.nodes, laptop: { ...all.accepted.nodes.laptop!, drained: true } };
    all.accepted = { ...all.accepted, nodes };
    all.committed = all.accepted;
    all.run(5000);
    expect(standbysOf(all)).toEqual(['desktop-2']);
    // It was no member, and its entry may be on the way.
    expect(copiesOf(all).set).toMatchObject({ members: ['desktop-2'], version: 9 });
  });

  it('one that is gone for long gives way; one that says that it is full does too, its reason with it', () => {
    const all = both();
    all.run(5000);
    silent(all, 'desktop-1');
    all.run(standbyGoneMs - 10_000);
    expect(standbysOf(all)).toEqual(['desktop-1', 'desktop-2']);
    all.run(20_000);
    expect(standbysOf(all)).toEqual(['laptop', 'desktop-2']);

    const full = both();
    const problem = 'no room for another round: 2 GiB are free of 500';
    full.feed('desktop-2', { kind: 'standby-seen', report: { data, newest: null, freeBytes: 1, problem } });
    full.run(standbyGoneMs - 1000);
    expect(standbysOf(full)).toEqual(['desktop-1', 'desktop-2']);
    full.run(20_000);
    expect(copiesOf(full).standbys[1]).toMatchObject({ node: 'laptop' });
    expect(copiesOf(full).standbys[1]?.because).toContain(problem);
  });

  it('each is counted for itself: that another one falls silent gives nobody more time', () => {
    const all = both();
    all.run(5000);
    silent(all, 'desktop-1');
    all.run(standbyGoneMs / 2);
    silent(all, 'desktop-2');
    all.run(standbyGoneMs / 2 + 10_000);
    expect(standbysOf(all)).toEqual(['laptop', 'desktop-2']);
  });

  it('a machine that comes back in time has not been gone', () => {
    const all = both();
    all.run(5000);
    for (let i = 0; i < 3; i += 1) {
      all.node('desktop-1').liveness = { state: 'silent', since: all.at };
      all.run(standbyGoneMs - 20_000);
      all.node('desktop-1').liveness = { state: 'alive', since: all.at };
      all.run(5000);
    }
    expect(standbysOf(all)).toEqual(['desktop-1', 'desktop-2']);
  });

  it('while the host is away nobody takes a place: whoever stands by has what there is', () => {
    const all = both();
    all.run(5000);
    all.elect('laptop');
    silent(all, 'kang');
    silent(all, 'desktop-1');
    all.run(2 * standbyGoneMs);
    expect(standbysOf(all)).toEqual(['desktop-1', 'desktop-2']);
    expect(copiesOf(all).set).toEqual(settled);
  });

  it('a machine that a leader of an earlier version forgot is named no more', () => {
    const all = both();
    const { 'desktop-1': _gone, ...nodes } = all.accepted.nodes;
    all.accepted = { ...all.accepted, nodes };
    all.committed = all.accepted;
    all.run(5000);
    expect(copiesOf(all)).toMatchObject({ agreed: ['desktop-2', 'laptop'], set: { members: ['desktop-2'] } });
  });

  it('nothing is chosen for one that is being uninstalled, nor for a host that knows nothing of it', () => {
    const ending = lab(['desktop-1']);
    const old = lab(['desktop-1']);
    for (const all of [ending, old]) {
      const { gitlab, nodes } = all.accepted;
      const since = { since: 0, deleteData: false, now: false, force: false, drained: false };
      all.accepted =
        all === ending
          ? { ...all.accepted, gitlab: { ...gitlab, hosted: { ...gitlab.hosted!, ending: since } } }
          : { ...all.accepted, nodes: { ...nodes, kang: { ...nodes.kang!, can: ['hosting'] } } };
      all.committed = all.accepted;
      all.run(5000);
      expect(standbysOf(all)).toEqual([]);
    }
  });
});

describe('a machine`s report', () => {
  const reportOf = (all: Lab, from: string, node: string) => all.node(from).jobs.reports[node]?.report;

  it('says what it has of the mesh`s GitLab, and what its owner says, to all; of another GitLab nothing', () => {
    const all = lab([]);
    const round = { era: 0, epoch: 1, number: 4 };
    const seen = { data, newest: { round, takenAt: 1 }, freeBytes: 5, problem: null };
    all.feed('laptop', { kind: 'standby-seen', report: seen });
    all.feed('laptop', { kind: 'copies-said', copies: 'never' });
    all.feed('desktop-1', { kind: 'standby-seen', report: { ...seen, data: 'another1' } });
    all.run(6000);
    expect(reportOf(all, 'kang', 'laptop')).toMatchObject({ standby: seen, copies: 'never' });
    expect(reportOf(all, 'kang', 'desktop-1')).not.toHaveProperty('standby');
    all.feed('laptop', { kind: 'standby-seen', report: null });
    all.feed('laptop', { kind: 'copies-said', copies: null });
    all.run(6000);
    expect(reportOf(all, 'kang', 'laptop')).not.toHaveProperty('standby');
    expect(reportOf(all, 'kang', 'laptop')).not.toHaveProperty('copies');
  });
});
