import { describe, expect, it } from 'vitest';
import type { Change } from '../../protocol/changes.ts';
import { restoredState } from '../../scheduler/state.ts';
import { leaderContactAt } from '../../scheduler/views.ts';
import { measured } from './raft-cluster.ts';
import { ledgerOf, newer, One, three, vote } from './raft-one.ts';

/** The rules SAFETY L1 to L17, each at the moment where the wrong implementation differs. */

describe('votes', () => {
  it('are said only when they are on disk (L10)', () => {
    const one = new One().hear('A', vote(4));
    expect(one.last('vote-answer')).toBeUndefined();
    expect(one.disk().last('vote-answer')).toMatchObject({ granted: true, term: 4, store: 'sB' });
  });
  it('are given once a term, not twice even to the same node', () => {
    const one = new One().hear('A', vote(4)).disk();
    expect(one.hear('C', vote(4)).last('vote-answer')).toMatchObject({ granted: false });
    expect(one.hear('A', vote(4)).last('vote-answer')).toMatchObject({ granted: false });
  });
  it('are remembered over a restart', () => {
    const one = new One(three(), 'B', { promise: { term: 4, votedFor: 'A' } });
    expect(one.hear('C', vote(4)).last('vote-answer')).toMatchObject({ granted: false });
    expect(one.hear('C', vote(5)).disk().last('vote-answer')).toMatchObject({ granted: true });
  });
  it.each([
    [{ term: 3, version: 7 }, true],
    [{ term: 3, version: 8 }, true],
    [{ term: 3, version: 6 }, false],
    [{ term: 2, version: 99 }, false],
    [{ term: 4, version: 1 }, true],
  ])('go by the pair (term, version): %o -> %s (L5)', (stamp, granted) => {
    expect(new One().hear('A', vote(5, stamp)).disk().last('vote-answer')?.granted).toBe(granted);
  });
  it('are also given by a node that does not vote itself (L7)', () => {
    const one = new One(ledgerOf({ A: 2, C: 2, D: 2 }), 'E');
    expect(one.hear('A', vote(4)).disk().last('vote-answer')).toMatchObject({ granted: true });
  });
  it('of another store do not count (L8)', () => {
    const one = new One().feed({ kind: 'ticked' }, 2000).disk();
    one.hear('A', { kind: 'pre-vote-answer', term: 4, granted: true, store: 'another', because: '' }).disk();
    expect(one.state.raft.campaign?.kind).toBe('pre');
    one.hear('A', { kind: 'pre-vote-answer', term: 4, granted: true, store: 'sA', because: '' }).disk();
    expect(one.state.raft.campaign?.kind).toBe('vote');
  });
  it('of its own count only when they are on disk (L10)', () => {
    const one = new One().feed({ kind: 'ticked' }, 2000).disk();
    one.hear('A', { kind: 'pre-vote-answer', term: 4, granted: true, store: 'sA', because: '' });
    expect(one.last('vote')).toMatchObject({ term: 4 });
    one.hear('A', { kind: 'vote-answer', term: 4, granted: true, store: 'sA', because: '' });
    expect(one.state.raft.leading).toBeNull();
    one.disk();
    expect(one.state.raft.leading).not.toBeNull();
  });
  it('bring along what their giver wants changed, once a term', () => {
    const change: Change = { kind: 'set', key: 'graceMs', value: 1 };
    const one = new One().feed({ kind: 'requested', requests: [{ id: 'q', change }] });
    const changes = (): number => one.said.filter(({ message }) => message.kind === 'change').length;
    expect(changes()).toBe(0);
    one.hear('A', { kind: 'vote', term: 4, stamp: { term: 3, version: 7 }, handover: false });
    expect(one.said.at(-1)).toMatchObject({ to: 'A', message: { kind: 'change', id: 'q' } });
    one.append(8, newer(8)).disk();
    expect(changes()).toBe(1);
    one.feed({ kind: 'ticked' }, 600);
    expect(changes()).toBe(2);
  });
  it('need no pre-vote that raised a term', () => {
    const one = new One().feed({ kind: 'ticked' }, 2000).disk();
    expect(one.last('pre-vote')).toMatchObject({ term: 4, evidence: 'none' });
    expect(one.state.raft.term).toBe(3);
  });
});

