import { describe, expect, it } from 'vitest';
import type { MessageOf, PeerMessage } from '../../protocol/messages.ts';
import { leaderContactAt, livenessOf } from '../../scheduler/views.ts';
import { newer, One, three, vote, wall } from './raft-one.ts';

/** What is believed of other machines: evidence, stores, eras, liveness (SAFETY L9, L11, L15). */

describe('evidence', () => {
  const led = (): One => new One().append(8, newer(8)).disk();
  const ask = (evidence: 'refused' | 'silent' | 'timeout' | 'none', leader: string | null = 'A'): PeerMessage => ({
    kind: 'pre-vote',
    term: 5,
    stamp: { term: 4, version: 8 },
    evidence,
    leader,
  });
  it('is looked for when the stream to a member closes, and to nobody else', () => {
    for (const [node, looks] of [
      ['A', 1],
      ['C', 1],
      ['X', 0],
    ] as const)
      expect(led().feed({ kind: 'disconnected', node }, 10).asked('probe')).toBe(looks);
  });
  it('lets a follower miss another one, until that one speaks again', () => {
    const one = led().feed({ kind: 'disconnected', node: 'C' }, 10);
    one.feed({ kind: 'probed', node: 'C', result: 'refused', tookMs: 1 }, 1);
    expect(one.events()).toContain('node-lost');
    expect(one.events()).not.toContain('leader-lost');
    expect(one.hear('C', vote(3), 10).events()).toContain('node-found');
  });
  it('of the leader makes followers look for themselves, and not again and again', () => {
    const away = { round: 2, away: ['B', 'C', 'X'] };
    const one = led().append(8, null, away);
    expect(one.asked('probe')).toBe(1);
    one.feed({ kind: 'probed', node: 'C', result: 'accepted', tookMs: 1 }, 5);
    for (let count = 0; count < 20; count += 1) one.feed({ kind: 'ticked' }, 100).append(8, null, away);
    expect([one.asked('probe'), one.events().includes('node-lost')]).toEqual([1, false]);
    for (let count = 0; count < 32; count += 1) one.feed({ kind: 'ticked' }, 100).append(8, null, away);
    one.feed({ kind: 'probed', node: 'C', result: 'silent', tookMs: 150 }, 100);
    expect([one.asked('probe'), one.events().includes('node-lost')]).toEqual([2, true]);
    const leads = new One().elect().ack('A', 8);
    leads.feed({ kind: 'disconnected', node: 'C' }).feed({ kind: 'probed', node: 'C', result: 'silent', tookMs: 150 });
    expect(leads.last('append')).toMatchObject({ away: ['C'] });
  });
  it('refused: asks for votes at once', () => {
    const one = led().feed({ kind: 'disconnected', node: 'A' }, 10);
    one.feed({ kind: 'probed', node: 'A', result: 'refused', tookMs: 1 }, 1);
    expect(one.last('pre-vote')).toMatchObject({ evidence: 'refused', leader: 'A', term: 5 });
    expect(one.events()).toContain('leader-lost');
  });
  it('accepted: waits the long timeout', () => {
    const one = led().feed({ kind: 'disconnected', node: 'A' }, 10);
    for (let count = 0; count < 140; count += 1) {
      one.feed({ kind: 'ticked' }, 10);
      if (one.effects.at(-1)?.kind === 'probe') one.feed({ kind: 'probed', node: 'A', result: 'accepted', tookMs: 1 });
    }
    expect(one.last('pre-vote')).toBeUndefined();
    for (let count = 0; count < 20; count += 1) one.feed({ kind: 'ticked' }, 10);
    expect(one.last('pre-vote')).toMatchObject({ evidence: 'timeout' });
  });
  it('of another is answered by an own look (L11)', () => {
    const one = led().hear('C', ask('refused'), 10);
    expect(one.last('pre-vote-answer')).toBeUndefined();
    expect(one.asked('probe')).toBe(1);
    one.feed({ kind: 'probed', node: 'A', result: 'accepted', tookMs: 1 }, 2);
    expect(one.last('pre-vote-answer')).toMatchObject({ granted: false });
    expect(one.last('pre-vote-answer')?.because).toContain('slow');
  });
  it('of another is confirmed by an own look (L11)', () => {
    const one = led()
      .hear('C', ask('silent'), 10)
      .feed({ kind: 'probed', node: 'A', result: 'silent', tookMs: 150 }, 150);
    expect(one.last('pre-vote-answer')).toMatchObject({ granted: true, term: 5, store: 'sB' });
    expect(one.last('pre-vote')).toBeUndefined();
  });
  it('is nothing when the leader was heard meanwhile', () => {
    const one = led().hear('C', ask('silent'), 10).feed({ kind: 'ticked' }, 1).append(8, null, { round: 5 });
    one.feed({ kind: 'probed', node: 'A', result: 'silent', tookMs: 150 }, 150);
    expect(one.last('pre-vote-answer')).toMatchObject({ granted: false });
  });
  it('none, while the leader is heard, is refused without a look', () => {
    const one = led().hear('C', ask('timeout'), 10);
    expect(one.last('pre-vote-answer')).toMatchObject({ granted: false });
    expect(one.asked('probe')).toBe(0);
  });
  it('a node that slept gives the others the benefit of the doubt', () => {
    const one = led().feed({ kind: 'ticked' }, 60_000);
    expect(one.last('pre-vote')).toBeUndefined();
    expect(one.state.raft.leader?.node).toBe('A');
    // A backlog read after the sleep proves no contact (J1).
    const before = leaderContactAt(one.state);
    expect(leaderContactAt(one.append(8, null, { round: 5 }).state)).toBe(before);
  });
});

