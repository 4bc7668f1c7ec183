import { describe, expect, it } from 'vitest';
import type { Ledger } from '../../protocol/ledger.ts';
import type { MessageOf } from '../../protocol/messages.ts';
import type { EffectOf } from '../../scheduler/effects.ts';
import { recoveryOf } from '../../scheduler/views.ts';
import { hostedGitlab } from '../fixtures/hosted-gitlab.ts';
import { type Cluster, mesh } from './raft-cluster.ts';
import { ledgerOf, newer, One, three, vote } from './raft-one.ts';

/** Going on without a quorum, and what becomes of the others (SAFETY L15). */
const asked = (seenOff: string[], era = 'fresh', id = 'r') => ({ kind: 'recovery-asked', id, era, seenOff }) as const;
const answers = (one: One): string[] =>
  one.effects.flatMap((effect) =>
    effect.kind === 'answer' ? [`${effect.outcome.state}: ${effect.outcome.because}`] : [],
  );
/** B of three that has heard nobody for a minute. */
const alone = (ledger: Ledger = three()): One => new One(ledger).feed({ kind: 'ticked' }, 60_000);

describe('recover --force', () => {
  it('leaves nobody in sync with a hosted GitLab: an old ledger may name who was out since', () => {
    const base = three();
    const set = { version: 7, members: ['A'], last: ['C'], boot: 'of-before' };
    const copies = { agreed: ['A', 'C'], standbys: [], set, bases: { 1: { era: 0, epoch: 1, number: 4 } } };
    const hosted = hostedGitlab({ copies });
    const gitlab = { ...base.gitlab, mode: 'hosted' as const, host: 'B', epoch: 1, hosted };
    const one = alone({ ...base, gitlab }).feed(asked(['a', 'c']));
    const now = one.state.raft.accepted;
    expect([now.era.counter, now.gitlab.hosted?.copies]).toEqual([
      3,
      { ...copies, set: { version: 8, members: [], last: null, boot: null } },
    ]);
  });

  it("starts no GitLab by what a person wanted in the former era, and keeps a flag, which is a person's", () => {
    const base = three();
    const wanted = { to: 'B', since: 0, because: 'C is gone' };
    const gitlab = (failover: object) => ({
      ...{ ...base.gitlab, mode: 'hosted' as const, host: 'C', epoch: 1 },
      hosted: hostedGitlab({ failover: failover as never }),
    });
    const left = (failover: object) =>
      alone({ ...base, gitlab: gitlab(failover) }).feed(asked(['a', 'c'])).state.raft.accepted.gitlab.hosted?.failover;
    expect(left({ count: 0, wanted })).toBeUndefined();
    expect(left({ count: 3, flag: 'moved too often', wanted })).toEqual({ count: 3, flag: 'moved too often' });
  });

  it("wants GitLab's host seen switched off as well, where that does not vote", () => {
    const base = three();
    const nodes = { ...base.nodes, D: { ...base.nodes.C!, name: 'd' } };
    const gitlab = { ...base.gitlab, mode: 'hosted' as const, host: 'D', epoch: 1, hosted: hostedGitlab() };
    const one = alone({ ...base, nodes, gitlab });
    expect(recoveryOf(one.state, one.at)).toEqual({ refused: null, off: ['a', 'c', 'd'] });
    expect(answers(one.feed(asked(['a', 'c'])))).toEqual([
      expect.stringContaining('d must have been seen switched off'),
    ]);
  });

  it('needs every voter that is not heard to be named, and nobody that is', () => {
    const one = alone();
    expect(recoveryOf(one.state, one.at)).toEqual({ refused: null, off: ['a', 'c'] });
    one
      .feed(asked(['a']))
      .feed(asked(['a', 'nobody']))
      .feed(asked(['a', 'b', 'c']));
    one.hear('C', vote(1)).feed(asked(['a', 'c']), 2000);
    expect(answers(one)).toEqual([
      'refused: c must have been seen switched off too: every voter that does not answer here',
      'refused: no machine of the mesh is called nobody',
      'refused: b is this machine',
      'refused: b and c are a majority of the voters: they elect a leader by themselves',
    ]);
    expect(one.state.raft.accepted.era.counter).toBe(0);
  });

  it('refuses who was heard lately, by itself, by gossip or by its kernel', () => {
    const five = ledgerOf({ A: 2, B: 2, C: 2, D: 2, E: 2 });
    const one = alone(five)
      .hear('C', vote(1))
      .feed(asked(['a', 'c', 'd', 'e']), 1500);
    one.feed({ kind: 'probed', node: 'D', result: 'accepted', tookMs: 1 }, 5000).feed(asked(['a', 'c', 'd', 'e']));
    expect(answers(one)).toEqual([
      'refused: c was heard 1.5 s ago: it is not switched off',
      'refused: d was heard 0 s ago: it is not switched off',
    ]);
    // A look that found nobody there is newer than its last word.
    const dead = alone(five).hear('C', vote(1));
    dead.feed({ kind: 'probed', node: 'C', result: 'refused', tookMs: 1 }, 10);
    expect(recoveryOf(dead.state, dead.at).off).toEqual(['a', 'c', 'd', 'e']);
    // One that is heard and has its vote need not be off: it follows.
    one
      .hear('C', vote(1), 6000)
      .feed(asked(['a', 'd', 'e']))
      .disk();
    expect(answers(one).at(-1)).toMatch(/^done: b goes on alone without a, d and e, in era 3/);
  });

  it('refuses where somebody leads, and where this node is none that could', () => {
    const led = new One().append(8, null);
    expect(recoveryOf(led.state, led.at).refused).toBe('a leads: there is nothing to recover');
    const leads = new One().elect().ack('A', 8);
    expect(recoveryOf(leads.state, leads.at).refused).toBe('b leads: there is nothing to recover');
    const { B: _, ...nodes } = three().nodes;
    expect(recoveryOf(alone({ ...three(), nodes }).state, 61_000).refused).toMatch(
      /^this machine is in the mesh no more/,
    );
    const goes = alone().feed({ kind: 'leave-asked' });
    expect(recoveryOf(goes.state, goes.at).refused).toMatch(/^this agent leaves the mesh/);
    expect(recoveryOf(alone({ ...three(), schema: 99 }).state, 61_000).refused).toMatch(/newer version/);
  });

  it('is on disk before this node leads, is told, or says anything in the name of the new era', () => {
    const one = alone();
    one.effects = [];
    one.said = [];
    const change = { kind: 'set', key: 'graceMs', value: three().settings.graceMs } as const;
    one.feed({ kind: 'requested', requests: [{ id: 'waits', change }] });
    one.feed(asked(['a', 'c'])).feed({ kind: 'ticked' }, 3000);
    one.feed({ kind: 'heard', from: 'A', message: vote(9), era: three().era });
    expect(one.said).toEqual([]);
    expect([one.asked('answer'), one.asked('publish-ledger'), one.state.raft.leading]).toEqual([0, 0, null]);
    const [persist] = one.effects.filter((effect) => effect.kind === 'persist') as EffectOf<'persist'>[];
    const written = Object.fromEntries(persist!.writes.map(({ key, value }) => [key, value]));
    const voters = { B: { store: 'sB', weight: 2 } };
    const ledger = { era: { id: 'fresh', counter: 3 }, configuration: { voters, next: null } };
    expect(written).toMatchObject({ accepted: ledger, committed: ledger, promise: { votedFor: 'B' } });
    one.disk().disk();
    expect(one.state.raft.leading).not.toBeNull();
    expect(answers(one).filter((said) => said.startsWith('done'))).toHaveLength(2);
    expect(one.last('append')?.ledger?.era).toEqual({ id: 'fresh', counter: 3 });
    // A second time nothing is left to do, and a third one, by the same id, is not even looked at.
    one.feed(asked(['a', 'c'], 'other', 'r2')).feed(asked(['a', 'c'], 'other'));
    expect(answers(one)).toHaveLength(3);
    expect(answers(one)[2]).toBe('refused: b leads: there is nothing to recover');
  });

  it('begins with the newest accepted ledger, committed or not, and out of a joint configuration', () => {
    const next = { B: { store: 'sB', weight: 2 } };
    const ledger: Ledger = {
      ...newer(9),
      pairUntil: 77,
      configuration: { voters: three().configuration.voters, next },
    };
    const one = new One().append(9, ledger).disk();
    for (let second = 0; second < 10; second += 1) one.feed({ kind: 'ticked' }, 900);
    one.feed(asked(['a', 'c'])).disk();
    expect(one.state.raft.accepted).toMatchObject({ pairUntil: 77, configuration: { voters: next, next: null } });
    expect(one.state.raft.accepted.recovery?.from.stamp).toEqual({ term: 4, version: 9 });
  });
});

