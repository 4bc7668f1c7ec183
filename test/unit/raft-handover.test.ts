import { describe, expect, it } from 'vitest';
import { awayReason } from '../../scheduler/jobs/machines.ts';
import { leaderContactAt, livenessOf } from '../../scheduler/views.ts';
import { labRun } from './jobs-lab-machines.ts';
import { type Cluster, measured, mesh } from './raft-cluster.ts';
import { One } from './raft-one.ts';

const tell = (cluster: Cluster, node: string, healthy = true): void =>
  cluster.post(node, 0, { kind: 'measured', measured: measured(healthy), addresses: [], version: '0.1.0' });

/** Keeps `count` changes in flight at each of these nodes, and counts what comes of them. */
function writing(cluster: Cluster, nodes: string[], count: number) {
  const asked = new Map<string, string>();
  let value = 0;
  const refill = (): void => {
    for (const node of nodes) {
      const open = [...asked].filter(([id, at]) => at === node && cluster.answerTo(node, id) === null);
      for (let i = open.length; i < count; i += 1)
        asked.set(cluster.request(node, { kind: 'set', key: 'graceMs', value: ++value }), node);
    }
  };
  const answers = () => [...asked].map(([id, node]) => cluster.answerTo(node, id));
  return { refill, answers, done: () => answers().filter((answer) => answer?.state === 'done').length };
}

const newLeader = (cluster: Cluster, old: string): number =>
  cluster.until(() => cluster.leaders().length === 1 && cluster.leaders()[0] !== old, 3000, 'another leads');

describe('a hand-over under writes', () => {
  it('waits for what is under way, refuses nothing, loses nothing, and takes a few round trips', () => {
    const cluster = mesh('kang', 'desktop-1', 'desktop-2');
    const writes = writing(cluster, ['desktop-1', 'desktop-2'], 32);
    const pass = (ms: number): void => {
      for (let i = 0; i < ms; i += 1) {
        writes.refill();
        cluster.run(1);
      }
    };
    pass(200);
    expect(writes.done()).toBeGreaterThan(200);
    cluster.feed('kang', { kind: 'leave-asked' });
    let pauseMs = 0;
    let longestMs = 0;
    for (let before = writes.done(); cluster.box('kang').departed === null || pauseMs > 0; before = writes.done()) {
      pass(1);
      pauseMs = writes.done() > before ? 0 : pauseMs + 1;
      longestMs = Math.max(longestMs, pauseMs);
      expect(pauseMs).toBeLessThan(1000);
    }
    expect(cluster.box('kang').departed).toBe('everything is handed over');
    expect(longestMs).toBeLessThan(30);
    cluster.kill('kang');
    cluster.until(() => writes.answers().every((answer) => answer !== null), 3000, 'all are answered');
    expect(writes.answers().filter((answer) => answer?.state !== 'done')).toEqual([]);
    const leader = cluster.leaders()[0]!;
    const ids = cluster.committed(leader).requests.map(({ id }) => id);
    expect(new Set(ids).size).toBe(ids.length);
    expect(cluster.box(leader).notes.filter(({ event }) => event === 'leader-lost')).toHaveLength(1);
  });

  it('answers what was asked of the leaver, and refuses what comes later', () => {
    const cluster = mesh('kang', 'desktop-1', 'desktop-2');
    cluster.feed('desktop-2', { kind: 'leave-asked' });
    const late = cluster.request('desktop-2', { kind: 'set', key: 'graceMs', value: 5 });
    expect(cluster.answerTo('desktop-2', late)?.because).toBe('this node leaves the mesh: ask another machine');
    const early = cluster.request('kang', { kind: 'set', key: 'graceMs', value: 7 });
    cluster.feed('kang', { kind: 'leave-asked' });
    cluster.until(() => cluster.box('kang').departed !== null, 3000, 'departed');
    expect(cluster.answerTo('kang', early)?.state).toBe('done');
  });

  it('asks another transfer target when the first does not take it', () => {
    const leader = new One().elect().disk();
    const { version } = leader.state.raft.accepted.stamp;
    leader.ack('A', version).ack('C', version).disk();
    leader.feed({ kind: 'measured', measured: measured(false), addresses: [], version: '0.1.0' });
    const asked = (): string[] =>
      leader.said.filter(({ message }) => message.kind === 'timeout-now').map(({ to }) => to);
    for (let i = 0; i < 100 && asked().length < 2; i += 1) {
      const newest = leader.state.raft.accepted.stamp.version;
      leader.ack('A', newest).ack('C', newest).feed({ kind: 'ticked' }, 50).disk();
    }
    expect(asked()).toEqual(['A', 'C']);
  });
});