describe('who may stand for election', () => {
  const markAlive = (one: One): boolean => one.feed({ kind: 'ticked' }, 2000).last('pre-vote') !== undefined;
  it('not one that never voted', () => {
    expect(markAlive(new One(ledgerOf({ A: 2, C: 2, D: 2 }), 'E'))).toBe(false);
  });
  it('not one with another store', () => {
    const other = three();
    other.configuration = { voters: { ...other.configuration.voters, B: { store: 'old', weight: 2 } }, next: null };
    expect(markAlive(new One(other))).toBe(false);
  });
  it('one that its own newest, uncommitted ledger takes out, without a vote of its own', () => {
    const out = { ...newer(9), configuration: ledgerOf({ A: 3, C: 2 }).configuration };
    const one = new One(out, 'B', { committed: three() });
    expect(markAlive(one)).toBe(true);
    one.hear('C', { kind: 'pre-vote-answer', term: 5, granted: true, store: 'sC', because: '' }).disk();
    expect(one.state.raft.campaign?.kind).toBe('pre');
    expect(markAlive(new One(out, 'B', { committed: out }))).toBe(false);
  });
  it('one that is not well only after the others had their time', () => {
    const one = new One().feed({ kind: 'measured', measured: measured(false), addresses: [], version: '0' });
    expect(markAlive(one)).toBe(false);
    expect(markAlive(one)).toBe(true);
  });
  it('not one whose ledger is of a newer version than it knows', () => {
    expect(markAlive(new One({ ...three(), schema: 99 }))).toBe(false);
  });
  it('at once, when the leader asks for it, and only then', () => {
    const led = () => new One().append(8, newer(8)).disk();
    expect(led().hear('C', { kind: 'timeout-now', term: 4 }).disk().last('vote')).toBeUndefined();
    expect(led().hear('A', { kind: 'timeout-now', term: 3 }).disk().last('vote')).toBeUndefined();
    expect(led().hear('A', { kind: 'timeout-now', term: 4 }).disk().last('vote')).toMatchObject({
      term: 5,
      handover: true,
    });
  });
  it('and a slow disk burns no terms', () => {
    const one = new One(ledgerOf({ B: 2 })).feed({ kind: 'ticked' }, 20);
    for (let count = 0; count < 50; count += 1) one.feed({ kind: 'ticked' }, 100);
    expect(one.state.raft.term).toBe(4);
    expect(one.disk().state.raft.leading).not.toBeNull();
  });
});