describe('a node of an old era', () => {
  const era = { id: 'x', counter: 1 };
  const recovered: Ledger = { ...three(), era, stamp: { term: 2, version: 9 } };
  const hello = (more: Partial<MessageOf<'hello'>> = {}): MessageOf<'hello'> => ({
    kind: 'hello',
    boot: 'bA',
    store: 'sA',
    term: 2,
    stamp: recovered.stamp,
    promised: null,
    version: '0',
    ledger: recovered,
    ...more,
  });
  const hear = (one: One, message: MessageOf<'hello'> | ReturnType<typeof vote>): One =>
    one.feed({ kind: 'heard', from: 'A', message, era });

  it('takes the ledger of the new one whatever its stamp, and the term with it', () => {
    const one = hear(new One().elect(), hello()).disk();
    expect(one.state.raft).toMatchObject({
      leading: null,
      term: 2,
      votedFor: null,
      accepted: { era },
      committed: { era },
    });
    expect(one.events()).toContain('era-changed');
    // What it had on disk in the old era is no acknowledgement in the new one.
    expect(one.state.raft.diskStamp).toEqual(recovered.stamp);
    expect(
      hear(one, vote(3, { term: 2, version: 9 }))
        .disk()
        .last('vote-answer'),
    ).toMatchObject({ granted: true });
  });

  it('acknowledges nothing of the new era before it is on disk', () => {
    const one = hear(new One(newer(9, 3)), hello({ ledger: { ...recovered, stamp: { term: 3, version: 4 } } }));
    const message = { kind: 'append', term: 3, round: 1, stamp: { term: 3, version: 9 }, ledger: null } as const;
    one.feed({ kind: 'heard', from: 'A', message: { ...message, committed: { term: 3, version: 9 } }, era });
    expect(one.last('ack')).toMatchObject({ stamp: null });
    expect(one.state.raft.committed?.stamp).toEqual({ term: 3, version: 4 });
  });

  it('that only saw it votes, leads and stands in its own no more, and asks for the ledger', () => {
    const one = hear(new One().elect(), vote(9)).disk();
    expect(one.state.raft.leading).toBeNull();
    expect(one.last('hello')).toBeDefined();
    expect(one.last('vote-answer')).toBeUndefined();
    expect(one.hear('C', vote(9, { term: 8, version: 8 })).last('vote-answer')).toMatchObject({ granted: false });
    one.said = [];
    one.feed({ kind: 'ticked' }, 20_000);
    expect(one.said.map(({ message }) => message.kind)).not.toContain('pre-vote');
    // Where the new era is gone for good, force helps once more, and begins one after it.
    one
      .feed({ kind: 'ticked' }, 60_000)
      .feed(asked(['a', 'c']))
      .disk();
    expect(one.state.raft.accepted.era.counter).toBe(4);
  });

  it('that promised something in the new one before has forgotten it (L9)', () => {
    const one = hear(new One(), hello({ promised: { store: 'sB', term: 2, stamp: { term: 2, version: 8 } } }));
    expect(one.events()).toContain('store-rolled-back');
    expect(hear(one, vote(9, { term: 9, version: 9 })).last('vote-answer')).toMatchObject({ granted: false });
  });

  it('that has seen a still newer one takes what it is given, and waits on', () => {
    const one = new One().feed({ kind: 'heard', from: 'C', message: vote(9), era: { id: 'y', counter: 2 } });
    hear(one, hello()).disk();
    expect(one.state.raft).toMatchObject({ accepted: { era }, newerEra: { counter: 2 } });
    expect(hear(one, vote(9, { term: 9, version: 9 })).last('vote-answer')).toMatchObject({ granted: false });
  });

  it('is brought over by any node that has the new one', () => {
    const one = new One(recovered).feed({ kind: 'heard', from: 'C', message: vote(9), era: three().era });
    expect(one.last('vote-answer')).toBeUndefined();
    expect(one.last('hello')?.ledger?.era).toEqual(era);
    one.said = [];
    one.feed({ kind: 'heard', from: 'C', message: vote(9), era: three().era }, 100);
    expect(one.said).toEqual([]);
  });
});

