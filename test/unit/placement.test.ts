import { describe, expect, it } from 'vitest';
import type { Capacity } from '../../protocol/report.ts';
import { demandOf } from '../../scheduler/jobs/demand.ts';
import { fitOf, type MachineView } from '../../scheduler/jobs/machine-fit.ts';
import { place } from '../../scheduler/jobs/placement.ts';
import { GiB, gpu3090, gpu5080, machine, measured } from './jobs-lab-machines.ts';

const lab = (over: Record<string, MachineView> = {}): MachineView[] =>
  ['desktop-1', 'desktop-2', 'kang'].map((name) => over[name] ?? machine(name));
const placed = (tags: string[], machines = lab()) => place(demandOf(tags, 'amd64'), machines);
const reasons = (tags: string[], machines = lab()) =>
  Object.fromEntries(placed(tags, machines).verdicts.map((verdict) => [verdict.name, verdict.because]));

const held = (name: string, used: number, by: string): MachineView => {
  const base = machine(name, { runs: 1 });
  const gpu = base.measured?.capacity.gpus[0];
  if (!base.room || !gpu) throw new Error('no GPU');
  return {
    ...base,
    holders: { [gpu.uuid]: by },
    room: {
      ...base.room,
      gpus: [{ uuid: gpu.uuid, memoryBytes: gpu.memoryBytes - used, busyPercent: 97, foreign: false, held: 'run-1' }],
    },
  };
};

describe('the example lab', () => {
  const rows: [string[], string | null, string][] = [
    [[], 'kang', 'kang: keeps the GPUs of others free'],
    [['gpu'], 'desktop-2', 'desktop-2: RTX 5080 (16 GiB) is the tightest free GPU that fits'],
    [['vram-16g'], 'desktop-2', 'desktop-2: RTX 5080 (16 GiB) is the tightest free GPU that fits'],
    [['gpu', 'vram-20g'], 'desktop-1', 'desktop-1: the only machine with a free GPU that fits, RTX 3090 Ti (24 GiB)'],
    [['vram-24g'], 'desktop-1', 'desktop-1: the only machine with a free GPU that fits, RTX 3090 Ti (24 GiB)'],
    [['rtx-5080'], 'desktop-2', 'desktop-2: the only machine with a free GPU that fits, RTX 5080 (16 GiB)'],
    [['node-desktop-1'], 'desktop-1', 'desktop-1: the only machine that could ever take it'],
    [['mem-100g'], 'kang', 'kang: the only machine that could ever take it'],
    [['docker'], 'kang', 'kang: keeps the GPUs of others free'],
  ];
  it.each(rows)('%j', (tags, name, because) => {
    const answer = placed(tags);
    expect(answer.placed?.name ?? null).toBe(name);
    expect(answer.because).toBe(because);
  });

  it('says why, machine by machine (INTERFACE, why)', () => {
    const busy = lab({ 'desktop-1': held('desktop-1', 22 * GiB, 'run 4813 has had it for 12 min') });
    expect(placed(['gpu', 'vram-20g'], busy).placed).toBeNull();
    expect(reasons(['gpu', 'vram-20g'], busy)).toEqual({
      'desktop-1': 'its only GPU has 2 of 24 GiB free: run 4813 has had it for 12 min',
      'desktop-2': 'has no GPU of more than 16 GiB',
      kang: 'has no GPU',
    });
    expect(placed(['gpu', 'vram-20g'], busy).because).toBe(
      'waits for desktop-1, the only machine that could take it: its only GPU has 2 of 24 GiB free: run 4813 has had it for 12 min',
    );
  });

  const never: [string[], string][] = [
    [['vram-48g'], "can't"],
    [['arm64'], "can't"],
    [['rtx-4090'], "can't"],
    [['render'], "can't"],
    [['gpu-2'], "can't"],
    [['amd'], "can't"],
    [['cpu-64'], "can't"],
    [['firecracker-1cpu-1gb'], "can't"],
    [['node-nobody'], "can't"],
  ];
  it.each(never)('%j can never run here, and says so', (tags) => {
    const answer = placed(tags);
    expect(answer.never).toBe(true);
    expect(answer.because).toMatch(/no approved machine could ever satisfy|can never run/);
    expect(answer.verdicts.every((verdict) => !verdict.ever)).toBe(true);
  });

  it('names exactly what is missing', () => {
    expect(placed(['render']).because).toBe(
      'no approved machine could ever satisfy render: desktop-1 does not have the label render, desktop-2 does not have the label render and kang does not have the label render',
    );
    expect(reasons(['rtx-4090']).kang).toBe('has no GPU rtx-4090');
    expect(reasons(['arm64']).kang).toBe('is arm64, and the job needs arm64'.replace('is arm64', 'is amd64'));
    expect(reasons(['gpu-2'])['desktop-1']).toBe('has 1 GPU that would fit, and the job needs 2');
    expect(reasons(['amd'])['desktop-1']).toBe('has no AMD GPU');
    expect(reasons(['cpu-64']).kang).toBe('has 16 CPU, and the job needs 64');
    expect(reasons(['node-kang'])['desktop-1']).toBe('is not kang');
  });

  it('who asks for a GPU whose driver fails waits for it: that machine could satisfy it', () => {
    const capacity = { ...machine('kang').measured?.capacity, gpus: [] } as Capacity;
    const gpuProblems = ['Driver/library version mismatch'];
    const broken = machine('desktop-1', {}, { capacity, gpus: [], gpuProblems });
    for (const tags of [['gpu'], ['vram-20g'], ['rtx-3090-ti'], ['cuda', 'gpu-2']]) {
      const verdict = fitOf(demandOf(tags, 'amd64'), broken);
      expect([verdict.ever, verdict.because]).toEqual([
        true,
        'its GPUs do not all work: Driver/library version mismatch',
      ]);
    }
    expect(fitOf(demandOf([], 'amd64'), broken).fits).toBe(true);
    expect(fitOf(demandOf(['no-such-label'], 'amd64'), broken).ever).toBe(false);
  });
});

