import { describe, expect, it } from 'vitest';
import { describeFailure } from '../../node/cli/failure.ts';
import { pairTokens } from '../../node/cli/gitlab-commands.ts';
import { jobsView, jobView, whyView } from '../../node/cli/jobs-view.ts';
import { watchMs } from '../../node/cli/status-command.ts';
import { isUnhealthy, statusView } from '../../node/cli/status-view.ts';
import { attentionLine, printTable } from '../../node/cli/table.ts';
import { doctorView } from '../../node/doctor/doctor-command.ts';
import { finding } from '../../node/doctor/finding.ts';
import { createProgress, progressLine, withFix } from '../../node/progress-lines.ts';
import { AutogitError } from '../../protocol/errors.ts';
import type { JobRow, NodeRow, StatusSnapshot } from '../../protocol/status.ts';

const gib = 2 ** 30;
const people = { isTerminal: true, columns: 100, wide: false };
const pipe = { isTerminal: false, columns: Number.POSITIVE_INFINITY, wide: false };

const machine = (node: string, more: Partial<NodeRow>, cpu: [number, number], memory: [number, number]): NodeRow => ({
  node,
  id: `12D3KooW${node}`,
  self: false,
  state: 'ready',
  voter: true,
  version: '0.1.0',
  address: '192.168.1.10:7117',
  lastHeardMs: 200,
  arch: 'amd64',
  os: 'Debian GNU/Linux 12',
  capacity: { cpuMillis: cpu[1], memoryBytes: memory[1] * gib, diskBytes: 500 * gib, gpus: [] },
  room: { cpuMillis: cpu[1] - cpu[0], memoryBytes: (memory[1] - memory[0]) * gib, gpus: [] },
  runs: [],
  labels: [],
  owner: 'away',
  because: null,
  ...more,
});

const withGpu = (row: NodeRow, model: string, busyPercent: number, foreign: boolean): NodeRow => {
  const gpu = { uuid: 'GPU-1', vendor: 'nvidia' as const, model, memoryBytes: 24 * gib };
  row.capacity?.gpus.push(gpu);
  row.room?.gpus.push({ uuid: 'GPU-1', memoryBytes: 2 * gib, busyPercent, foreign });
  return row;
};

/** The example of INTERFACE.md. */
const snapshot: StatusSnapshot = {
  version: 1,
  at: '2026-11-21T20:00:00.000Z',
  seenFrom: 'desktop-1',
  ageMs: 120,
  mesh: { id: 'm1', name: 'home' },
  leader: { node: 'kang', term: 12, since: '2026-11-21T17:00:00.000Z' },
  quorum: { voters: ['kang', 'desktop-1', 'desktop-2'], tieBreaker: null, canLose: 1, sentence: 'any one may go' },
  nodes: [
    withGpu(machine('desktop-1', { self: true, runs: [4813] }, [4480, 16_000], [31, 64]), 'RTX 3090 Ti', 97, false),
    withGpu(
      machine(
        'desktop-2',
        { state: 'paused', lastHeardMs: 400, owner: 'playing', because: 'owner is playing since 19:42: no GPU work' },
        [1920, 16_000],
        [22, 32],
      ),
      'RTX 5080',
      61,
      true,
    ),
    machine('kang', { state: 'leader', runs: [4814] }, [9280, 16_000], [20, 126]),
  ],
  waiting: [],
  gitlab: {
    mode: 'hosted',
    state: 'healthy',
    url: 'http://home.local:8080',
    host: 'kang',
    epoch: 3,
    version: '19.0',
    lastBackup: { id: 'b1', at: '2026-11-21T19:38:00.000Z', copies: ['kang', 'desktop-1'] },
    forecast: {
      sentence: 'if kang died now: desktop-2 in ~6 min, losing at most 22 min',
      to: 'desktop-2',
      rtoSeconds: 360,
      rpoSeconds: 1320,
    },
    flag: null,
  },
  queue: { waiting: 1, running: 2, doneToday: 112, failedToday: 3 },
  attention: [
    {
      code: 'owner',
      severity: 'info',
      sentence: 'desktop-2  owner is playing since 19:42: no GPU work',
      fix: 'on desktop-2: autogit-node resume --gpu',
    },
  ],
};