describe('a leader', () => {
  it('re-stamps its ledger in its own term, and changes nothing else (L3)', () => {
    const one = new One().elect();
    expect(one.last('append')?.ledger).toEqual({ ...three(), stamp: { term: 4, version: 8 } });
    expect(one.state.raft.committed?.stamp).toEqual({ term: 3, version: 7 });
    expect(one.ack('A', 8).state.raft.committed?.stamp).toEqual({ term: 4, version: 8 });
  });
  it('takes what waited for it into that first ledger, its own and what its voters asked, and answers when it is committed', () => {
    const set = (value: number): Change => ({ kind: 'set', key: 'graceMs', value });
    const one = new One().feed({ kind: 'ticked' }, 2000).disk();
    one.feed({ kind: 'requested', requests: [{ id: 'mine', change: set(1) }] });
    one.hear('A', { kind: 'change', id: 'early', change: set(2) });
    expect(one.last('change-answer')).toMatchObject({ id: 'early', outcome: { state: 'unknown' } });
    one.hear('A', { kind: 'pre-vote-answer', term: 4, granted: true, store: 'sA', because: '' });
    one
      .hear('A', { kind: 'change', id: 'its', change: set(3) })
      .hear('A', { kind: 'change', id: 'its', change: set(3) });
    one.hear('A', { kind: 'vote-answer', term: 4, granted: true, store: 'sA', because: '' }).disk();
    const [first] = one.said.flatMap(({ message }) => (message.kind === 'append' ? [message.ledger] : []));
    expect(first?.stamp).toEqual({ term: 4, version: 8 });
    expect(first?.configuration).toEqual(three().configuration);
    expect(first?.requests.map(({ id }) => id).sort()).toEqual(['its', 'mine']);
    expect(one.asked('answer')).toBe(0);
    one.ack('A', 8).disk();
    expect(one.asked('answer')).toBe(1);
    expect(one.last('change-answer')).toMatchObject({ id: 'its', outcome: { state: 'done' } });
  });
  it('counts its rounds on over its reigns: a follower of an earlier version answers one of a former reign by its number (L12)', () => {
    const one = new One().elect().disk();
    for (let count = 0; count < 5; count += 1) one.feed({ kind: 'ticked' }, 100);
    const before = one.state.raft.leading!.round;
    one.ack('A', 8).disk().feed({ kind: 'ticked' }, 1500);
    expect(one.state.raft.leading).toBeNull();
    for (let count = 0; count < 200 && one.last('pre-vote')!.term !== 5; count += 1)
      one.feed({ kind: 'ticked' }, 20).disk();
    one.hear('A', { kind: 'pre-vote-answer', term: 5, granted: true, store: 'sA', because: '' }).disk();
    one.hear('A', { kind: 'vote-answer', term: 5, granted: true, store: 'sA', because: '' }).disk();
    expect(one.state.raft.leading!.round).toBeGreaterThan(before);
  });
  it('keeps what was asked here while too many changes wait for a majority', () => {
    const set = (value: number): Change => ({ kind: 'set', key: 'graceMs', value });
    const one = new One().elect().disk();
    for (let count = 0; count < 70; count += 1)
      one.hear('A', { kind: 'change', id: `its-${count}`, change: set(count) });
    expect(one.last('change-answer')).toMatchObject({ id: 'its-69', outcome: { state: 'unknown' } });
    one.feed({ kind: 'requested', requests: [{ id: 'mine', change: set(1000) }] }).disk();
    expect(one.asked('answer')).toBe(0);
    one.ack('A', one.state.raft.accepted.stamp.version).disk();
    one.ack('A', one.state.raft.accepted.stamp.version).disk();
    expect(one.effects.find((effect) => effect.kind === 'answer')).toMatchObject({
      id: 'mine',
      outcome: { state: 'done' },
    });
    expect(one.state.raft.committed?.settings.graceMs).toBe(1000);
  });
  it('leaves a joint configuration only when it is committed in its own term (L3)', () => {
    const joint = three();
    joint.configuration = { voters: joint.configuration.voters, next: ledgerOf({ A: 3, B: 2 }).configuration.voters };
    const one = new One(joint).elect();
    expect(one.state.raft.accepted.configuration.next).not.toBeNull();
    one.ack('A', 8);
    expect(one.state.raft.accepted.configuration.next).toBeNull();
    expect(one.state.raft.accepted.stamp).toEqual({ term: 4, version: 9 });
  });
  it('drops acknowledgements of another term and of another store (L5, L8)', () => {
    const one = new One().elect();
    one
      .ack('A', 8, { term: 3 })
      .ack('A', 8, { stamp: { term: 3, version: 8 } })
      .ack('A', 8, { store: 'another' });
    expect(one.state.raft.committed?.stamp).toEqual({ term: 3, version: 7 });
  });
  it('does not count itself before its disk has it (L10)', () => {
    const one = new One(ledgerOf({ B: 3, A: 2 })).feed({ kind: 'ticked' }, 2000).disk().disk();
    expect(one.state.raft.committed?.stamp).toEqual({ term: 4, version: 8 });
    one.feed({ kind: 'requested', requests: [{ id: 'q', change: { kind: 'set', key: 'graceMs', value: 1 } }] });
    expect(one.state.raft.accepted.stamp.version).toBe(9);
    expect(one.state.raft.committed?.stamp.version).toBe(8);
    expect(one.disk().state.raft.committed?.stamp.version).toBe(9);
  });
  it('steps down after a second without a majority, counted from when the rounds were sent (L12)', () => {
    const one = new One().elect();
    const sent = one.state.raft.leading!.rounds.at(-1)!;
    // A stop of 1.5 s; the acknowledgement that waited in the socket is read before any timer.
    one.hear('A', { kind: 'ack', term: 4, round: sent.round, stamp: { term: 4, version: 8 }, store: 'sA' }, 1500);
    expect(one.state.raft.leading).toBeNull();
  });
  it('hears no answer to a round of its former reign for one of this (L12)', () => {
    const one = new One().append(8, newer(8)).disk();
    const late = { term: 3, round: 18, stamp: { term: 3, version: 7 } };
    expect(one.append(7, null, late).last('ack')).toEqual({ kind: 'ack', term: 4, round: 0, stamp: null, store: 'sB' });
    const led = new One().elect().ack('A', null, { round: 0 });
    expect(led.state.raft.peers.A?.acked?.sentAt).toBe(Number.NEGATIVE_INFINITY);
  });
  it('survives a stop of 300 ms', () => {
    const one = new One().elect().ack('A', 8);
    for (let count = 0; count < 30; count += 1) one.feed({ kind: 'ticked' }, 50).ack('A', 8);
    one.feed({ kind: 'ticked' }, 300);
    expect(one.state.raft.leading).not.toBeNull();
  });
  it('has contact as of the round that was answered, not of the answer (J1, L12)', () => {
    const one = new One().elect().ack('A', 8);
    one.feed({ kind: 'ticked' }, 50);
    const sent = one.state.raft.leading!.rounds.at(-1)!;
    one.at += 30;
    one.ack('A', 8);
    expect(leaderContactAt(one.state)).toBe(sent.at);
  });
  it('has that contact still when it steps down: its own runs have heard a leader until then (J1, chaos C5)', () => {
    const one = new One().elect().ack('A', 8);
    one.feed({ kind: 'ticked' }, 50);
    const sent = one.state.raft.leading!.rounds.at(-1)!;
    one.at += 30;
    one.ack('A', 8);
    for (let count = 0; count < 30; count += 1) one.feed({ kind: 'ticked' }, 50);
    expect(one.state.raft.leading).toBeNull();
    expect(leaderContactAt(one.state)).toBe(sent.at);
  });
  it('stops when a higher term is seen', () => {
    const one = new One().elect().hear('C', { kind: 'ack', term: 9, round: 1, stamp: null, store: 'sC' });
    expect(one.state.raft.leading).toBeNull();
    expect(one.state.raft.term).toBe(9);
  });
  it('is a follower after a restart (L10)', () => {
    const one = new One().elect();
    const again = restoredState(
      one.state.identity,
      {
        promise: { term: 4, votedFor: 'B' },
        accepted: one.state.raft.accepted,
        committed: null,
        asking: [],
        store: null,
      },
      1,
    );
    expect(again.raft.leading).toBeNull();
  });
  it('sends the whole ledger to one node at most every 100 ms without its answer', () => {
    const one = new One().elect();
    const whole = () =>
      one.said.filter(({ to, message }) => to === 'A' && message.kind === 'append' && message.ledger).length;
    one.feed({ kind: 'connected', node: 'A' });
    const before = whole();
    for (let count = 0; count < 20; count += 1) one.feed({ kind: 'ticked' }, 10);
    expect(whole() - before).toBeLessThanOrEqual(2);
  });
});

