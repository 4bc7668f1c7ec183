import { describe, expect, it } from 'vitest';
import { isUnhealthy, statusView } from '../../node/cli/status-view.ts';
import type { NodeRow, StatusSnapshot } from '../../protocol/status.ts';

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

  it('says where this machine serves its page, where it does', () => {
    const served: StatusSnapshot = { ...snapshot, page: { url: 'http://127.0.0.1:7118' } };
    const line = 'page        http://127.0.0.1:7118   -> autogit-node dashboard';
    const lines = statusView(served, people).split('\n');
    expect(lines[lines.findIndex((one) => one.startsWith('queue')) + 1]).toBe(line);
    expect(statusView(served, pipe).split('\n')).toContain('page\thttp://127.0.0.1:7118');
    expect(statusView(snapshot, people)).not.toContain('page');
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

  it.each([80, 60])('of %d columns breaks no line by itself: only what is typed may be longer', (columns) => {
    const busy: StatusSnapshot = {
      ...snapshot,
      quorum: {
        ...snapshot.quorum,
        canLose: 0,
        sentence: 'all machines are needed; for failover add another, or a witness',
      },
      gitlab: {
        ...snapshot.gitlab,
        state: 'deploying',
        flag: 'uninstalling: jobs 4813, 4814 and 4815 still run there and end first',
      },
      attention: [
        ...snapshot.attention,
        {
          code: 'act-deploy-gitlab',
          severity: 'info',
          sentence: 'GitLab was deployed on kang, as was asked on kang, by a person who sat there, 4.3 s ago',
          fix: null,
        },
      ],
    };
    const lines = statusView(busy, { ...people, columns }).split('\n');
    const long = lines.filter((line) => line.length > columns && !line.startsWith('#   -> '));
    expect(long).toEqual([]);
    expect(lines[1]).toBe('            seen from desktop-1, 0.1 s ago');
    const larger: StatusSnapshot = {
      ...busy,
      leader: { node: 'rack-cellar-1', term: 1204, since: snapshot.at },
      gitlab: { ...busy.gitlab, host: 'rack-cellar-1', url: 'http://adas-home-laboratory.local:8080' },
      queue: { waiting: 1204, running: 112, doneToday: 11_204, failedToday: 1204 },
    };
    const wide = statusView(larger, { ...people, columns }).split('\n');
    expect(wide.filter((line) => line.length > columns && !line.startsWith('#   -> '))).toEqual([]);
    const [first, more] = lines.slice(lines.findIndex((line) => line.startsWith('# GitLab was')));
    expect(more).toMatch(/^# {3}\w/);
    expect(`${first} ${more}`.replace(' #   ', ' ')).toContain('by a person who sat there');
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
    expect(lines[2]).toBe('gitlab      none   -> autogit-node gitlab deploy');
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

  it('what is to be typed on this very machine is said without its name, what elsewhere with it', () => {
    const line = (node: string) => ({
      ...{
        code: 'node-paused',
        severity: 'info' as const,
        sentence: `${node}  paused`,
        fix: `on ${node}: autogit-node resume`,
      },
    });
    const paused = { ...snapshot, attention: [line('desktop-1'), line('kang')] };
    for (const form of [people, pipe]) {
      const text = statusView(paused, form);
      expect(text).not.toContain('on desktop-1: autogit-node resume');
      expect(text).toContain('on kang: autogit-node resume');
    }
  });

  it('in a pipe a command is for the same agent as the one that was typed', () => {
    const fix = 'autogit-node doctor';
    const ill = { ...snapshot, attention: [{ code: 'x', severity: 'warn' as const, sentence: 'y', fix }] };
    const last = () => statusView(ill, pipe).split('\n').at(-1)?.split('\t').at(-1);
    expect(last()).toBe(fix);
    const typed = process.argv;
    process.argv = ['node', 'autogit-node', 'status', '--home', '/srv/one'];
    try {
      expect(last()).toBe('autogit-node --home /srv/one doctor');
    } finally {
      process.argv = typed;
    }
  });

  it.each([80, 120, 200])('shows more on request, in tables that fit %i columns', (columns) => {
    const id = `12D3KooW${'x'.repeat(44)}`;
    const nodes = snapshot.nodes.map((node) => ({ ...node, id, labels: ['attic', 'quiet'] }));
    const wide = statusView({ ...snapshot, nodes }, { isTerminal: true, columns, wide: true });
    for (const known of [id, '192.168.1.10:7117', 'attic,quiet', 'VERSION', 'MEMORY', '500 GiB', 'playing'])
      expect(wide).toContain(known);
    const lines = wide.split('\n').filter((line) => !line.startsWith('#   -> '));
    expect(lines.filter((line) => line.length > columns)).toEqual([]);
    // Each part says of which machine it is.
    const heads = lines.filter((line) => line.startsWith('  NODE '));
    expect(heads.length).toBe(lines.filter((line) => line.startsWith('* desktop-1 ')).length);
    expect(heads.length).toBe({ 80: 3, 120: 2, 200: 1 }[columns]);
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

  it('where something is wrong the last line says where more of it stands; what is only to be known needs none', () => {
    const line = (severity: 'info' | 'warn') => ({ code: 'node-gone', severity, sentence: 'kang  is gone', fix: null });
    const last = (severity: 'info' | 'warn') =>
      statusView({ ...snapshot, attention: [line(severity)] }, people)
        .split('\n')
        .at(-1);
    expect(last('warn')).toBe('# what that means, and costs   -> autogit-node runbook');
    expect(last('info')).toBe('# kang  is gone');
    expect(statusView({ ...snapshot, attention: [line('warn')] }, pipe)).not.toContain('runbook');
  });

  it('knows when a script should worry', () => {
    expect(isUnhealthy(snapshot)).toBe(false);
    expect(isUnhealthy({ ...snapshot, leader: null })).toBe(true);
    expect(isUnhealthy({ ...snapshot, attention: [{ code: 'x', severity: 'fail', sentence: 's', fix: null }] })).toBe(
      true,
    );
  });
});