describe('a leader that is to be removed', () => {
  it('hands over, and is removed by the next: nobody waits for the long timeout', () => {
    const cluster = mesh('kang', 'desktop-1', 'desktop-2');
    expect(cluster.leaders()).toEqual(['kang']);
    const asked = cluster.request('desktop-1', { kind: 'forget', node: 'kang' });
    expect(newLeader(cluster, 'kang')).toBeLessThan(40);
    cluster.until(() => cluster.answerTo('desktop-1', asked)?.state === 'done', 1000, 'removed');
    const leader = cluster.leaders()[0]!;
    expect(Object.values(cluster.committed(leader).nodes).map(({ name }) => name)).not.toContain('kang');
    cluster.run(3000);
    expect(cluster.leaders()).toContain(leader);
    expect(cluster.box(leader).notes.filter(({ event }) => event === 'leader-elected')).toHaveLength(2);
  });

  it('removes itself where nobody takes it over', () => {
    const leader = new One().elect().disk();
    const { version } = leader.state.raft.accepted.stamp;
    leader.ack('A', version).ack('C', version).disk();
    const ask = (): void => {
      leader.feed({
        kind: 'heard',
        from: 'A',
        message: { kind: 'change', id: 'x1', change: { kind: 'forget', node: 'B' } },
      });
    };
    const isGone = (): boolean => !('B' in leader.state.raft.accepted.nodes);
    ask();
    for (let i = 0; i < 30 && !isGone(); i += 1) {
      const newest = leader.state.raft.accepted.stamp.version;
      leader.ack('A', newest).ack('C', newest).feed({ kind: 'ticked' }, 50).disk();
      if (i % 10 === 9) ask();
    }
    expect(leader.said.filter(({ message }) => message.kind === 'timeout-now')).toHaveLength(1);
    expect(isGone()).toBe(true);
  });
});

