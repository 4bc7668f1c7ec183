import { describe, expect, it } from 'vitest';
import { foundingLedger, type Ledger } from '../../protocol/ledger.ts';
import type { MessageOf, PeerMessage } from '../../protocol/messages.ts';
import type { Durable, Effect } from '../../scheduler/effects.ts';
import type { Happened } from '../../scheduler/inputs.ts';
import { type CoreState, wake } from '../../scheduler/state.ts';
import { step } from '../../scheduler/step.ts';
import { leaderContactAt, livenessOf } from '../../scheduler/views.ts';

/** One core, spoken to by hand: the rules of SAFETY §1, each at the moment where the wrong implementation differs. */
const wall = 1_800_000_000_000;
function ledgerOf(voters: Record<string, number>, term = 3, version = 7): Ledger {
  const base = foundingLedger({
    meshId: 'm',
    meshName: 'home',
    era: 'era-0',
    node: 'A',
    name: 'a',
    store: 'sA',
    addresses: [],
    witness: false,
    wallMs: wall,
    pairUntil: 0,
    defaultArch: 'amd64',
  });
  const node = base.nodes.A!;
  const nodes = Object.fromEntries(
    Object.keys(voters).map((id) => [id, { ...node, name: id.toLowerCase(), store: `s${id}` }]),
  );
  const configuration = {
    voters: Object.fromEntries(Object.entries(voters).map(([id, weight]) => [id, { store: `s${id}`, weight }])),
    next: null,
  };
  return { ...base, nodes, configuration, stamp: { term, version } };
}
const three = (): Ledger => ledgerOf({ A: 2, B: 2, C: 2 });

/** Node B, unless said otherwise. `disk()` lets what was asked to be written be on disk. */
class One {
  at = 1000;
  state: CoreState;
  said: { to: string; message: PeerMessage }[] = [];
  effects: Effect[] = [];
  private writing: (Effect & { kind: 'persist' })[] = [];

  constructor(ledger: Ledger = three(), node = 'B', durable: Partial<Durable> = {}) {
    const identity = {
      node,
      name: node.toLowerCase(),
      store: `s${node}`,
      boot: `b${node}`,
      startedAtWallMs: wall,
      seed: 1,
      version: '0',
    };
    const full = {
      promise: { term: ledger.stamp.term, votedFor: null },
      accepted: ledger,
      committed: ledger,
      asking: [],
    };
    this.state = wake(identity, { ...full, ...durable }, this.at, wall);
  }
  feed(happened: Happened, afterMs = 0): this {
    this.at += afterMs;
    const result = step(this.state, { at: this.at, wallMs: wall + this.at, ...happened });
    this.state = result.state;
    for (const effect of result.effects) this.obey(effect);
    return this;
  }
  hear = (from: string, message: PeerMessage, afterMs = 0): this =>
    this.feed({ kind: 'heard', from, message }, afterMs);
  private obey(effect: Effect): void {
    this.effects.push(effect);
    if (effect.kind === 'send') this.said.push({ to: effect.to, message: effect.message });
    if (effect.kind === 'persist') this.writing.push(effect);
  }
  disk(): this {
    for (const effect of this.writing.splice(0)) {
      for (const next of effect.then) this.obey(next);
      this.feed({ kind: 'persisted', seq: effect.seq });
    }
    return this;
  }
  last<K extends PeerMessage['kind']>(kind: K): MessageOf<K> | undefined {
    const all = this.said.map(({ message }) => message).filter((message) => message.kind === kind);
    return all.at(-1) as MessageOf<K> | undefined;
  }
  asked = (kind: Effect['kind']): number => this.effects.filter((effect) => effect.kind === kind).length;
  events = (): string[] => this.effects.flatMap((effect) => (effect.kind === 'note' ? [effect.event] : []));