describe('stores', () => {
  const hello = (more: Partial<MessageOf<'hello'>>): PeerMessage => ({
    kind: 'hello',
    boot: 'bA',
    store: 'sA',
    term: 3,
    stamp: { term: 3, version: 7 },
    promised: null,
    version: '0',
    ...more,
  });
  it('behind their own promise do not vote (L9)', () => {
    const one = new One().hear('A', hello({ promised: { term: 5, stamp: { term: 3, version: 7 } } }));
    expect(one.events()).toContain('store-rolled-back');
    expect(one.hear('A', vote(9)).last('vote-answer')).toMatchObject({ granted: false });
    expect(one.feed({ kind: 'ticked' }, 5000).last('pre-vote')).toBeUndefined();
  });
  it('behind their own promise get a new id, in whose name nothing is said before it is on disk (L9)', () => {
    const one = new One().elect();
    one.hear('A', hello({ promised: { store: 'sB', term: 5, stamp: { term: 3, version: 7 } } }));
    expect(one.state.raft.leading).toBeNull();
    expect(one.asked('mint-store')).toBe(1);
    one.said = [];
    one.feed({ kind: 'store-minted', store: 'fresh' });
    const message = { term: 6, stamp: newer(9, 6).stamp, ledger: newer(9, 6) };
    one.append(9, null, message);
    expect(one.hear('C', vote(7)).last('vote-answer')).toMatchObject({ granted: false, store: 'sB' });
    expect(one.last('ack')).toBeUndefined();
    one.disk();
    expect(one.state.identity.store).toBe('fresh');
    expect(one.events()).toContain('store-renewed');
    expect(one.last('hello')).toMatchObject({ store: 'fresh' });
    expect(one.append(9, null, message).last('ack')).toMatchObject({ store: 'fresh', stamp: { term: 6, version: 9 } });
    expect(
      one
        .hear('C', vote(8, { term: 6, version: 9 }))
        .disk()
        .last('vote-answer'),
    ).toMatchObject({
      granted: true,
      store: 'fresh',
    });
  });
  it('that have a new id keep it over a restart, and are not told of what the old one promised (L9)', () => {
    const one = new One(three(), 'B', { store: 'fresh' });
    expect(one.state.identity.store).toBe('fresh');
    one.hear('A', hello({ promised: { store: 'sB', term: 9, stamp: { term: 9, version: 9 } } }));
    expect(one.state.raft.rolledBack).toBeNull();
  });
  it('of one that was away get the committed ledger from whoever they know', () => {
    const one = new One().append(8, newer(8), { committed: { term: 4, version: 8 } }).disk();
    one.said = [];
    one.hear('C', hello({ store: 'sC', boot: 'bC' }));
    expect(one.last('hello')?.ledger?.stamp).toEqual({ term: 4, version: 8 });
    one.said = [];
    one.hear('C', hello({ store: 'sC', boot: 'bC' }), 100);
    expect(one.last('hello')).toBeUndefined();

    const away = new One().hear('C', hello({ store: 'sC', boot: 'bC', ledger: newer(8) })).disk();
    expect(away.state.raft.committed?.stamp).toEqual({ term: 4, version: 8 });
    expect(away.state.raft.accepted.stamp).toEqual({ term: 4, version: 8 });
    expect(away.state.raft.term).toBe(4);
    expect(away.asked('publish-ledger')).toBe(1);
    away.hear('C', hello({ store: 'sC', boot: 'bC', ledger: newer(7, 3) }));
    expect(away.state.raft.committed?.stamp).toEqual({ term: 4, version: 8 });
  });
  it('that others have rolled back are told so (L9)', () => {
    const one = new One().elect().ack('A', 8);
    one.said = [];
    one.hear('A', hello({}));
    expect(one.last('hello')?.promised).toEqual({ store: 'sA', term: 4, stamp: { term: 4, version: 8 } });
    one.said = [];
    one.hear('A', hello({ store: 'new' }));
    expect(one.last('hello')).toBeUndefined();
  });
  it('that others have rolled back are told so before they get a ledger of today (L9)', () => {
    const one = new One().elect().ack('A', 8);
    one.said = [];
    one.feed({ kind: 'connected', node: 'A' });
    expect(one.last('hello')?.promised).toEqual({ store: 'sA', term: 4, stamp: { term: 4, version: 8 } });
  });
  it('that are new do not take the promise of the one before for theirs (L9)', () => {
    const one = new One();
    one.hear('A', hello({ promised: { term: 9, stamp: { term: 9, version: 9 }, store: 'another' } }));
    expect(one.state.raft.rolledBack).toBeNull();
    one.hear('A', hello({ promised: { term: 9, stamp: { term: 9, version: 9 }, store: one.state.identity.store } }));
    expect(one.state.raft.rolledBack).not.toBeNull();
  });
});

