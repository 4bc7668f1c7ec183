import { callTally } from '../../gitlab-bridge/call-tally.ts';
import { oldestQueuedAt } from '../../node/agent/core-views.ts';
import { Counts } from '../../node/metrics/counts.ts';
import type { Seen } from '../../node/metrics/family.ts';
import { jobRows, snapshot } from '../../scheduler/snapshot.ts';
import { Lab } from './jobs-lab.ts';
import { GiB, gpu3090, gpu5080, labRun, measured } from './jobs-lab-machines.ts';
import { viewOf } from './snapshot-lab.ts';

/** Three machines, a run on a GPU, a job that waits, and a hosted GitLab of which everything is known. */
export function seenOf(counts = new Counts()): Seen & { mesh: NonNullable<Seen['mesh']> } {
  const lab = new Lab({
    machines: {
      kang: measured({ memoryGiB: 126 }),
      'desktop-1': measured({
        gpus_: [gpu3090],
        gpus: [{ uuid: gpu3090.uuid, usedBytes: 22 * GiB, busyPercent: 97, foreign: false }],
      }),
      'desktop-2': measured({
        gpus_: [gpu5080],
        gpus: [{ uuid: gpu5080.uuid, usedBytes: 0, busyPercent: 0, foreign: true, problem: 'it fell off the bus' }],
      }),
    },
  });
  const at = lab.wallMs - 720_000;
  const run = labRun({ run: 'r1', job: 4813, node: 'desktop-1', tags: ['gpu'], gpus: [gpu3090.uuid], takenAt: at });
  lab.feed('desktop-1', { kind: 'run-changed', run: { ...run, startedAt: at } });
  lab.push(4815, ['gpu', 'vram-20g']);
  lab.run(20_000);
  const view = viewOf(lab, 'kang');
  const status = snapshot(view);
  const jobs = jobRows(view, true);
  const reports = Object.entries(view.jobs.reports);
  return {
    version: '0.1.0',
    nodeVersion: 'v20.19.0',
    process: { cpuSeconds: 12.5, residentBytes: 70 << 20, heapBytes: 20 << 20, startedAt: 1_796_000_000 },
    counts,
    calls: callTally,
    mesh: {
      status: { ...status, attention: [...status.attention, problem], gitlab: { ...status.gitlab, ...hosted } },
      jobs,
      oldestQueuedAt: oldestQueuedAt(jobs),
      measured: new Map(reports.map(([node, { report }]) => [node, report.measured])),
      left: new Set(),
      wallMs: view.wallMs,
    },
  };
}

const problem = { code: 'disk-full', severity: 'warn', sentence: 'kang  its disk is full', fix: null } as const;

const hosted: Partial<NonNullable<Seen['mesh']>['status']['gitlab']> = {
  mode: 'hosted',
  state: 'degraded',
  host: 'kang',
  epoch: 3,
  version: '18.5.1',
  flag: 'it moved twice within an hour',
  lastBackup: { id: 'b1', at: '2025-11-21T10:00:00.000Z', copies: ['nas'] },
  standbys: [
    {
      node: 'desktop-1',
      round: '3.10',
      ageMs: 1500,
      inSync: true,
      state: 'in-sync',
      because: '',
      percent: null,
      chosen: '',
    },
    {
      node: 'desktop-2',
      round: null,
      ageMs: null,
      inSync: false,
      state: 'catching-up',
      because: '',
      percent: 4,
      chosen: '',
    },
  ],
  loss: { pushes: true, seconds: null },
  fenced: [],
  sides: [{ node: 'desktop-1', name: 'fenced-2', because: 'served beside' }],
  vault: {
    target: '/backups',
    checkedAt: '2025-11-20T10:00:00Z',
    doing: null,
    problem: 'no space left',
    restored: null,
  },
  drills: [
    {
      node: 'desktop-1',
      proven: { at: '2025-11-21T04:00:00Z', round: '3.9' },
      last: { at: '2025-11-21T05:00:00Z', round: '3.10', isProven: false, because: 'no sign-in', steps: [] },
      doing: null,
      ended: null,
      waits: null,
    },
  ],
  webhook: { url: null, projects: 1, lastAt: null, hints: 7, ignored: 1, refused: 2, lastRefusal: null, problem: null },
};
