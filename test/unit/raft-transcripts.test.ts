import { describe, expect, it } from 'vitest';
import { type Cluster, found, measured, mesh } from './raft-cluster.ts';

const newLeader = (cluster: Cluster, not: string): number =>
  cluster.until(
    () => {
      const leaders = cluster.leaders().filter((node) => node !== not);
      const alive = [...cluster.boxes.values()].filter((box) => box.state && box.identity.node !== not);
      return leaders.length === 1 && alive.every((box) => box.state?.raft.leader?.node === leaders[0]);
    },
    5000,
    'all know a new leader',
  );
const stop = (cluster: Cluster, node: string, ms: number): void => {
  const box = cluster.box(node);
  const { state } = box;
  box.state = null;
  cluster.machines.set(node, 'accepted');
  const inputs = box.inputs;
  const wakeAt = box.wakeAt;
  const obeyed = cluster.backlog(node);
  cluster.run(ms);
  box.state = state;
  box.wakeAt = wakeAt;
  box.inputs = [...inputs, ...obeyed()];
  cluster.machines.delete(node);
};

describe('a mesh from its first day', () => {
  it('is founded by one, which leads at once', () => {
    const cluster = found('kang');
    expect(cluster.until(() => cluster.leaders().length === 1, 1000, 'leads')).toBeLessThan(20);
    expect(cluster.committed('kang').stamp).toEqual({ term: 1, version: 2 });
  });

  it('grows to three voters by approval, and every node hears of it', () => {
    const cluster = mesh('kang', 'desktop-1', 'desktop-2');
    for (const node of ['kang', 'desktop-1', 'desktop-2'])
      expect(cluster.voters(node)).toEqual({ kang: 2, 'desktop-1': 2, 'desktop-2': 2 });
    expect(cluster.leaders()).toEqual(['kang']);
    const events = cluster.box('desktop-1').notes.map(({ event }) => event);
    expect(events).toContain('leader-elected');
    expect(events).toContain('voters-changed');
    expect(events).toContain('node-approved');
  });

  it('passes through a joint configuration for every change of voters', () => {
    const cluster = mesh('kang', 'desktop-1', 'desktop-2');
    const shown = (voters: object | null): string => JSON.stringify(voters);
    let last = cluster.committed('kang').configuration;
    const seen: (typeof last)[] = [];
    for (const { from, message } of cluster.sent)
      if (from === 'kang' && message.kind === 'append' && message.ledger) seen.push(message.ledger.configuration);
    expect(seen.filter(({ next }) => next !== null).length).toBeGreaterThan(0);
    last = seen[0]!;
    for (const one of seen.slice(1)) {
      const isSame = shown(one.voters) === shown(last.voters) && shown(one.next) === shown(last.next);
      const begins = last.next === null && one.next !== null && shown(one.voters) === shown(last.voters);
      const ends = last.next !== null && one.next === null && shown(one.voters) === shown(last.next);
      expect(isSame || begins || ends).toBe(true);
      last = one;
    }
  });

  it('has a tie-breaker with two voters, the longest approved one', () => {
    expect(mesh('kang', 'desktop-1').voters('desktop-1')).toEqual({ kang: 3, 'desktop-1': 2 });
  });

  it('gives the ledger, but no vote, to an eighth node', () => {
    const cluster = mesh('a', 'b', 'c', 'd', 'e', 'f', 'g');
    cluster.admit('a', 'h');
    cluster.run(2000);
    expect(cluster.committed('h').nodes.h?.name).toBe('h');
    expect(cluster.committed('h').stamp).toEqual(cluster.committed('a').stamp);
    expect(Object.keys(cluster.voters('a'))).toHaveLength(7);
  });
});

