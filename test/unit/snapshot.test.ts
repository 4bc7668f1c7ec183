import { describe, expect, it } from 'vitest';
import { JobRow, WhyAnswer } from '../../protocol/job-rows.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import { StatusSnapshot } from '../../protocol/status.ts';
import { rfc3339, utcDay } from '../../scheduler/jobs/civil-time.ts';
import { emptyJobs } from '../../scheduler/jobs/step-jobs.ts';
import { jobRows, snapshot, type ViewInput, why } from '../../scheduler/snapshot.ts';
import { quorumOf } from '../../scheduler/snapshot-quorum.ts';
import { shortAddress } from '../../scheduler/snapshot-view.ts';
import { Lab, wallStart } from './jobs-lab.ts';
import { GiB, gpu3090, gpu5080, labLedger, labMeasured, labRun, measured } from './jobs-lab-machines.ts';
import { viewOf } from './snapshot-lab.ts';

/** The example lab with its GPU taken by run 4813 for 12 minutes, and job 4815 waiting for 20 s (INTERFACE). */
function exampleLab(): Lab {
  const lab = new Lab({
    machines: {
      kang: measured({ memoryGiB: 126 }),
      'desktop-1': measured({
        gpus_: [gpu3090],
        gpus: [{ uuid: gpu3090.uuid, usedBytes: 22 * GiB, busyPercent: 97, foreign: false }],
      }),
      'desktop-2': measured({ memoryGiB: 32, gpus_: [gpu5080] }),
    },
  });
  const run = labRun({
    run: 'r4813',
    job: 4813,
    node: 'desktop-1',
    tags: ['gpu'],
    gpus: [gpu3090.uuid],
    takenAt: lab.wallMs - 720_000,
    startedAt: lab.wallMs - 720_000,
  });
  lab.feed('desktop-1', { kind: 'run-changed', run });
  lab.push(4815, ['gpu', 'vram-20g']);
  lab.run(20_000);
  return lab;
}

describe('dates by arithmetic', () => {
  it.each([
    [0, '1970-01-01T00:00:00.000Z'],
    [951_782_399_999, '2000-02-28T23:59:59.999Z'],
    [951_782_400_000, '2000-02-29T00:00:00.000Z'],
    [4_107_542_399_000, '2100-02-28T23:59:59.000Z'],
    [4_107_542_400_000, '2100-03-01T00:00:00.000Z'],
  ])('%d is %s', (ms, text) => expect(rfc3339(ms)).toBe(text));

  it('agrees with the machine for every day of 400 years, and with fractions of a ms', () => {
    for (let day = -20_000; day < 130_000; day += 37) {
      const ms = day * 86_400_000 + ((day * 7919) % 86_400_000);
      expect(rfc3339(ms)).toBe(new Date(ms).toISOString());
    }
    expect(rfc3339(1_763_700_000_123.7)).toBe(new Date(1_763_700_000_123).toISOString());
    expect(utcDay(wallStart)).toBe('2025-11-21');
  });
});

describe('why', () => {
  it('names every machine with its one reason', () => {
    const lab = exampleLab();
    const answer = why(viewOf(lab, 'kang'), 4815);
    expect(WhyAnswer.parse(answer)).toMatchObject({
      job: 4815,
      project: 'lab/vision',
      state: 'waiting',
      waitedMs: 20_000,
      needs: 'gpu, vram-20g',
      machines: [
        {
          node: 'desktop-1',
          fits: false,
          because: 'its only GPU has 2 of 24 GiB free: run 4813 has had it for 12 min',
        },
        { node: 'desktop-2', fits: false, because: 'has no GPU of more than 16 GiB' },
        { node: 'kang', fits: false, because: 'has no GPU' },
      ],
      because:
        'waits for desktop-1, the only machine that could take it: its only GPU has 2 of 24 GiB free: run 4813 has had it for 12 min',
    });
    expect(why(viewOf(lab, 'kang'), 1)).toBeNull();
  });

  it('of a job that runs says where, and what the others say now', () => {
    const lab = exampleLab();
    expect(why(viewOf(lab, 'kang'), 4813)).toMatchObject({
      state: 'running',
      machines: [
        { node: 'desktop-1', fits: true, because: 'has it: placed' },
        { node: 'desktop-2', fits: true, because: 'has room now' },
        { node: 'kang', fits: false, because: 'has no GPU' },
      ],
    });
  });

  it('says that GitLab did not give a job that it shows as waiting', () => {
    const lab = new Lab({
      machines: { kang: measured() },
      take: (effect) => ({
        kind: 'take-ended',
        grant: effect.grant,
        outcome: { kind: 'empty', because: 'GitLab had no job' },
      }),
    });
    lab.push(1);
    lab.run(20_000);
    expect(why(viewOf(lab, 'kang'), 1)?.because).toMatch(
      /^GitLab shows it as waiting and gave no job \d+ times in a row: it is asked for again in [\d.]+ s$/,
    );
  });
});

