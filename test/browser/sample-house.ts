import type { MovePlan } from '../../node/local-api/socket-protocol.ts';
import type { BackupRow } from '../../protocol/asks.ts';
import type { TimelineEvent, Usage } from '../../protocol/history.ts';
import type { JobRow, WhyAnswer } from '../../protocol/job-rows.ts';
import { StatusSnapshot } from '../../protocol/status.ts';
import { forecastWords } from '../../scheduler/phrases.ts';

/** The lab of the docs on an evening: what the pictures show, and what a page is tried with that no real mesh of a test has. */
export const now = Date.parse('2026-11-30T19:58:00Z');
const ago = (seconds: number): string => new Date(now - 1000 * seconds).toISOString();
const GiB = 2 ** 30;

const cpu = (cores: number, memory: number, disk: number) => ({
  cpuMillis: 1000 * cores,
  memoryBytes: memory * GiB,
  diskBytes: disk * GiB,
});
const common = { voter: true, version: '0.1.0', arch: 'amd64', os: 'linux', labels: [] as string[] };

const foretold = [
  { about: 'loss', when: 'if kang died now', words: 'no push lost, 2 s of all else' },
  { about: 'copies', words: 'copies on desktop-1 (in sync, 2 s) and desktop-2 (catching up 62 %, 64 s)' },
  { about: 'next', words: 'desktop-1 goes on by itself after 20 s' },
];

export const house = (): StatusSnapshot =>
  StatusSnapshot.parse({
    version: 1,
    at: ago(0),
    seenFrom: 'desktop-1',
    ageMs: 200,
    mesh: { id: 'm-home', name: 'home' },
    leader: { node: 'kang', term: 12, since: ago(10_800) },
    quorum: {
      voters: ['desktop-1', 'desktop-2', 'kang'],
      tieBreaker: null,
      canLose: 1,
      sentence: 'can lose 1 of 3 machines',
    },
    nodes: [
      {
        ...common,
        ...{
          node: 'desktop-1',
          id: 'n-desktop-1',
          self: true,
          state: 'ready',
          address: '192.168.1.11',
          lastHeardMs: 0,
        },
        capacity: {
          ...cpu(16, 64, 800),
          gpus: [{ uuid: 'GPU-1', vendor: 'nvidia', model: 'RTX 3090 Ti', memoryBytes: 24 * GiB }],
        },
        room: {
          cpuMillis: 9_600,
          memoryBytes: 33 * GiB,
          gpus: [{ uuid: 'GPU-1', memoryBytes: 2 * GiB, busyPercent: 97, foreign: false, held: 'r-4813' }],
        },
        used: { cpuMillis: 6_400, memoryBytes: 31 * GiB, diskBytes: 410 * GiB },
        ...{ runs: [4813], owner: 'away', because: null },
      },
      {
        ...common,
        ...{
          node: 'desktop-2',
          id: 'n-desktop-2',
          self: false,
          state: 'paused',
          address: '192.168.1.12',
          lastHeardMs: 400,
        },
        capacity: {
          ...cpu(12, 32, 500),
          gpus: [{ uuid: 'GPU-2', vendor: 'nvidia', model: 'RTX 5080', memoryBytes: 16 * GiB }],
        },
        room: {
          cpuMillis: 10_500,
          memoryBytes: 10 * GiB,
          gpus: [{ uuid: 'GPU-2', memoryBytes: 5 * GiB, busyPercent: 71, foreign: true, usedBy: 'witcher3.exe' }],
        },
        used: { cpuMillis: 1_500, memoryBytes: 22 * GiB, diskBytes: 288 * GiB },
        ...{ runs: [], owner: 'playing', paused: 'gpu', because: 'its owner plays witcher3.exe: no new GPU work' },
      },
      {
        ...common,
        ...{ node: 'kang', id: 'n-kang', self: false, state: 'leader', address: '192.168.1.10', lastHeardMs: 200 },
        capacity: { ...cpu(24, 126, 4000), gpus: [] },
        room: { cpuMillis: 10_000, memoryBytes: 106 * GiB, gpus: [] },
        used: { cpuMillis: 14_000, memoryBytes: 20 * GiB, diskBytes: 2_150 * GiB },
        ...{ runs: [4816, 4817], owner: null, labels: ['attic'], because: null },
      },
    ],
    waiting: [],
    gitlab: {
      ...{ mode: 'hosted', state: 'healthy', url: 'http://home.local', host: 'kang', epoch: 3, version: '18.5.1' },
      lastBackup: { id: 'backup-1', at: ago(30_000), copies: ['/mnt/disk/gitlab'] },
      standbys: [
        {
          ...{ node: 'desktop-1', round: '3.4711', ageMs: 2_000, inSync: true, state: 'in-sync', percent: null },
          ...{ because: 'has every push', chosen: 'it has the most room' },
        },
        {
          ...{ node: 'desktop-2', round: '3.4690', ageMs: 64_000, inSync: false, state: 'catching-up', percent: 62 },
          ...{ because: 'gets what it missed while it slept', chosen: 'the only other one' },
        },
      ],
      loss: { pushes: false, seconds: 2 },
      forecast: {
        sentence: forecastWords(foretold),
        ...{ to: 'desktop-1', rtoSeconds: 95, rpoSeconds: 2, parts: foretold },
      },
      flag: null,
      vault: {
        ...{ target: '/mnt/disk/gitlab', checkedAt: ago(29_000), doing: null, problem: null, restored: null },
      },
      drills: [
        {
          node: 'desktop-1',
          proven: { at: ago(43_000), round: '3.4402' },
          last: { at: ago(43_000), round: '3.4402', isProven: true, because: 'GitLab works from it', steps: [] },
          ...{ doing: null, ended: null, waits: null },
        },
      ],
      hosted: {
        ...{ image: 'gitlab/gitlab-ce:18.5.1-ce.0', preset: 'small', folder: '/var/lib/autogit-node/hosting' },
        ...{ because: 'GitLab answers', progress: null },
      },
    },
    queue: { waiting: 2, running: 3, doneToday: 41, failedToday: 1 },
    attention: [],
  });