describe('who leaves last', () => {
  it('waits for nobody when the other of two left before', () => {
    const cluster = mesh('kang', 'desktop-1');
    cluster.feed('desktop-1', { kind: 'leave-asked' });
    cluster.until(() => cluster.box('desktop-1').departed !== null, 1000, 'the first');
    cluster.feed('kang', { kind: 'leave-asked' });
    expect(cluster.until(() => cluster.box('kang').departed !== null, 1000, 'the last')).toBeLessThan(50);
    expect(cluster.box('kang').departed).toContain('no other voter is here');
  });

  it('is looked at while the mesh has a run of it, and only then: is its agent gone, or its machine?', () => {
    for (const hasRun of [true, false]) {
      const cluster = mesh('kang', 'desktop-1', 'desktop-2');
      if (hasRun) {
        const run = labRun({ run: 'r1', node: 'desktop-2', boot: 'boot-desktop-2' });
        cluster.feed('desktop-2', { kind: 'run-changed', run });
        cluster.until(() => cluster.committed('kang').runs.r1 !== undefined, 3000, 'the run is known');
      }
      cluster.feed('desktop-2', { kind: 'leave-asked', backMs: 60_000 });
      cluster.until(() => cluster.box('desktop-2').departed !== null, 3000, 'departed');
      expect(cluster.committed('kang').nodes['desktop-2']).toMatchObject({ left: true, backMs: 60_000 });
      cluster.kill('desktop-2');
      cluster.run(2000);
      const state = cluster.box('kang').state!;
      expect(livenessOf(state, 'desktop-2', cluster.at).state).toBe(hasRun ? 'dead' : 'silent');
      expect(
        cluster.box('kang').notes.filter(({ event }) => event === 'node-lost' || event === 'node-suspect'),
      ).toEqual([]);
    }
  });

  it('gets no grant any more, though it leads still, and takes none', () => {
    const cluster = mesh('kang', 'desktop-1', 'desktop-2');
    const sent = (): number => cluster.box('kang').notes.filter(({ event }) => event === 'grant-sent').length;
    cluster.feed('desktop-1', { kind: 'leave-asked' });
    const grant = {
      kind: 'grant' as const,
      grant: 'g-late',
      term: cluster.box('desktop-1').state!.raft.term,
      class: 'c',
      tags: [],
      runner: 1,
      token: 't',
      ttlMs: 10_000,
      gpus: [],
      because: 'it fits',
    };
    cluster.feed('desktop-1', { kind: 'heard', from: 'kang', message: grant });
    expect(cluster.box('desktop-1').state!.jobs.asking).toEqual([]);
    expect(cluster.box('desktop-1').state!.jobs.own.reserved).toEqual({});
    expect(sent()).toBe(0);
    const left = cluster.committed('kang');
    const look = {
      at: cluster.at,
      wallMs: 0,
      self: 'kang',
      jobs: cluster.box('kang').state!.jobs,
      liveness: () => ({ state: 'alive' as const, since: 0 }),
      ledger: { ...left, nodes: { ...left.nodes, kang: { ...left.nodes.kang!, left: true } } },
    };
    expect(awayReason(look, 'kang')).toBe('leaves');
  });

  it('waits a moment for a dead one of two, not for the whole patience', () => {
    const cluster = mesh('kang', 'desktop-1');
    cluster.kill('desktop-1');
    cluster.run(2000);
    cluster.feed('kang', { kind: 'leave-asked' });
    expect(cluster.until(() => cluster.box('kang').departed !== null, 1000, 'the last')).toBeLessThan(400);
  });

  it('goes without a majority too, when nobody is here to wait for', () => {
    const cluster = mesh('kang', 'desktop-1', 'desktop-2');
    for (const node of ['desktop-1', 'desktop-2']) cluster.kill(node);
    cluster.run(2000);
    cluster.feed('kang', { kind: 'leave-asked' });
    expect(cluster.until(() => cluster.box('kang').departed !== null, 1000, 'gone')).toBeLessThan(400);
  });
});