describe('job rows', () => {
  it('waiting first, then running, each with its sentence, as promised in INTERFACE', () => {
    const rows = jobRows(viewOf(exampleLab(), 'kang'));
    for (const row of rows) JobRow.parse(row);
    expect(rows.map((row) => [row.job, row.state, row.node])).toEqual([
      [4815, 'waiting', null],
      [4813, 'running', 'desktop-1'],
    ]);
    expect(rows[0]?.queuedAt).toBe(rfc3339(wallStart + 1_000_000));
  });

  it('done, failed, lost and canceled ones, newest first; the second attempt counts', () => {
    const result = (state: 'success' | 'failed' | 'canceled') => ({
      state,
      exitCode: 0,
      reason: null,
      because: `it ${state}`,
    });
    const lab = new Lab({
      machines: { kang: measured() },
      ledger: (ledger) => ({
        ...ledger,
        runs: {
          a: labRun({ run: 'a', job: 1, node: 'kang', state: 'delivered', finishedAt: 10, result: result('success') }),
          b: labRun({ run: 'b', job: 2, node: 'kang', state: 'delivered', finishedAt: 20, result: result('failed') }),
          c: labRun({
            run: 'c',
            job: 3,
            node: 'kang',
            state: 'lost',
            finishedAt: 30,
            because: 'silent for 3 s',
            failedAtGitlab: true,
          }),
          d: labRun({ run: 'd', job: 4, node: 'kang', state: 'delivered', finishedAt: 40, result: result('canceled') }),
        },
      }),
    });
    const rows = jobRows(viewOf(lab, 'kang'), true);
    expect(rows.map((row) => [row.job, row.state, row.attempt, row.because])).toEqual([
      [4, 'canceled', 2, 'it canceled'],
      [3, 'lost', 1, 'silent for 3 s'],
      [2, 'failed', 1, 'it failed'],
      [1, 'done', 1, 'it success'],
    ]);
  });
});