const job = (over: Partial<JobRow> & Pick<JobRow, 'job' | 'name'>): JobRow => ({
  ...{ project: 'lab/vision', ref: 'main', pipeline: 1271, tags: [], state: 'done', node: 'kang', attempt: 1 },
  ...{ queuedAt: ago(400), startedAt: ago(390), finishedAt: null, exitCode: null, because: '' },
  ...over,
});
const ran = (number: number, name: string, endedAgo: number, took: number, over: Partial<JobRow> = {}): JobRow =>
  job({
    ...{ job: number, name, queuedAt: ago(endedAgo + took + 5), startedAt: ago(endedAgo + took) },
    ...{ finishedAt: ago(endedAgo), exitCode: 0, because: 'the only machine with room', ...over },
  });

export const jobs = (): JobRow[] => [
  job({
    ...{
      job: 4813,
      name: 'train',
      state: 'running',
      node: 'desktop-1',
      tags: ['gpu', 'vram-20g'],
      startedAt: ago(250),
    },
    because: 'desktop-1: the tightest GPU that fits',
  }),
  job({ job: 4816, name: 'unit', state: 'running', startedAt: ago(31), because: 'kang: the most room left' }),
  job({
    ...{ job: 4817, name: 'docs', state: 'running', project: 'lab/site', pipeline: 1272, startedAt: ago(4) },
    because: 'kang: idle',
  }),
  job({
    ...{
      job: 4815,
      name: 'eval',
      state: 'waiting',
      node: null,
      ref: 'gpu-fix',
      pipeline: 1270,
      tags: ['gpu', 'vram-20g'],
    },
    ...{ queuedAt: ago(20), startedAt: null },
    because: 'waits for a GPU of 20 GiB: desktop-1 has one, and run 4813 has it',
  }),
  job({
    ...{ job: 4818, name: 'deploy', state: 'waiting', node: null, project: 'lab/site', pipeline: 1272 },
    tags: ['node-attic'],
    ...{ queuedAt: ago(9), startedAt: null },
    because: 'no machine is called attic: did you mean the label attic?',
  }),
  ran(4812, 'lint', 70, 12),
  ran(4811, 'unit', 95, 48, { pipeline: 1269 }),
  ran(4810, 'train', 900, 610, { node: 'desktop-1', pipeline: 1269 }),
  ran(4809, 'unit', 1_000, 44, {
    ...{ state: 'failed', exitCode: 1, because: 'its script ended with exit code 1', pipeline: 1268 },
  }),
  ran(4806, 'unit', 2_000, 46, { pipeline: 1266 }),
];

export const why = (number: number): WhyAnswer => (number === 4813 ? whyTrain : whyEval(number));

const whyTrain: WhyAnswer = {
  ...{ job: 4813, project: 'lab/vision', name: 'train', ref: 'main', state: 'running', waitedMs: 0 },
  needs: 'gpu, vram-20g',
  machines: [
    { node: 'desktop-1', fits: true, because: 'has it: the tightest GPU that fits' },
    { node: 'desktop-2', fits: false, because: 'has no GPU of more than 16 GiB' },
    { node: 'kang', fits: false, because: 'has no GPU' },
  ],
  because: 'desktop-1: the tightest GPU that fits',
};

