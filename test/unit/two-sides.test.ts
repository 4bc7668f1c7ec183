import { expect, it } from 'vitest';
import type { FencedSeen } from '../../protocol/fenced.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import { attentionOf } from '../../scheduler/snapshot-attention.ts';
import { servedBeside, whyNoPush } from '../../scheduler/two-sides.ts';
import { copiesLab } from './copies-lab.ts';
import { viewOf } from './snapshot-lab.ts';

/** kang went on by force from desktop-1's last round of the former era, epoch 3; and what desktop-1 says once it has come over. */
function met(fenced: FencedSeen[], over: (ledger: Ledger) => Partial<Ledger> = () => ({})) {
  const lab = copiesLab(['desktop-1'], {}, 'http://g');
  lab.run(5000);
  const view = viewOf(lab, 'kang');
  const heard = view.jobs.reports['desktop-1']!;
  const was = lab.committed;
  const { hosted } = was.gitlab;
  const bases = { '3': { era: 0, epoch: 2, number: 9 }, '1003': { era: 0, epoch: 3, number: 40 } };
  const recovered: Ledger = {
    ...was,
    era: { id: 'e', counter: 1 },
    recovery: {
      ...{ by: 'kang', at: 1_000_000, off: ['desktop-1'], unseen: [] },
      from: { era: was.era, stamp: was.stamp },
    },
    gitlab: { ...was.gitlab, epoch: 1003, hosted: { ...hosted!, copies: { ...hosted!.copies!, bases } } },
  };
  const ledger = { ...recovered, ...over(recovered) };
  const standby = { data: hosted!.data, newest: null, freeBytes: 0, problem: null, fenced };
  const reports = { ...view.jobs.reports, 'desktop-1': { ...heard, report: { ...heard.report, standby } } };
  return { view: { ...view, ledger, jobs: { ...view.jobs, reports } }, ledger };
}
const kept = (more: Partial<FencedSeen> = {}): FencedSeen => ({
  name: 'fenced-3',
  at: 1_060_000,
  bytes: null,
  ...more,
});
const names = (fenced: FencedSeen[], over?: (ledger: Ledger) => Partial<Ledger>): string[] => {
  const { view, ledger } = met(fenced, over);
  return servedBeside(view, ledger).map(({ seen }) => seen.name);
};

it('what took pushes beside a mesh that was recovered by force keeps it from taking more, until somebody has looked', () => {
  const { view, ledger } = met([kept()]);
  const why =
    'GitLab served on desktop-1 too until 1970-01-01T00:17:40.000Z, after this mesh was recovered by force: no push is taken before somebody has looked at what is in fenced-3 alone';
  expect(whyNoPush(view, ledger, 'kang')).toBe(`${why}: autogit-node gitlab diff fenced-3`);
  const quorum = { state: 'ok', sentence: '' } as never;
  expect(attentionOf(view, [], quorum)).toContainEqual({
    ...{ code: 'gitlab-two-sides', severity: 'fail', sentence: why },
    fix: 'autogit-node gitlab diff fenced-3',
  });
  // Whoever does not host takes none anyhow; and an agent without a ledger knows of nothing.
  expect(whyNoPush(view, ledger, 'desktop-1')).toBe(null);
  expect(whyNoPush(view, null, 'kang')).toBe(null);
  const looked = met([kept({ looked: true })]);
  expect(whyNoPush(looked.view, looked.ledger, 'kang')).toBe(null);
});

it('a host that was off by then, or whose time is not known, holds nothing up', () => {
  expect(names([kept({ at: 1_000_000 })])).toEqual([]);
  expect(names([kept({ at: 0 })])).toEqual([]);
});

it('of the former era alone: also where that had gone on to later epochs, and never by a later failover', () => {
  expect(names([kept({ name: 'fenced-4' }), kept({ name: 'fenced-4-2' })])).toEqual(['fenced-4', 'fenced-4-2']);
  expect(names([kept({ name: 'fenced-1003' })])).toEqual([]);
  const again = (ledger: Ledger): Partial<Ledger> => {
    const { hosted } = ledger.gitlab;
    const bases = { ...hosted!.copies!.bases, '2003': { era: 1, epoch: 1003, number: 70 } };
    const copies = { ...hosted!.copies!, bases };
    return { gitlab: { ...ledger.gitlab, epoch: 2003, hosted: { ...hosted!, copies } } };
  };
  expect(names([kept(), kept({ name: 'fenced-1003' })], again)).toEqual(['fenced-3']);
});

it('nothing in a mesh that was never recovered, or where GitLab went on at its host', () => {
  expect(names([kept()], () => ({ recovery: undefined }))).toEqual([]);
  const stayed = (ledger: Ledger): Partial<Ledger> => {
    const { hosted } = ledger.gitlab;
    const bases = { '3': { era: 0, epoch: 2, number: 9 } };
    return { gitlab: { ...ledger.gitlab, epoch: 3, hosted: { ...hosted!, copies: { ...hosted!.copies!, bases } } } };
  };
  expect(names([kept({ name: 'fenced-2' })], stayed)).toEqual([]);
});