describe('eras (L15)', () => {
  const hear = (one: One, counter: number) =>
    one.feed({ kind: 'heard', from: 'A', message: vote(9), era: { id: 'x', counter } }).disk();
  it('older messages are void', () => {
    const ledger = { ...three(), era: { id: 'e', counter: 2 } };
    expect(hear(new One(ledger), 1).last('vote-answer')).toBeUndefined();
  });
  it('a newer one ends this leader, and gets no vote', () => {
    const one = hear(new One().elect(), 1);
    expect(one.state.raft.leading).toBeNull();
    expect(one.last('vote-answer')).toBeUndefined();
  });
});

describe('liveness', () => {
  it('is alive, dead or silent, with the moment since when', () => {
    const one = new One().elect().ack('A', 8);
    for (let count = 0; count < 30; count += 1) one.feed({ kind: 'ticked' }, 50).ack('A', 8);
    expect(livenessOf(one.state, 'A', one.at).state).toBe('alive');
    expect(livenessOf(one.state, 'C', one.at).state).toBe('silent');
    one.feed({ kind: 'disconnected', node: 'A' }).feed({ kind: 'probed', node: 'A', result: 'refused', tookMs: 1 }, 2);
    const since = one.at;
    one.feed({ kind: 'probed', node: 'A', result: 'refused', tookMs: 1 }, 500);
    expect(livenessOf(one.state, 'A', one.at)).toEqual({ state: 'dead', since });
    expect(one.events()).toContain('node-lost');
  });

  it('gives who was let in long after the leader was elected a second before it is suspect', () => {
    const one = new One({ ...three(), pairUntil: wall * 2 }).elect().ack('A', 8).ack('C', 8);
    const live = (ms: number): void => {
      for (let past = 0; past < ms; past += 100) one.feed({ kind: 'ticked' }, 100).ack('A', 99).ack('C', 99).disk();
    };
    live(5000);
    const newcomer = { name: 'd', address: '', words: '', since: wall, via: 'B', store: 'sD', addresses: [] };
    const approval = { ...newcomer, witness: false, ignored: false };
    const change = { kind: 'approve-paired', node: 'D', approval } as const;
    one.feed({ kind: 'requested', requests: [{ id: 'q', change }] }).disk();
    live(900);
    expect('D' in one.state.raft.accepted.nodes).toBe(true);
    expect(one.events()).not.toContain('node-suspect');
    live(500);
    expect(one.events()).toContain('node-suspect');
  });
});