  /** Makes it leader of term 4 with B's vote of its own and A's. */
  elect(): this {
    this.feed({ kind: 'ticked' }, 2000).disk();
    const term = this.last('pre-vote')!.term;
    this.hear('A', { kind: 'pre-vote-answer', term, granted: true, store: 'sA', because: '' }).disk();
    this.hear('A', { kind: 'vote-answer', term, granted: true, store: 'sA', because: '' }).disk();
    return this;
  }
  append(version: number, ledger: Ledger | null, more: Partial<MessageOf<'append'>> = {}): this {
    const stamp = { term: 4, version };
    const message = { kind: 'append', term: 4, round: 1, stamp, committed: { term: 0, version: 0 }, ledger } as const;
    return this.hear('A', { ...message, ...more });
  }
  ack(from: string, version: number | null, more: Partial<MessageOf<'ack'>> = {}): this {
    const { term, leading } = this.state.raft;
    const stamp = version === null ? null : { term, version };
    return this.hear(from, { kind: 'ack', term, round: leading!.round, stamp, store: `s${from}`, ...more });
  }
}
const newer = (version: number, term = 4): Ledger => ({ ...three(), stamp: { term, version } });
const vote = (term: number, stamp = { term: 3, version: 7 }): PeerMessage => ({
  kind: 'vote',
  term,
  stamp,
  handover: false,
});

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
    expect(one.last('vote')).toBeUndefined();
    one.hear('A', { kind: 'vote-answer', term: 4, granted: true, store: 'sA', because: '' });
    expect(one.state.raft.leading).toBeNull();
    one.disk();
    expect(one.state.raft.leading).not.toBeNull();
  });
  it('need no pre-vote that raised a term', () => {
    const one = new One().feed({ kind: 'ticked' }, 2000).disk();
    expect(one.last('pre-vote')).toMatchObject({ term: 4, evidence: 'none' });
    expect(one.state.raft.term).toBe(3);
  });
});

describe('a leader', () => {
  it('re-stamps its ledger in its own term, and changes nothing else (L3)', () => {
    const one = new One().elect();
    expect(one.last('append')?.ledger).toEqual({ ...three(), stamp: { term: 4, version: 8 } });
    expect(one.state.raft.committed?.stamp).toEqual({ term: 3, version: 7 });
    expect(one.ack('A', 8).state.raft.committed?.stamp).toEqual({ term: 4, version: 8 });
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
    one.feed({ kind: 'requested', id: 'q', change: { kind: 'set', key: 'graceMs', value: 1 } });
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
  it('stops when a higher term is seen', () => {
    const one = new One().elect().hear('C', { kind: 'ack', term: 9, round: 1, stamp: null, store: 'sC' });
    expect(one.state.raft.leading).toBeNull();
    expect(one.state.raft.term).toBe(9);
  });
  it('is a follower after a restart (L10)', () => {
    const one = new One().elect();
    const again = wake(
      one.state.identity,
      { promise: { term: 4, votedFor: 'B' }, accepted: one.state.raft.accepted, committed: null, asking: [] },
      1,
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

describe('evidence', () => {
  const led = (): One => new One().append(8, newer(8)).disk();
  const ask = (evidence: 'refused' | 'silent' | 'timeout' | 'none', leader: string | null = 'A'): PeerMessage => ({
    kind: 'pre-vote',
    term: 5,
    stamp: { term: 4, version: 8 },
    evidence,
    leader,
  });
  it('is looked for when the stream to the leader closes, and by nobody else', () => {
    expect(led().feed({ kind: 'disconnected', node: 'A' }, 10).asked('probe')).toBe(1);
    expect(led().feed({ kind: 'disconnected', node: 'C' }, 10).asked('probe')).toBe(0);
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
  it('that others have rolled back are told so (L9)', () => {
    const one = new One().elect().ack('A', 8);
    one.said = [];
    one.hear('A', hello({}));
    expect(one.last('hello')?.promised).toEqual({ term: 4, stamp: { term: 4, version: 8 } });
    one.said = [];
    one.hear('A', hello({ store: 'new' }));
    expect(one.last('hello')).toBeUndefined();
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
  it('a newer ledger is taken whatever its stamp', () => {
    const ledger = { ...newer(1), era: { id: 'x', counter: 1 } };
    const message = {
      kind: 'append',
      term: 4,
      round: 1,
      stamp: ledger.stamp,
      committed: ledger.stamp,
      ledger,
    } as const;
    const one = new One().feed({ kind: 'heard', from: 'A', message, era: ledger.era }).disk();
    expect(one.state.raft.accepted.era).toEqual(ledger.era);
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
});
