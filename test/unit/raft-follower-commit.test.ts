import { describe, expect, it } from 'vitest';
import type { Ledger } from '../../protocol/ledger.ts';
import type { MessageOf, PeerMessage } from '../../protocol/messages.ts';
import { ledgerOf, newer, One, three } from './raft-one.ts';

/** SAFETY L10: a follower commits by its own disk and its leader's, as its leader would by its own and the follower's. */

const hello = (node: string, commitsAlone?: boolean): PeerMessage => ({
  kind: 'hello',
  boot: `b${node}`,
  store: `s${node}`,
  term: 3,
  stamp: { term: 3, version: 7 },
  promised: null,
  version: '0',
  ...(commitsAlone === undefined ? {} : { commitsAlone }),
});
const onDisk = (one: One, version: number, more: { term?: number; store?: string } = {}): One => {
  const stamp = { term: more.term ?? 4, version };
  return one.hear('A', { kind: 'on-disk', term: 4, stamp, store: more.store ?? 'sA' });
};
const committed = (one: One): number => one.state.raft.committed?.stamp.version ?? 0;
const had = (one: One): One => one.append(8, newer(8));

describe('a follower of three', () => {
  it('commits what is on its own disk and its leader’s, whichever comes first, without the commit mark', () => {
    const last = onDisk(had(new One()), 8);
    expect(committed(last)).toBe(7);
    expect(committed(last.disk())).toBe(8);
    const first = had(new One()).disk();
    expect(committed(first)).toBe(7);
    expect(committed(onDisk(first, 8))).toBe(8);
    expect(first.asked('publish-ledger')).toBe(1);
    expect(committed(onDisk(had(new One()).disk(), 9))).toBe(8);
  });
  it.each([
    ['an older ledger of the leader', 7, {}],
    ['another store than the one that votes', 8, { store: 'another' }],
    ['a disk of an earlier term', 8, { term: 3 }],
  ])('does not commit by %s', (_, version, more) => {
    expect(committed(onDisk(had(new One()), version, more).disk())).toBe(7);
  });
  it('does not count its own disk where its store does not vote, nor when it was rolled back (L8, L9)', () => {
    const other = three();
    other.configuration.voters.B = { store: 'another', weight: 2 };
    const ledger: Ledger = { ...other, stamp: { term: 4, version: 8 } };
    expect(committed(onDisk(new One(other).append(8, ledger), 8).disk())).toBe(7);
    const promised = { term: 3, stamp: { term: 3, version: 9 }, store: 'sB' };
    const rolledBack = new One().hear('C', { ...(hello('C') as MessageOf<'hello'>), promised });
    expect(committed(onDisk(had(rolledBack), 8).disk())).toBe(7);
  });
  it('counts by the ledger’s own configuration, both halves of a joint one (L2)', () => {
    const half = three().configuration.voters;
    const joint = (next: Ledger['configuration']['voters']): Ledger => ({
      ...newer(8),
      configuration: { voters: half, next },
    });
    const five = ledgerOf({ A: 2, B: 2, C: 2, D: 2, E: 2 }).configuration.voters;
    expect(committed(onDisk(new One().append(8, joint(five)), 8).disk())).toBe(7);
    expect(committed(onDisk(new One().append(8, joint(half)), 8).disk())).toBe(8);
  });
  it('forgets its leader’s disk with the term: another leader’s ledger is not on it', () => {
    const one = onDisk(had(new One()), 20).disk();
    one.hear('C', {
      kind: 'append',
      term: 5,
      round: 1,
      stamp: { term: 5, version: 9 },
      committed: { term: 0, version: 0 },
      ledger: newer(9, 5),
    });
    expect(committed(one.disk())).toBe(8);
  });
  it('remembers what the leader’s store promised, for when that store is rolled back (L9)', () => {
    const one = onDisk(had(new One()), 8);
    expect(one.state.raft.peers.A?.promised).toEqual({ store: 'sA', term: 4, stamp: { term: 4, version: 8 } });
  });
});

describe('a leader of three', () => {
  const appends = (one: One, to = 'A'): MessageOf<'append'>[] =>
    one.said.flatMap(({ to: at, message }) => (at === to && message.kind === 'append' ? [message] : []));
  const ready = (knows: boolean | undefined): One => {
    const one = new One().elect();
    for (const node of ['A', 'C']) one.feed({ kind: 'connected', node });
    one.hear('A', hello('A', knows));
    one.disk().ack('A', 8).disk();
    return one.feed({ kind: 'requested', requests: [{ id: 'q', change: { kind: 'set', key: 'graceMs', value: 1 } }] });
  };
  it('says what is on its disk when it is there, not before, to those who know what to do with it', () => {
    const one = ready(true);
    expect(appends(one).at(-1)).toMatchObject({ stamp: { version: 9 }, ledger: { stamp: { version: 9 } } });
    expect(one.last('on-disk')?.stamp.version).not.toBe(9);
    one.disk();
    expect(one.said.at(-1)).toMatchObject({ to: 'A', message: { kind: 'on-disk', term: 4, stamp: { version: 9 } } });
    expect(one.said.some(({ to, message }) => to === 'C' && message.kind === 'on-disk')).toBe(false);
  });
  it('spares it the commit mark then, and tells an older one as ever', () => {
    const one = ready(true).disk();
    const said = appends(one).length;
    one.ack('A', 9);
    expect(committed(one)).toBe(9);
    expect(appends(one).length).toBe(said);
    const older = ready(undefined).disk();
    older.ack('A', 9);
    expect(appends(older).at(-1)).toMatchObject({ committed: { term: 4, version: 9 } });
    expect(older.last('on-disk')).toBeUndefined();
  });
  it('gives the mark with the next round all the same, and to one that connects anew at once', () => {
    const one = ready(true).disk().ack('A', 9);
    one.feed({ kind: 'connected', node: 'A' });
    expect(appends(one).at(-1)).toMatchObject({ committed: { term: 4, version: 9 } });
    const before = appends(one).length;
    one.feed({ kind: 'ticked' }, 100);
    expect(appends(one).length).toBe(before + 1);
  });

  it('asks anew what a follower can when it is connected again: it may be of an earlier version now', () => {
    const one = ready(true);
    one.feed({ kind: 'disconnected', node: 'A' });
    one.feed({ kind: 'requested', requests: [{ id: 'p', change: { kind: 'set', key: 'graceMs', value: 2 } }] });
    const before = one.said.length;
    one.feed({ kind: 'connected', node: 'A' }).disk();
    expect(one.said.slice(before).filter(({ to, message }) => to === 'A' && message.kind === 'on-disk')).toEqual([]);
  });
});