describe('losing the leader', () => {
  it('elects within a few milliseconds after kill -9, by evidence', () => {
    const cluster = mesh('kang', 'desktop-1', 'desktop-2');
    cluster.run(500);
    cluster.kill('kang');
    expect(newLeader(cluster, 'kang')).toBeLessThan(30);
    const events = cluster.box('desktop-2').notes.map(({ event }) => event);
    expect(events.filter((event) => event === 'leader-lost')).toHaveLength(1);
  });

  it('elects in about 300 ms when the machine vanishes', () => {
    const cluster = mesh('kang', 'desktop-1', 'desktop-2');
    cluster.run(500);
    cluster.vanish('kang');
    expect(newLeader(cluster, 'kang')).toBeLessThan(400);
  });

  it('keeps its leader through a stop of 300 ms, and through twenty of them', () => {
    const cluster = mesh('kang', 'desktop-1', 'desktop-2');
    const term = cluster.committed('kang').stamp.term;
    for (let count = 0; count < 20; count += 1) {
      cluster.run(700);
      stop(cluster, 'kang', 300);
    }
    cluster.run(1000);
    expect(cluster.leaders()).toEqual(['kang']);
    expect(cluster.box('kang').state?.raft.term).toBe(term);
  });

  it('has another leader after a stop of 10 s, and the old one follows when it wakes', () => {
    const cluster = mesh('kang', 'desktop-1', 'desktop-2');
    cluster.run(500);
    stop(cluster, 'kang', 10_000);
    cluster.run(1000);
    expect(cluster.leaders()).not.toContain('kang');
    expect(cluster.leaders()).toHaveLength(1);
    expect(cluster.box('kang').state?.raft.leader?.node).toBe(cluster.leaders()[0]);
  });

  it('does not campaign against a leader whose stream closed but whose machine answers', () => {
    const cluster = mesh('kang', 'desktop-1', 'desktop-2');
    const term = cluster.box('kang').state?.raft.term;
    cluster.post('desktop-1', 1, { kind: 'disconnected', node: 'kang' });
    cluster.run(3000);
    expect(cluster.box('kang').state?.raft.term).toBe(term);
  });

  it('loses no committed change, and the old leader comes back as a follower', () => {
    const cluster = mesh('kang', 'desktop-1', 'desktop-2');
    const id = cluster.request('desktop-1', { kind: 'set', key: 'graceMs', value: 5000 });
    cluster.until(() => cluster.answerTo('desktop-1', id) !== null, 1000, 'an answer');
    cluster.kill('kang');
    newLeader(cluster, 'kang');
    cluster.start('kang');
    cluster.run(2000);
    for (const node of cluster.boxes.keys()) expect(cluster.committed(node).settings.graceMs).toBe(5000);
    expect(cluster.leaders()).toHaveLength(1);
    expect(cluster.leaders()).not.toContain('kang');
  });

  it('cannot go on without the tie-breaker of two, and goes on without the other', () => {
    const cluster = mesh('kang', 'desktop-1');
    cluster.kill('desktop-1');
    cluster.run(3000);
    expect(cluster.leaders()).toEqual(['kang']);
    cluster.start('desktop-1');
    cluster.run(1000);
    cluster.kill('kang');
    cluster.run(5000);
    expect(cluster.leaders()).toEqual([]);
  });

  it('is led again after all were off', () => {
    const cluster = mesh('kang', 'desktop-1', 'desktop-2');
    for (const node of cluster.boxes.keys()) cluster.kill(node);
    cluster.run(1000);
    for (const node of cluster.boxes.keys()) cluster.start(node);
    expect(newLeader(cluster, '')).toBeLessThan(1000);
  });
});

describe('voters come and go', () => {
  it('takes a voter out after a minute of death and back at once (SAFETY L14)', () => {
    const cluster = mesh('kang', 'desktop-1', 'desktop-2');
    cluster.kill('desktop-2');
    cluster.run(58_000);
    expect(Object.keys(cluster.voters('kang'))).toHaveLength(3);
    cluster.run(4000);
    expect(cluster.voters('kang')).toEqual({ kang: 3, 'desktop-1': 2 });
    cluster.start('desktop-2');
    cluster.until(() => Object.keys(cluster.voters('kang')).length === 3, 1000, 'it votes again');
  });

  it('never shrinks below two by itself (SAFETY L13)', () => {
    const cluster = mesh('kang', 'desktop-1');
    cluster.kill('desktop-1');
    cluster.run(200_000);
    expect(cluster.voters('kang')).toEqual({ kang: 3, 'desktop-1': 2 });
    expect(cluster.leaders()).toEqual(['kang']);
  });

  it('replaces a voter that lost its disk by its new self', () => {
    const cluster = mesh('kang', 'desktop-1', 'desktop-2');
    cluster.kill('desktop-2');
    cluster.run(100);
    const ledger = structuredClone(cluster.committed('kang'));
    cluster.add(
      'desktop-2',
      {
        ...cluster.box('desktop-2').durable,
        promise: { term: 0, votedFor: null },
        accepted: ledger,
        committed: ledger,
      },
      'new-store',
    );
    cluster.until(
      () => cluster.committed('kang').configuration.voters['desktop-2']?.store === 'new-store',
      3000,
      'swapped',
    );
  });

  it('lets a follower leave', () => {
    const cluster = mesh('kang', 'desktop-1', 'desktop-2');
    cluster.feed('desktop-2', { kind: 'leave-asked' });
    cluster.until(() => cluster.box('desktop-2').departed !== null, 2000, 'departed');
    expect(cluster.box('desktop-2').departed).toBe('everything is handed over');
    expect(cluster.voters('kang')).toEqual({ kang: 3, 'desktop-1': 2 });
    cluster.kill('desktop-2');
    cluster.run(5000);
    cluster.start('desktop-2');
    cluster.post('desktop-2', 50, {
      kind: 'measured',
      measured: measured(true),
      addresses: [],
      version: '0.1.0',
    });
    cluster.until(() => Object.keys(cluster.voters('kang')).length === 3, 2000, 'back');
  });

  it('lets the leader leave, and another leads at once (SAFETY L6)', () => {
    const cluster = mesh('kang', 'desktop-1', 'desktop-2');
    cluster.feed('kang', { kind: 'leave-asked' });
    cluster.until(() => cluster.box('kang').departed !== null, 3000, 'departed');
    expect(newLeader(cluster, 'kang')).toBeLessThan(50);
    expect(Object.keys(cluster.voters(cluster.leaders()[0]!)).sort()).toEqual(['desktop-1', 'desktop-2']);
  });

  it('lets the leader of two leave: the other gets the tie-break and leads alone (SAFETY L13)', () => {
    const cluster = mesh('kang', 'desktop-1');
    cluster.feed('kang', { kind: 'leave-asked' });
    cluster.until(() => cluster.box('kang').departed !== null, 3000, 'departed');
    cluster.kill('kang');
    cluster.run(3000);
    expect(cluster.leaders()).toEqual(['desktop-1']);
    expect(cluster.voters('desktop-1')).toEqual({ kang: 2, 'desktop-1': 3 });
  });

  it('forgets a node: it votes no more', () => {
    const cluster = mesh('kang', 'desktop-1', 'desktop-2');
    const id = cluster.request('desktop-1', { kind: 'forget', node: 'kang' });
    cluster.until(() => cluster.answerTo('desktop-1', id) !== null, 2000, 'an answer');
    cluster.run(3000);
    const leader = cluster.leaders()[0]!;
    expect(leader).not.toBe('kang');
    expect(Object.keys(cluster.voters(leader)).sort()).toEqual(['desktop-1', 'desktop-2']);
  });

  it('hands over when the leader is not well', () => {
    const cluster = mesh('kang', 'desktop-1', 'desktop-2');
    cluster.feed('kang', { kind: 'measured', measured: measured(false), addresses: [], version: '0.1.0' });
    newLeader(cluster, 'kang');
  });
});

