import { expect, it } from 'vitest';
import type { Measured } from '../../protocol/report.ts';
import { isBusy, isOpen } from '../../scheduler/jobs/jobs-state.ts';
import { openReservations } from '../../scheduler/jobs/own-report.ts';
import { claimOf } from '../../scheduler/jobs/room.ts';
import { Lab } from './jobs-lab.ts';
import { gpu3090, gpu5080, measured } from './jobs-lab-machines.ts';

const machines = (): Record<string, Measured> => ({
  kang: measured({ cores: 4, memoryGiB: 8 }),
  'desktop-1': measured({ cores: 3, memoryGiB: 8, gpus_: [gpu3090] }),
  'desktop-2': measured({ cores: 2, memoryGiB: 6, gpus_: [gpu5080], maxRuns: 2 }),
});

/** No node over its room, no GPU shared, no run on two nodes: after every single step. */
function checkRoom(lab: Lab): void {
  const owners = new Map<string, string>();
  for (const node of lab.nodes.values()) {
    const runs = Object.values(node.jobs.own.runs).filter(isBusy);
    const claims = [
      ...runs.map((run) => claimOf({ by: '', id: run.run, tags: run.tags, gpus: run.gpus }, 'amd64')),
      ...openReservations(node.jobs).map((one) => one.claim),
    ];
    const { capacity, reserveMemoryBytes, maxRuns } = node.measured;
    const cpu = claims.reduce((sum, claim) => sum + claim.cpuMillis, 0);
    const memory = claims.reduce((sum, claim) => sum + claim.memoryBytes, 0);
    if (cpu > capacity.cpuMillis) throw new Error(`${node.name} is over its CPU: ${cpu}`);
    if (memory > capacity.memoryBytes - reserveMemoryBytes)
      throw new Error(`${node.name} is over its memory: ${memory}`);
    if (maxRuns !== null && claims.length > maxRuns) throw new Error(`${node.name} has ${claims.length} runs`);
    const gpus = claims.flatMap((claim) => claim.gpus);
    if (new Set(gpus).size !== gpus.length) throw new Error(`${node.name} shares a GPU: ${gpus.join()}`);
    for (const run of runs) {
      const other = owners.get(run.run);
      if (other !== undefined) throw new Error(`${run.run} is on ${other} and ${node.name}`);
      owners.set(run.run, node.name);
    }
  }
}

const tagSets = [[], [], ['gpu'], ['vram-20g'], ['cpu-2'], ['mem-3g'], ['node-desktop-2'], ['rtx-5080', 'cpu-2']];
const seeds = Array.from({ length: 4 }, (_, index) => 4711 + index * 7919);

it.each(seeds)('seed %d: every job runs once and nobody is over its room, through elections', (seed) => {
  const lab = new Lab({ machines: machines(), seed, scriptMs: 400 });
  lab.check = checkRoom;
  const count = 24;
  for (let job = 1; job <= count; job += 1)
    lab.later(lab.random() * 4000, () => {
      lab.push(job, tagSets[Math.floor(lab.random() * tagSets.length)]);
      if (lab.random() < 0.5) lab.feed(lab.leader ?? 'kang', { kind: 'queue-hinted' });
    });
  const names = [...lab.nodes.keys()];
  for (let turn = 0; turn < 3; turn += 1)
    lab.later(500 + lab.random() * 5000, () => lab.elect(names[Math.floor(lab.random() * names.length)] ?? 'kang'));
  lab.run(30_000);
  expect(lab.pending).toEqual([]);
  expect(lab.taken.map((one) => one.job).sort((a, b) => a - b)).toEqual(Array.from({ length: count }, (_, i) => i + 1));
  expect(Object.values(lab.committed.runs).filter(isOpen)).toEqual([]);
  expect(lab.committed.tally).toMatchObject({ done: count, failed: 0 });
  expect([...lab.nodes.values()].map((node) => node.jobs.asking)).toEqual([[], [], []]);
});

it('a leader that stays never grants what does not fit', () => {
  for (const seed of seeds.slice(0, 3)) {
    const lab = new Lab({ machines: machines(), seed, scriptMs: 300 });
    lab.check = checkRoom;
    for (let job = 1; job <= 20; job += 1)
      lab.later(lab.random() * 2000, () => {
        lab.push(job, tagSets[Math.floor(lab.random() * tagSets.length)]);
        lab.feed('kang', { kind: 'queue-hinted' });
      });
    lab.run(20_000);
    expect(lab.taken).toHaveLength(20);
    expect(lab.notes('grant-refused')).toEqual([]);
  }
});

it('the same seed gives the same history', () => {
  const history = (): string => {
    const lab = new Lab({ machines: machines(), seed: 99, scriptMs: 300 });
    for (let job = 1; job <= 8; job += 1) lab.push(job, tagSets[job % tagSets.length]);
    lab.run(10_000);
    return JSON.stringify(lab.log);
  };
  expect(history()).toBe(history());
});