describe('a follower', () => {
  it('acknowledges what is on disk, and the round at once (L10)', () => {
    const one = new One().append(8, newer(8));
    expect(one.last('ack')).toBeUndefined();
    one.append(8, null, { round: 2 });
    expect(one.last('ack')).toMatchObject({ round: 2, stamp: null });
    one.disk();
    expect(one.last('ack')).toMatchObject({ round: 1, stamp: { term: 4, version: 8 }, store: 'sB' });
    expect(one.append(8, null, { round: 3 }).last('ack')).toMatchObject({ stamp: { term: 4, version: 8 } });
  });
  it('keeps what is committed when it accepts what is not (L1)', () => {
    const one = new One().append(8, newer(8)).disk();
    expect(one.state.raft.accepted.stamp.version).toBe(8);
    expect(one.state.raft.committed?.stamp).toEqual({ term: 3, version: 7 });
    expect(one.asked('publish-ledger')).toBe(0);
  });
  it.each([
    [{ term: 4, version: 8 }, true],
    [{ term: 4, version: 9 }, false],
    [{ term: 4, version: 7 }, false],
    [{ term: 3, version: 8 }, false],
  ])('commits only by a mark equal to its own stamp: %o -> %s (L5)', (committed, expected) => {
    const one = new One().append(8, newer(8), { committed }).disk();
    expect(one.state.raft.committed?.stamp.term === 4).toBe(expected);
  });
  it('refuses an older term, and says which it is in', () => {
    const one = new One(three(), 'B', { promise: { term: 6, votedFor: null } }).append(8, newer(8));
    expect(one.last('ack')).toMatchObject({ term: 6, stamp: null });
    expect(one.state.raft.accepted.stamp).toEqual({ term: 3, version: 7 });
  });
  it('does not go back to an older ledger of the same term', () => {
    const one = new One().append(9, newer(9)).disk().append(8, newer(8)).disk();
    expect(one.state.raft.accepted.stamp.version).toBe(9);
  });
});