describe('changes', () => {
  it('answers the node that asked, when it is committed', () => {
    const cluster = mesh('kang', 'desktop-1', 'desktop-2');
    const id = cluster.request('desktop-2', { kind: 'set', key: 'retryLost', value: true });
    cluster.run(50);
    expect(cluster.answerTo('desktop-2', id)).toEqual({ state: 'done', because: 'retryLost is on' });
    expect(cluster.committed('kang').settings.retryLost).toBe(true);
  });

  it('asks again over a change of leader, and does it once (SAFETY L16)', () => {
    const cluster = mesh('kang', 'desktop-1', 'desktop-2');
    const id = cluster.request('desktop-2', { kind: 'set', key: 'retryLost', value: true });
    cluster.kill('kang');
    cluster.until(() => cluster.answerTo('desktop-2', id) !== null, 5000, 'an answer');
    expect(cluster.answerTo('desktop-2', id)?.state).toBe('done');
    expect(cluster.committed('desktop-2').requests.filter((one) => one.id === id)).toHaveLength(1);
  });

  it('remembers no more what was asked of the leader itself and is answered, and all that others may ask again (SAFETY L16)', () => {
    const cluster = mesh('kang', 'desktop-1', 'desktop-2');
    const ask = (node: string, value: number): string => {
      const id = cluster.request(node, { kind: 'set', key: 'graceMs', value });
      cluster.run(50);
      expect(cluster.answerTo(node, id)?.state).toBe('done');
      return id;
    };
    const [others, , , last] = [ask('desktop-2', 1), ask('kang', 2), ask('kang', 3), ask('kang', 4)];
    const remembered = cluster.committed('desktop-1').requests.map(({ id }) => id);
    expect(remembered.slice(-2)).toEqual([others, last]);
  });

  it('keeps what a leader asked of itself and was not answered, and does it once after its reign (SAFETY L16)', () => {
    const cluster = mesh('kang', 'desktop-1', 'desktop-2');
    for (const other of ['desktop-1', 'desktop-2']) cluster.cut.add(`kang>${other}`).add(`${other}>kang`);
    const id = cluster.request('kang', { kind: 'set', key: 'graceMs', value: 7 });
    cluster.run(3000);
    expect(cluster.answerTo('kang', id)).toBeNull();
    cluster.cut.clear();
    cluster.until(() => cluster.answerTo('kang', id) !== null, 9000, 'an answer');
    expect(cluster.committed('kang').requests.filter((one) => one.id === id)).toHaveLength(1);
    const more = cluster.request('desktop-1', { kind: 'set', key: 'retryLost', value: true });
    cluster.until(() => cluster.answerTo('desktop-1', more) !== null, 5000, 'another answer');
    expect(cluster.committed('kang').requests.map((one) => one.id)).toContain(id);
  });

  it('says unknown after ten seconds without a leader', () => {
    const cluster = mesh('kang', 'desktop-1');
    cluster.kill('kang');
    const id = cluster.request('desktop-1', { kind: 'set', key: 'retryLost', value: true });
    cluster.run(9000);
    expect(cluster.answerTo('desktop-1', id)).toBeNull();
    cluster.run(2000);
    expect(cluster.answerTo('desktop-1', id)?.state).toBe('unknown');
  });

  it('refuses at once what cannot be', () => {
    const cluster = mesh('kang', 'desktop-1');
    const id = cluster.request('desktop-1', { kind: 'forget', node: 'nobody' });
    cluster.run(20);
    expect(cluster.answerTo('desktop-1', id)).toEqual({
      state: 'refused',
      because: 'no node is called nobody; the nodes are desktop-1, kang',
    });
  });
});