describe('status', () => {
  it('is the example of INTERFACE.md', () => {
    expect(statusView(snapshot, people)).toBe(
      [
        'mesh home   3 nodes, leader kang (term 12, 3 h), can lose 1   seen from desktop-1, 0.1 s ago',
        'gitlab      healthy on kang   http://home.local:8080   backup 22 min ago, 2 copies',
        '            if kang died now: desktop-2 in ~6 min, losing at most 22 min',
        'queue       1 waiting, 2 running, 112 done today, 3 failed',
        '',
        '  NODE       STATE   RUNS  CPU  MEMORY      GPU               SEEN   VERSION',
        '* desktop-1  ready   1     28%  31/64 GiB   RTX 3090 Ti 97%   now    0.1.0',
        '  desktop-2  paused  0     12%  22/32 GiB   RTX 5080 (owner)  0.4 s  0.1.0',
        '  kang       leader  1     58%  20/126 GiB  -                 0.2 s  0.1.0',
        '',
        '# desktop-2  owner is playing since 19:42: no GPU work   -> on desktop-2: autogit-node resume --gpu',
      ].join('\n'),
    );
  });

  it('a machine whose GPU alone is paused is not shown as paused: other jobs still come', () => {
    const states = (paused: 'gpu' | 'all'): string[] => {
      const nodes = snapshot.nodes.map((node) => (node.node === 'desktop-2' ? { ...node, paused } : node));
      const lines = statusView({ ...snapshot, nodes }, people).split('\n');
      return lines.filter((line) => line.startsWith('  desktop-2')).map((line) => line.slice(13, 25).trim());
    };
    expect([...states('gpu'), ...states('all')].map((text) => text.replace(/ {2,}.*/, ''))).toEqual([
      'gpu paused',
      'paused',
    ]);
  });

  it('stays within 100 characters and 9 columns for people', () => {
    const lines = statusView(snapshot, people).split('\n');
    expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(100);
  });

  it.each([
    [70, 'NODE STATE RUNS CPU MEMORY GPU SEEN'],
    [60, 'NODE STATE RUNS CPU MEMORY GPU'],
    [50, 'NODE STATE RUNS CPU GPU'],
    [40, 'NODE STATE RUNS'],
  ])('leaves out what a terminal of %d columns has no room for, the least needed first', (columns, heads) => {
    const lines = statusView(snapshot, { ...people, columns }).split('\n');
    const from = lines.findIndex((line) => line.startsWith('  NODE'));
    const table = lines.slice(from, from + 1 + snapshot.nodes.length);
    expect(table[0]?.trim().split(/ +/).join(' ')).toBe(heads);
    expect(Math.max(...table.map((line) => [...line].length))).toBeLessThanOrEqual(columns);
  });

  it('says what there is not: no leader, no GitLab, nothing measured yet, machines that wait', () => {
    const bare: StatusSnapshot = {
      ...snapshot,
      leader: null,
      quorum: {
        ...snapshot.quorum,
        canLose: 0,
        sentence: 'both machines are needed; for failover add a third, or a witness',
      },
      nodes: [{ ...(snapshot.nodes[0] as NodeRow), capacity: null, room: null, version: null }],
      waiting: [
        { node: 'attic', id: 'x', address: '192.168.1.9', words: 'coral-sixty-lamp-otter', since: snapshot.at },
      ],
      gitlab: { ...snapshot.gitlab, mode: 'none' },
      attention: [],
    };
    const lines = statusView(bare, people).split('\n');
    expect(lines[0]).toContain('1 node, no leader, can lose 0');
    expect(lines[1]).toBe('            both machines are needed; for failover add a third, or a witness');
    expect(lines[2]).toContain('autogit-node gitlab connect URL --token-env VAR');
    expect(lines).toContain('* desktop-1  ready  1     -    -       -    now   -');
    expect(lines.at(-2)).toBe('# attic  at 192.168.1.9 waits to be let in; it shows coral-sixty-lamp-otter');
    expect(lines.at(-1)).toBe('#   -> autogit-node approve attic --words coral-sixty-lamp-otter');
  });

  it('in a pipe: tabs, the kind of record first, RFC 3339', () => {
    const lines = statusView(snapshot, pipe)
      .split('\n')
      .map((line) => line.split('\t'));
    expect(lines[0]).toEqual(['mesh', 'home', 'm1', 'kang', '12', '1', 'desktop-1', '2026-11-21T20:00:00.000Z']);
    expect(lines.filter(([kind]) => kind === 'node').map((line) => line[1])).toEqual([
      'desktop-1',
      'desktop-2',
      'kang',
    ]);
    expect(lines.at(-1)?.slice(0, 3)).toEqual(['attention', 'info', 'owner']);
  });

  it('shows more on request', () => {
    const wide = statusView(snapshot, { ...people, wide: true });
    expect(wide).toContain('12D3KooWkang');
    expect(wide).toContain('192.168.1.10:7117');
  });

  it('a played GPU says so', () => {
    const nodes = [withGpu(machine('desktop-1', { self: true }, [0, 1000], [0, 8]), 'RTX 3090 Ti (played)', 0, false)];
    expect(statusView({ ...snapshot, nodes }, people)).toContain('RTX 3090 Ti (played) 0%');
  });

  it('a GPU whose driver fails is not said to be its owner’s (public-reports 12)', () => {
    const row = withGpu(machine('desktop-1', { self: true }, [0, 1000], [0, 8]), 'RTX 3090 Ti', 0, true);
    for (const room of row.room?.gpus ?? []) room.problem = 'nvidia-smi did not answer within 8 s';
    const text = statusView({ ...snapshot, nodes: [row] }, people);
    expect(text).toContain('RTX 3090 Ti (fails)');
    expect(text).not.toContain('(owner)');
  });

  it('knows when a script should worry', () => {
    expect(isUnhealthy(snapshot)).toBe(false);
    expect(isUnhealthy({ ...snapshot, leader: null })).toBe(true);
    expect(isUnhealthy({ ...snapshot, attention: [{ code: 'x', severity: 'fail', sentence: 's', fix: null }] })).toBe(
      true,
    );
  });
});