describe('quorum in words', () => {
  const view = (weights: Record<string, number>, down: string[] = [], renewed: string[] = []): ViewInput => {
    const names = Object.keys(weights);
    const ledger: Ledger = labLedger(names, 0);
    const voters = Object.fromEntries(names.map((name) => [name, { store: 's', weight: weights[name] ?? 2 }]));
    const configuration = { voters, next: null };
    return {
      at: 0,
      wallMs: 0,
      self: names[0] ?? '',
      jobs: emptyJobs([]),
      ledger: { ...ledger, configuration },
      accepted: { ...ledger, configuration },
      leader: null,
      liveness: (node) => ({ state: down.includes(node) ? 'silent' : 'alive', since: 0 }),
      leaderChanges: 0,
      storeOf: (node) => (renewed.includes(node) ? 'another' : null),
    };
  };
  it('says that a vote went with its store', () => {
    expect(snapshot(view({ kang: 3, d1: 2 }, [], ['kang'])).quorum.sentence).toBe(
      'no quorum: the store of kang is a new one, whose vote does not count yet; of two machines only kang may go on alone',
    );
    expect(snapshot(view({ kang: 2, d1: 2, d2: 2 }, ['d2'], ['kang'])).quorum.sentence).toBe(
      'no quorum: the store of kang is a new one, whose vote does not count yet; d2 must come back',
    );
  });

  it('says that a mesh was recovered by force, until all are back or forgotten', () => {
    const base = view({ kang: 2 });
    const nodes = { ...base.ledger!.nodes, d1: { ...base.ledger!.nodes.kang!, name: 'd1' } };
    const from = { era: base.ledger!.era, stamp: { term: 1, version: 5 } };
    const ledger = { ...base.ledger!, nodes, recovery: { by: 'kang', at: 0, from, off: ['d1', 'forgotten'] } };
    const codes = (over: Partial<ViewInput>) => snapshot({ ...base, wallMs: 7_200_000, ...over }).attention;
    expect(codes({ ledger, accepted: ledger })).toContainEqual(
      expect.objectContaining({
        code: 'recovered',
        sentence: 'recovered by force on kang 2 h ago: what only d1 knew is lost; it votes again when back',
      }),
    );
    const voters = { ...ledger.configuration.voters, d1: { store: 's', weight: 2 } };
    const back = { ...ledger, configuration: { voters, next: null } };
    expect(codes({ ledger: back, accepted: back }).map(({ code }) => code)).not.toContain('recovered');
  });

  const rows: [Record<string, number>, string[], number, string][] = [
    [{ kang: 2 }, [], 0, 'one voter: without kang nothing is decided'],
    [
      { kang: 3, 'desktop-1': 2 },
      [],
      0,
      'two machines: if kang dies, desktop-1 cannot take over safely by itself; if desktop-1 dies, kang goes on',
    ],
    [{ kang: 3, 'desktop-1': 2 }, ['desktop-1'], 0, 'kang carries on alone'],
    [
      { 'desktop-1': 2, kang: 3 },
      ['kang'],
      0,
      'no quorum: kang must come back; of two machines only kang may go on alone',
    ],
    [{ a: 2, b: 2, c: 2 }, [], 1, 'can lose 1 of 3 machines'],
    [{ a: 2, b: 2, c: 2 }, ['c'], 0, 'cannot lose another machine (1 of 3 away now)'],
    [{ a: 2, b: 2, c: 2 }, ['b', 'c'], 0, 'no quorum: b or c must come back'],
    [{ a: 3, b: 2, c: 2, d: 2 }, [], 1, 'can lose 1 of 4 machines'],
    [{ a: 3, b: 2, c: 2, d: 2 }, ['d'], 0, 'can lose b or c, but not a (1 of 4 away now)'],
    [{ a: 3, b: 2, c: 2, d: 2 }, ['c', 'd'], 0, 'cannot lose another machine (2 of 4 away now)'],
    [{ a: 3, b: 2, c: 2, d: 2 }, ['b', 'c', 'd'], 0, 'no quorum: b, c or d must come back'],
    [{ b: 2, a: 3, c: 2, d: 2 }, ['a', 'c', 'd'], 0, 'no quorum: a, or c and d must come back'],
    [{ a: 2, b: 2, c: 2, d: 2, e: 2 }, [], 2, 'can lose 2 of 5 machines'],
    [{ a: 2, b: 2, c: 2, d: 2, e: 2 }, ['d', 'e'], 0, 'cannot lose another machine (2 of 5 away now)'],
    [{ a: 2, b: 2, c: 2, d: 2, e: 2 }, ['b', 'c', 'd', 'e'], 0, 'no quorum: 2 of b, c, d and e must come back'],
    [{ a: 2, b: 2, c: 2, d: 2, e: 2, f: 2, g: 2 }, [], 3, 'can lose 3 of 7 machines'],
    [{ a: 2, b: 2, c: 2, d: 2, e: 2, f: 2, g: 2 }, ['f'], 2, 'can lose 2 of 6 machines (1 of 7 away now)'],
    [{ a: 2, b: 2, c: 2, d: 2, e: 2, f: 2, g: 2 }, ['d', 'e', 'f', 'g'], 0, 'no quorum: d, e, f or g must come back'],
  ];
  it.each(rows)('%j without %j', (weights, down, canLose, sentence) => {
    expect(quorumOf(view(weights, down))).toMatchObject({ canLose, sentence });
  });

  it('a joint configuration must hold in both halves', () => {
    const base = view({ a: 2, b: 2, c: 2 });
    const next = { a: { store: 's', weight: 3 }, b: { store: 's', weight: 2 } };
    const accepted = {
      ...(base.accepted as Ledger),
      configuration: { voters: base.accepted?.configuration.voters ?? {}, next },
    };
    expect(quorumOf({ ...base, accepted })).toMatchObject({ canLose: 0, holds: true, tieBreaker: 'a' });
    const without = {
      ...base,
      self: 'b',
      accepted,
      liveness: (node: string) => ({ state: node === 'a' ? ('silent' as const) : ('alive' as const), since: 0 }),
    };
    expect(quorumOf(without).holds).toBe(false);
  });
});