const whyEval = (number: number): WhyAnswer => ({
  ...{ job: number, project: 'lab/vision', name: 'eval', ref: 'gpu-fix', state: 'waiting', waitedMs: 20_000 },
  needs: 'gpu, vram-20g',
  machines: [
    { node: 'desktop-1', fits: false, because: 'its only GPU has 2 of 24 GiB free: run 4813 has it since 19:53' },
    { node: 'desktop-2', fits: false, because: 'has no GPU of more than 16 GiB' },
    { node: 'kang', fits: false, because: 'has no GPU' },
  ],
  because: 'it waits for desktop-1',
});

export const trace =
  '\u001b[0KRunning with autogit-node 0.1.0 on desktop-1\u001b[0;m\n' +
  'section_start:1:step_script\r\u001b[0K\u001b[32;1m$ python train.py --epochs 40\u001b[0;m\n' +
  Array.from({ length: 9 }, (_, epoch) => `epoch ${epoch + 1} of 40  loss ${(2.31 * 0.83 ** epoch).toFixed(4)}\n`).join(
    '',
  );

const event = (
  id: number,
  agoSeconds: number,
  kind: TimelineEvent['kind'],
  sentence: string,
  because: string | null,
  over: Partial<TimelineEvent> = {},
): TimelineEvent => ({
  ...{ id: String(id).padStart(16, '0'), at: ago(agoSeconds), kind, severity: 'info', node: null, sentence, because },
  ...over,
});

export const timeline = (): TimelineEvent[] => [
  event(1, 43_000, 'gitlab', 'GitLab was tried from its copy on desktop-1, and came out whole', null),
  event(2, 30_000, 'backup', 'GitLab was backed up to /mnt/disk/gitlab', null),
  event(
    3,
    10_800,
    'election',
    'kang leads term 12',
    'desktop-1 went to sleep, and handed over to the first of the others',
  ),
  event(4, 10_790, 'member', 'desktop-1 is back', null),
  event(5, 5_400, 'lost-run', 'job 4790 on desktop-2 was given up', 'desktop-2 was silent for 38 s', {
    severity: 'warn',
  }),
  event(6, 5_350, 'approval', 'attic was let in', 'approved by ana: the words were compared'),
  event(7, 1_800, 'owner', "desktop-2's owner plays witcher3.exe", 'no new GPU work goes there'),
  event(8, 70, 'job', 'lint (job 4812) is done on kang', null),
];

export const movePlan = (to: string): MovePlan => ({
  ...{ host: 'kang', to, url: 'http://home.local:8080', isOtherUrl: false, awayMs: 95_000 },
  lines: [
    { state: 'ok', what: 'copy', sentence: `${to} is in sync, 2 s behind`, fix: null },
    { state: 'warn', what: 'image', sentence: 'gitlab-ce 18.5.1 has to be pulled there first', fix: null },
  ],
});

const round = (number: number, agoSeconds: number): BackupRow => ({
  ...{ id: `3.${number}`, at: now - 1000 * agoSeconds, version: '18.5.1', epoch: 3, isOwn: true },
  ...{ because: 'on kang and desktop-1', on: ['kang', 'desktop-1'] },
});

export const history = (): BackupRow[] => [
  round(4711, 2),
  round(4402, 43_000),
  {
    ...{ id: '4be1c2d9', at: now - 30_000_000, version: '18.5.1', epoch: 3, isOwn: true },
    because: 'in /mnt/disk/gitlab',
  },
];

const wave = (index: number, least: number, most: number, period: number): number =>
  least + ((most - least) * (1 + Math.sin(index / period))) / 2;
const shares = (least: number, most: number, period: number, isAway = (_: number): boolean => false) =>
  Array.from({ length: 288 }, (_, index) => (isAway(index) ? null : wave(index, least, most, period)));

export const usage = (): Usage => ({
  stepMs: 300_000,
  from: new Date(now - 86_400_000).toISOString(),
  machines: [
    {
      node: 'desktop-1',
      cpu: shares(0.05, 0.6, 21),
      memory: shares(0.3, 0.55, 34),
      gpus: [{ name: 'RTX 3090 Ti', load: shares(0, 0.98, 13), memory: shares(0.1, 0.9, 17) }],
    },
    {
      node: 'desktop-2',
      cpu: shares(0.02, 0.3, 9, (index) => index > 40 && index < 130),
      memory: shares(0.2, 0.7, 50, (index) => index > 40 && index < 130),
      gpus: [{ name: 'RTX 5080', load: shares(0, 0.75, 29), memory: shares(0.05, 0.7, 40) }],
    },
    { node: 'kang', cpu: shares(0.15, 0.62, 44), memory: shares(0.14, 0.2, 60), gpus: [] },
  ],
});