describe('one reason for each machine that waits', () => {
  const rows: [string, MachineView, string[], string][] = [
    ['away', machine('kang', { away: 'has not answered for 4 s' }), [], 'has not answered for 4 s'],
    ['witness', machine('kang', { witness: true }), [], 'is a witness: it votes, but takes no work'],
    ['drained', machine('kang', { drained: true }), [], 'is drained: it takes no new work'],
    ['no report', machine('kang', { measured: null, room: null }), [], 'has not reported yet'],
    ['paused', machine('kang', {}, { paused: 'all', pausedBecause: 'paused until 20:00' }), [], 'paused until 20:00'],
    ['sick', machine('kang', {}, { healthy: false, unhealthyBecause: 'disk full' }), [], 'is unhealthy: disk full'],
    ['max runs', machine('kang', { runs: 2 }, { maxRuns: 2 }), [], 'already has 2 runs, its limit'],
    ['playing', machine('desktop-1', {}, { owner: 'playing' }), ['gpu'], 'owner is playing: no GPU work'],
    ['gpu off', machine('desktop-1', {}, { paused: 'gpu' }), ['gpu'], 'its owner wants its GPU: no GPU work'],
    [
      'no executor',
      machine('kang', {}, { executors: [] }),
      [],
      'has no executor: Docker does not answer and process is not switched on',
    ],
    [
      'foreign',
      machine('desktop-1', {}, { gpus: [{ uuid: gpu3090.uuid, usedBytes: 8 * GiB, busyPercent: 90, foreign: true }] }),
      ['gpu'],
      'its only GPU has 16 of 24 GiB free: another program of its owner uses it',
    ],
    [
      'foreign, and by name',
      machine(
        'desktop-1',
        {},
        { gpus: [{ uuid: gpu3090.uuid, usedBytes: 8 * GiB, busyPercent: 90, foreign: true, usedBy: 'ollama' }] },
      ),
      ['gpu'],
      'its only GPU has 16 of 24 GiB free: ollama of its owner uses it',
    ],
    [
      'a card that fails',
      machine(
        'desktop-1',
        {},
        { gpus: [{ uuid: gpu3090.uuid, usedBytes: 0, busyPercent: 0, foreign: true, problem: 'GPU is lost' }] },
      ),
      ['vram-20g'],
      'its only GPU does not work: GPU is lost',
    ],
    [
      'memory of the GPU',
      machine('desktop-1', {}, { gpus: [{ uuid: gpu3090.uuid, usedBytes: 8 * GiB, busyPercent: 0, foreign: false }] }),
      ['vram-24g'],
      'its only GPU has 16 of 24 GiB free',
    ],
    [
      'CPU',
      machine('kang', { room: { cpuMillis: 500, memoryBytes: 9 * GiB, diskBytes: 9 * GiB, gpus: [] } }),
      [],
      'has 0.5 of 16 CPU free, and the job needs 1',
    ],
    [
      'memory',
      machine('kang', { room: { cpuMillis: 5000, memoryBytes: GiB / 2, diskBytes: 9 * GiB, gpus: [] } }),
      [],
      'has 0.5 of 126 GiB of memory free, and the job needs 1 GiB',
    ],
    [
      'disk',
      machine('kang', { room: { cpuMillis: 5000, memoryBytes: 9 * GiB, diskBytes: 9 * GiB, gpus: [] } }),
      ['disk-50g'],
      'has 9 GiB of disk free, and the job needs 50 GiB',
    ],
  ];
  it.each(rows)('%s', (_name, one, tags, because) => {
    const answer = placed(tags, [one]);
    expect(answer.placed).toBeNull();
    expect(answer.verdicts[0]?.because).toBe(because);
  });

  it('CPU work goes on while its owner plays, but elsewhere first', () => {
    const plays = machine('a', {}, { owner: 'playing' });
    expect(placed([], [plays]).placed?.name).toBe('a');
    expect(placed([], [plays, machine('b')]).because).toBe('b: nobody sits at it');
  });

  it('prefers a machine that does not host GitLab, then the one with the most room', () => {
    const host = machine('a', { isHost: true });
    expect(placed([], [host, machine('b')]).because).toBe('b: it does not host GitLab');
    const half = machine('a', {
      runs: 8,
      room: { cpuMillis: 8000, memoryBytes: 9 * GiB, diskBytes: 9 * GiB, gpus: [] },
    });
    expect(placed([], [half, machine('b')]).because).toBe('b: it has the most room left');
  });

  it('takes the tightest of several GPUs, and two when asked', () => {
    const big = { ...gpu3090, uuid: 'big' };
    const both = machine('a', {}, measured({ gpus_: [big, gpu5080] }));
    expect(placed(['gpu'], [both]).placed?.gpus).toEqual([gpu5080.uuid]);
    expect(placed(['gpu-2'], [both]).placed?.gpus).toEqual([gpu5080.uuid, 'big']);
    expect(placed(['vram-20g'], [both]).placed?.gpus).toEqual(['big']);
  });

  it('an empty mesh says so', () =>
    expect(placed([], []).because).toBe('there is no machine in this mesh that takes work'));
});