const job = (more: Partial<JobRow>): JobRow => ({
  job: 4815,
  project: 'lab/vision',
  name: 'eval',
  ref: 'gpu-fix',
  tags: ['gpu', 'vram-20g'],
  state: 'waiting',
  node: null,
  attempt: 1,
  queuedAt: '2026-11-21T19:59:40.000Z',
  startedAt: null,
  finishedAt: null,
  exitCode: null,
  because: 'desktop-1 has 2 of 24 GiB free',
  ...more,
});
const now = Date.parse(snapshot.at);

describe('jobs and why', () => {
  it('lists jobs, and says how to learn more', () => {
    const rows = [
      job({
        job: 4813,
        name: 'train',
        state: 'running',
        node: 'desktop-1',
        startedAt: '2026-11-21T19:58:00.000Z',
        because: 'most room',
      }),
      job({}),
    ];
    expect(jobsView(rows, { ...people, now })).toBe(
      [
        'JOB   STATE    NODE       NAME   PROJECT             TIME   WHY',
        '4813  running  desktop-1  train  lab/vision@gpu-fix  2 min  most room',
        '4815  waiting  -          eval   lab/vision@gpu-fix  20 s   desktop-1 has 2 of 24 GiB free',
        '',
        '# 4815 desktop-1 has 2 of 24 GiB free   -> autogit-node why 4815',
      ].join('\n'),
    );
    expect(jobsView([], { ...people, now })).toContain('no jobs');
  });

  it('cuts for people only', () => {
    const long = job({ because: 'w'.repeat(300) });
    const lines = jobsView([long], { ...people, now }).split('\n');
    expect(lines[1]).toHaveLength(100);
    expect(lines[1]?.endsWith('…')).toBe(true);
    expect(jobsView([long], { ...pipe, now })).toContain('w'.repeat(300));
  });

  it('a job alone', () => {
    expect(jobView(job({ state: 'failed', exitCode: 3 }), { ...people, now })).toContain(
      'state     failed, exit code 3',
    );
    expect(jobView(job({}), { ...pipe, now }).split('\n')[0]).toBe('job\t4815 eval');
  });

  it('why is the example of INTERFACE.md', () => {
    const machines = [
      { node: 'desktop-1', fits: false, because: 'its only GPU has 2 of 24 GiB free: run 4813 has it since 19:58' },
      { node: 'desktop-2', fits: false, because: 'its largest GPU has 16 GiB' },
      { node: 'kang', fits: false, because: 'has no GPU' },
    ];
    const why = {
      job: 4815,
      project: 'lab/vision',
      name: 'eval',
      ref: 'gpu-fix',
      state: 'waiting',
      waitedMs: 20_000,
      needs: 'gpu, vram-20g',
      machines,
      because: '',
    };
    expect(whyView(why, people)).toBe(
      [
        '4815 eval lab/vision@gpu-fix   waits 20 s   needs: gpu, vram-20g',
        '  desktop-1   its only GPU has 2 of 24 GiB free: run 4813 has it since 19:58',
        '  desktop-2   its largest GPU has 16 GiB',
        '  kang        has no GPU',
      ].join('\n'),
    );
    expect(whyView(why, pipe).split('\n')[2]).toBe('kang\tno\thas no GPU');
  });

  it('why of a job that is over says how it ended and where', () => {
    const why = {
      job: 7,
      project: 'lab/vision',
      name: 'eval',
      ref: 'main',
      state: 'failed',
      waitedMs: 0,
      needs: 'gpu',
      machines: [{ node: 'desktop-2', fits: true, because: 'had it: the only machine with room' }],
      because: 'script failed',
      ended: {
        node: 'desktop-2',
        startedAt: '2026-11-21T20:00:00.000Z',
        finishedAt: '2026-11-21T20:00:12.000Z',
        exitCode: 3,
      },
    };
    expect(whyView(why, people)).toBe(
      [
        '7 eval lab/vision@main   failed after 12 s, exit code 3   needs: gpu',
        '  desktop-2   had it: the only machine with room',
        '# script failed',
      ].join('\n'),
    );
    expect(whyView(why, pipe).split('\n')[1]).toBe('desktop-2\tfailed after 12 s, exit code 3\tscript failed');
    const canceled = { ...why, state: 'canceled', ended: { ...why.ended, startedAt: null, exitCode: null } };
    expect(whyView(canceled, people).split('\n')[0]).toBe('7 eval lab/vision@main   canceled   needs: gpu');
  });
});