describe('draining', () => {
  it('moves leadership, and nothing moves it back', () => {
    const cluster = mesh('kang', 'desktop-1', 'desktop-2');
    const id = cluster.request('desktop-2', { kind: 'drain', node: 'kang', drained: true });
    expect(newLeader(cluster, 'kang')).toBeLessThan(50);
    const leader = cluster.leaders()[0]!;
    expect(cluster.box('kang').notes.find(({ event }) => event === 'handing-over')?.because).toBe(
      'desktop-1 shall lead: this node is drained',
    );
    cluster.until(() => !('kang' in cluster.voters(leader)), 2000, 'out of the voters');
    expect(cluster.answerTo('desktop-2', id)?.state).toBe('done');
    cluster.request('desktop-2', { kind: 'drain', node: 'kang', drained: false });
    cluster.until(() => 'kang' in cluster.voters(leader), 2000, 'a voter again');
    cluster.run(10_000);
    expect(cluster.leaders()).toEqual([leader]);
  });

  it('moves leadership between two as well', () => {
    const cluster = mesh('kang', 'desktop-1');
    cluster.request('kang', { kind: 'drain', node: 'kang', drained: true });
    newLeader(cluster, 'kang');
    cluster.run(2000);
    expect(cluster.leaders()).toEqual(['desktop-1']);
    expect(cluster.voters('desktop-1')).toEqual({ kang: 2, 'desktop-1': 3 });
  });

  it('moves it to one that is well and not drained itself, or not at all', () => {
    const cluster = mesh('kang', 'desktop-1', 'desktop-2');
    tell(cluster, 'desktop-1', false);
    cluster.run(3000);
    const report = cluster.box('desktop-1').effects.findLast((effect) => effect.kind === 'gossip');
    if (report?.kind !== 'gossip') throw new Error('no report');
    cluster.feed('kang', { kind: 'report-heard', from: 'desktop-1', report: report.report });
    cluster.request('kang', { kind: 'drain', node: 'kang', drained: true });
    newLeader(cluster, 'kang');
    expect(cluster.leaders()).toEqual(['desktop-2']);

    const all = mesh('kang', 'desktop-1');
    all.request('kang', { kind: 'drain', node: 'desktop-1', drained: true });
    all.request('kang', { kind: 'drain', node: 'kang', drained: true });
    all.run(5000);
    expect(all.leaders()).toEqual(['kang']);
  });
});

describe('sleep', () => {
  it('is a polite leave and a return of the same process', () => {
    const cluster = mesh('kang', 'desktop-1', 'desktop-2');
    tell(cluster, 'kang');
    cluster.feed('kang', { kind: 'leave-asked' });
    cluster.until(() => cluster.box('kang').departed !== null, 3000, 'departed');
    const leader = cluster.leaders()[0]!;
    cluster.run(20_000);
    expect(cluster.voters(leader)).not.toHaveProperty('kang');
    cluster.feed('kang', { kind: 'return-asked' });
    const tookMs = cluster.until(() => 'kang' in cluster.voters(leader), 3000, 'back among the voters');
    expect(tookMs).toBeLessThan(1000);
    expect(cluster.committed(leader).nodes.kang?.left).toBe(false);
    expect(cluster.leaders()).toEqual([leader]);
    cluster.box('kang').departed = null;
    cluster.feed('kang', { kind: 'leave-asked' });
    cluster.until(() => cluster.box('kang').departed !== null, 3000, 'departed once more');
  });

  it('that was called off half way leaves the node where it was', () => {
    const cluster = mesh('kang', 'desktop-1', 'desktop-2');
    tell(cluster, 'desktop-1');
    cluster.feed('desktop-1', { kind: 'leave-asked' });
    cluster.run(3);
    cluster.feed('desktop-1', { kind: 'return-asked' });
    cluster.run(3000);
    expect(Object.keys(cluster.voters('kang'))).toHaveLength(3);
    expect(cluster.committed('kang').nodes['desktop-1']?.left).toBe(false);
    expect(cluster.box('desktop-1').departed).toBeNull();
  });
});

describe('a leader that steps down', () => {
  it('has heard a leader until its last round with a majority: its runs do not stand still at once', () => {
    const cluster = mesh('kang', 'desktop-1', 'desktop-2');
    const old = cluster.leaders()[0]!;
    cluster.run(10_000);
    const since = cluster.at;
    for (const other of ['kang', 'desktop-1', 'desktop-2'])
      if (other !== old) for (const way of [`${old}>${other}`, `${other}>${old}`]) cluster.cut.add(way);
    cluster.until(() => cluster.box(old).state!.raft.leading === null, 5000, 'it steps down');
    const contactAt = leaderContactAt(cluster.box(old).state!);
    expect(contactAt).toBeGreaterThan(since - 300);
    expect(contactAt).toBeLessThanOrEqual(since);
    // And it grows no newer while it hears nobody: after 2 s its runs are frozen.
    cluster.run(3000);
    expect(leaderContactAt(cluster.box(old).state!)).toBe(contactAt);
  });
});