describe('a mesh that lost its quorum for good', () => {
  function recover(cluster: Cluster, node: string, off: string[]): void {
    cluster.feed(node, asked(off, `era-of-${node}`));
    cluster.until(() => cluster.leaders().includes(node), 100, `${node} leads`);
  }

  it('goes on with who is left; who comes back follows, is told what is lost, and votes again', () => {
    const cluster = mesh('A', 'B', 'C');
    cluster.cut.add('A>B').add('B>A').add('A>C').add('C>A');
    cluster.until(() => cluster.leaders().some((node) => node !== 'A'), 5000, 'the others go on');
    cluster.run(2000);
    // What B and C decide now, A never hears of: a person says that they are off, and is wrong.
    const [other] = cluster.leaders();
    cluster.request(other!, { kind: 'set', key: 'graceMs', value: 5000 });
    cluster.run(6000);
    recover(cluster, 'A', ['B', 'C']);
    const id = cluster.request('A', { kind: 'set', key: 'graceMs', value: 7000 });
    cluster.until(() => cluster.answerTo('A', id)?.state === 'done', 1000, 'the settings can be written');
    expect(cluster.leaders().sort()).toEqual(['A', other].sort());

    cluster.cut.clear();
    cluster.connect('A', 'B');
    cluster.connect('A', 'C');
    cluster.until(() => cluster.leaders().length === 1 && cluster.leaders()[0] === 'A', 2000, 'the old era ends');
    cluster.until(() => Object.keys(cluster.voters('A')).length === 3, 5000, 'all vote');
    for (const node of ['B', 'C']) {
      cluster.until(() => cluster.committed(node).settings.graceMs === 7000, 1000, `${node} has the new ledger`);
      const changed = cluster.box(node).notes.find(({ event }) => event === 'era-changed');
      expect(changed?.because).toMatch(
        /recovered by force on A: this node follows; what was decided here after .* is lost/,
      );
    }
    expect(cluster.box('B').durable.accepted?.era).toEqual({ id: 'era-of-A', counter: 2 });
  });

  it('of two recoveries apart one wins, everywhere alike', () => {
    const cluster = mesh('A', 'B');
    cluster.cut.add('A>B').add('B>A');
    cluster.run(7000);
    expect(cluster.leaders()).toEqual(['A']);
    recover(cluster, 'B', ['A']);
    cluster.kill('A');
    cluster.box('A').durable.accepted = structuredClone(cluster.committed('A'));
    cluster.start('A');
    cluster.cut.clear();
    cluster.connect('A', 'B');
    cluster.until(
      () => cluster.voters('A').B !== undefined && cluster.committed('A').era.counter === 3,
      5000,
      'both vote',
    );
    expect(cluster.leaders()).toEqual(['B']);
  });

  it('is recovered on several sides, each of which counts eras of its own, whoever wins', () => {
    const cluster = mesh('A', 'B', 'C');
    const pairs = ['A>B', 'B>A', 'A>C', 'C>A', 'B>C', 'C>B'];
    for (const pair of pairs) cluster.cut.add(pair);
    cluster.until(() => cluster.leaders().length === 0, 20_000, 'nobody leads');
    cluster.run(6000);
    for (const node of ['C', 'A', 'B'])
      recover(
        cluster,
        node,
        ['A', 'B', 'C'].filter((one) => one !== node),
      );
    const eras = ['A', 'B', 'C'].map((node) => cluster.committed(node).era.counter);
    expect(new Set(eras).size).toBe(3);
    cluster.cut.clear();
    for (const pair of ['AB', 'AC', 'BC']) cluster.connect(pair[0]!, pair[1]!);
    const highest = Math.max(...eras);
    cluster.until(
      () => ['A', 'B', 'C'].every((node) => cluster.committed(node).era.counter === highest),
      10_000,
      'all are in the highest',
    );
  });
});