describe('small prints', () => {
  it('aligns by letters and lets no control character reach the terminal', () => {
    const rows = [
      ['größe', 'a'],
      ['x\u001b[31my\tz', 'b'],
    ];
    expect(printTable({ head: ['N', 'V'], rows }, people).split('\n')).toEqual([
      'N          V',
      'größe      a',
      'x [31my z  b',
    ]);
    expect(printTable({ head: [], rows }, pipe)).toBe('größe\ta\nx [31my z\tb');
  });

  it('puts a long fix on a line of its own', () => {
    expect(attentionLine('a', 'b')).toBe('# a   -> b');
    expect(attentionLine('a'.repeat(90), 'autogit-node status')).toBe(
      `# ${'a'.repeat(90)}\n#   -> autogit-node status`,
    );
  });

  it('progress lines are those of INTERFACE.md', () => {
    expect(progressLine('ok', 'machine', '16 cores, 64 GiB, 1 x RTX 3090 Ti (24 GiB)')).toBe(
      '  ok    machine     16 cores, 64 GiB, 1 x RTX 3090 Ti (24 GiB)',
    );
    expect(progressLine('wait', 'approval', 'compare the words\n  autogit-node approve desktop-1')).toBe(
      '  wait  approval    compare the words\n                        autogit-node approve desktop-1',
    );
  });

  it('on a narrow terminal breaks between words, and never inside a command', () => {
    let screen = '';
    const write = (text: string) => (screen += text);
    const lines = createProgress({ color: false, stream: { isTTY: true, columns: 60, write } });
    const command = 'autogit-node service install --name a-long-name';
    lines.warn('flags', withFix('a sentence that is longer than what is left of the line', `all of them: ${command}`));
    const error = new AutogitError('bad-flag', 'a sentence that is longer than sixty characters, as many of ours are', {
      hint: `read the help, which is long, and then type it: ${command} ${command}`,
    });
    screen += describeFailure(error, false, 60);
    const all = screen.trimEnd().split('\n');
    expect(all.filter((line) => line.length > 60 && !line.trimStart().startsWith('autogit-node'))).toEqual([]);
    expect(all.map((line) => line.trim()).join(' ')).toBe(
      `warn  flags       a sentence that is longer than what is left of the line -> all of them: ${command} ` +
        'error: a sentence that is longer than sixty characters, as many of ours are ' +
        `fix: read the help, which is long, and then type it: ${command} ${command}`,
    );
    expect(describeFailure(error, false)).toBe(`error: ${error.message}\nfix: ${error.hint}\n`);
  });

  it('doctor shows what to type', () => {
    const found = [finding('git', 'ok', '2.39'), finding('docker', 'warn', 'none', 'install it')];
    expect(doctorView(found, true)).toBe(
      '  ok    git         2.39\n  warn  docker      none\n                      -> install it',
    );
    expect(doctorView(found, false).split('\n')[1]).toBe('warn\tdocker\tnone\tinstall it');
  });

  it('pairs runner tokens with their tags', () => {
    expect(pairTokens(['A', 'B'], ['gpu,vram-20g', ''])).toEqual([
      { variable: 'A', tags: ['gpu', 'vram-20g'] },
      { variable: 'B', tags: [] },
    ]);
    expect(pairTokens(['A'], [])).toEqual([{ variable: 'A', tags: [] }]);
    expect(() => pairTokens(['A', 'B'], ['x'])).toThrow(/2 runner tokens/);
  });

  it('reads how often to look', () => {
    expect([null, false, true, '5', '500ms'].map(watchMs)).toEqual([null, null, 2000, 5000, 500]);
    expect(() => watchMs('1ms')).toThrow(/at least/);
  });
});