describe('status', () => {
  it("is a StatusSnapshot from every node, with the leader's word on the queue", () => {
    const lab = exampleLab();
    for (const name of ['kang', 'desktop-1', 'desktop-2']) {
      const seen = snapshot(viewOf(lab, name));
      expect(StatusSnapshot.parse(seen)).toEqual(seen);
      expect(seen).toMatchObject({
        seenFrom: name,
        mesh: { id: 'mesh1', name: 'home' },
        leader: { node: 'kang', term: 12 },
        quorum: { canLose: 1, sentence: 'can lose 1 of 3 machines' },
        gitlab: { mode: 'connected', state: 'healthy', url: 'http://gitlab' },
        queue: { waiting: 1, running: 1 },
        attention: [],
      });
      expect(seen.nodes.map((node) => [node.node, node.state, node.self, node.runs])).toEqual([
        ['desktop-1', 'ready', name === 'desktop-1', [4813]],
        ['desktop-2', 'ready', name === 'desktop-2', []],
        ['kang', 'leader', name === 'kang', []],
      ]);
    }
  });

  it('says of a machine that it is full, also where it leads', () => {
    const lab = new Lab({ machines: { kang: measured({ maxRuns: 1 }) } });
    const run = labRun({ run: 'r1', job: 1, node: 'kang', takenAt: lab.wallMs, startedAt: lab.wallMs });
    lab.feed('kang', { kind: 'run-changed', run });
    lab.run(20_000);
    const [kang] = snapshot(viewOf(lab, 'kang')).nodes;
    expect([kang?.state, kang?.because]).toEqual(['leader', 'has 1 run, its limit']);
  });

  it('says what needs attention, worst first, each with its fix', () => {
    const lab = new Lab({
      machines: {
        ...labMeasured,
        'desktop-2': measured({
          gpus_: [gpu5080],
          owner: 'playing',
          pausedBecause: 'owner is playing since 19:42: no GPU work',
        }),
      },
      ledger: (ledger) => ({
        ...ledger,
        approvals: {
          newcomer: {
            name: 'laptop',
            address: '/ip4/192.168.1.9/tcp/7117',
            words: 'coral-sixty-lamp-otter',
            since: wallStart,
            via: 'kang',
            store: 's',
            addresses: [],
            witness: false,
            ignored: false,
          },
        },
      }),
    });
    lab.push(1, ['render']);
    lab.run(3000);
    lab.vanish('desktop-1');
    lab.run(70_000);
    const seen = snapshot(viewOf(lab, 'kang'));
    expect(seen.waiting).toMatchObject([
      { node: 'laptop', address: '192.168.1.9:7117', words: 'coral-sixty-lamp-otter' },
    ]);
    expect(seen.nodes.map((node) => node.state)).toEqual(['gone', 'paused', 'leader']);
    expect(seen.nodes.map((node) => node.paused)).toEqual([undefined, 'gpu', undefined]);
    expect(seen.attention.map((line) => [line.code, line.severity, line.fix])).toEqual([
      ['quorum-at-risk', 'warn', null],
      ['node-gone', 'warn', 'if it never comes back: autogit-node forget desktop-1'],
      ['tags-unsatisfiable', 'warn', 'autogit-node why 1'],
      ['machine-waiting', 'info', 'autogit-node approve laptop --words coral-sixty-lamp-otter'],
      ['owner-playing', 'info', null],
    ]);
    expect(seen.attention[4]?.sentence).toBe('desktop-2  owner is playing since 19:42: no GPU work');
  });

  it('no GitLab, no quorum, a failing GitLab, a wrong clock', () => {
    const lab = new Lab({ machines: labMeasured, mute: ['read-queue'] });
    lab.run(1000);
    lab.feed('kang', { kind: 'queue-failed', because: 'GitLab answers 502' });
    lab.run(300);
    const view = viewOf(lab, 'desktop-1');
    expect(snapshot(view).gitlab.state).toBe('degraded');
    const reports = { ...view.jobs.reports };
    const kang = reports.kang;
    if (!kang) throw new Error('no report');
    reports.kang = { ...kang, clockOffMs: -120_000 };
    const seen = snapshot({
      ...view,
      jobs: { ...view.jobs, reports },
      liveness: () => ({ state: 'silent', since: lab.at - 5000 }),
    });
    expect(seen.attention.map((line) => line.sentence)).toEqual([
      'no quorum: desktop-2 or kang must come back',
      "GitLab's queue cannot be read: GitLab answers 502",
      'desktop-2  has not answered for 5 s',
      'kang  has not answered for 5 s',
      "the clock of kang is 2 min behind desktop-1's",
    ]);
    const none = { ...lab.committed, gitlab: { ...lab.committed.gitlab, mode: 'none' as const } };
    expect(snapshot({ ...viewOf(lab, 'kang'), ledger: none }).attention[0]?.code).toBe('no-gitlab');
  });

  it('advises nothing that cannot work: no forgetting without a quorum, nor of who was never heard', () => {
    const lab = new Lab({ machines: labMeasured });
    lab.run(1000);
    const view = viewOf(lab, 'desktop-1');
    const alone = snapshot({ ...view, liveness: () => ({ state: 'silent', since: lab.at - 100_000 }) });
    expect(alone.attention.map((line) => [line.sentence, line.fix])).toEqual([
      [
        'no quorum: desktop-2 or kang must come back',
        'only if they are switched off and stay so: autogit-node recover --force',
      ],
      ['desktop-2  has not answered for 100 s', null],
      ['kang  has not answered for 100 s', null],
    ]);
    const booted = snapshot({
      ...view,
      liveness: (node) => ({ state: node === 'kang' ? 'silent' : 'alive', since: Number.NEGATIVE_INFINITY }),
    });
    const kang = booted.nodes.find((node) => node.node === 'kang');
    expect([kang?.state, kang?.because]).toEqual(['suspect', 'has not been heard since this agent was started']);
    expect(booted.attention.some((line) => line.fix?.includes('forget'))).toBe(false);
  });

  it('before it is in a mesh: this machine waits', () => {
    const lab = new Lab({ machines: { kang: measured() } });
    const seen = snapshot({ ...viewOf(lab, 'kang'), ledger: null, accepted: null, leader: null });
    expect(StatusSnapshot.parse(seen).nodes).toMatchObject([{ state: 'waiting', self: true }]);
    expect(jobRows({ ...viewOf(lab, 'kang'), ledger: null })).toEqual([]);
  });

  it('addresses are short', () => {
    expect(shortAddress('/ip4/192.168.1.4/tcp/7117')).toBe('192.168.1.4:7117');
    expect(shortAddress('/ip6/fe80::1/tcp/7117/p2p/12D3')).toBe('[fe80::1]:7117');
    expect(shortAddress('somewhere')).toBe('somewhere');
  });
});
