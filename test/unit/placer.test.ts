import { describe, expect, it } from 'vitest';
import type { Gpu, Measured } from '../../protocol/report.ts';
import { demandOf } from '../../scheduler/jobs/demand.ts';
import { elsewhereFirst } from '../../scheduler/jobs/faults.ts';
import type { MachineView } from '../../scheduler/jobs/machine-fit.ts';
import { booked } from '../../scheduler/jobs/machines.ts';
import { place } from '../../scheduler/jobs/placement.ts';
import { Placer } from '../../scheduler/jobs/placer.ts';
import { claimOf, roomOf } from '../../scheduler/jobs/room.ts';
import { GiB, measured } from './jobs-lab-machines.ts';

/** 0 <= n < 1, from a seed. */
function chance(seed: number): () => number {
  let state = seed * 2654435761 + 1;
  return () => {
    state = (Math.imul(state ^ (state >>> 15), 0x2c1b3c6d) + 0x297a2d39) | 0;
    return ((state ^ (state >>> 12)) >>> 0) / 2 ** 32;
  };
}
const oneOf = <T>(random: () => number, list: readonly T[]): T => list[Math.floor(random() * list.length)] as T;

/** What a machine may tell of itself without being refused for it. */
const absurd = { cores: [0, 4, 1e300], gpuBytes: [24 * GiB, 1e308, 1e308] };
const usual = { cores: [2, 4, 16], gpuBytes: [16 * GiB, 24 * GiB] };

function anyMachine(random: () => number, i: number, figures = usual): MachineView {
  const gpus: Gpu[] = Array.from({ length: oneOf(random, [0, 0, 1, 2, 3]) }, (_, n) => ({
    uuid: `GPU-${i}-${n}`,
    vendor: 'nvidia',
    model: oneOf(random, ['RTX 3090 Ti', 'RTX 5080']),
    memoryBytes: oneOf(random, figures.gpuBytes),
  }));
  const words: Measured = {
    ...measured({ cores: oneOf(random, figures.cores), gpus_: gpus }),
    owner: oneOf(random, ['away', 'away', 'present', 'playing'] as const),
    maxRuns: oneOf(random, [null, null, 2]),
    ...(random() < 0.4 && { sharesGpus: true }),
  };
  return {
    ...{ node: `n${i}`, name: `node-${Math.floor(random() * 1000)}-${i}`, measured: words, room: roomOf(words, [], 0) },
    ...{ holders: {}, runs: 0, witness: random() < 0.05, drained: random() < 0.05 },
    ...{ away: random() < 0.1 ? 'is away' : null, isHost: random() < 0.1 },
  };
}

/** Of what owners, engines and drivers say, and of what runs there already, all that bears on where a job may go. */
function wornMachine(random: () => number, i: number): MachineView {
  const machine = anyMachine(random, i);
  const measured: Measured = {
    ...(machine.measured as Measured),
    usedCpuMillis: oneOf(random, [0, 1_700, 15_000]),
    labels: oneOf(random, [[], ['fast'], ['fast', 'ssd']]),
    executors: oneOf(random, [['docker'], ['docker', 'process'], ['process'], []]),
    runtimes: oneOf(random, [[], ['runsc'], ['kata-fc']]),
    healthy: random() < 0.95,
    paused: oneOf(random, ['no', 'no', 'no', 'gpu', 'all'] as const),
    arch: oneOf(random, ['x64', 'x64', 'x64', 'arm64']),
    ...(random() < 0.1 && { gpuProblems: ['nvidia-smi does not answer'] }),
    ...(random() < 0.1 && { workProblems: [{ sentence: 'its engine is away' }] as Measured['workProblems'] }),
  };
  if (random() < 0.05) return { ...machine, measured: null, room: null };
  // A desktop's own programs have part of its GPUs.
  const gpus = measured.gpus.map((gpu) => ({
    ...gpu,
    usedBytes: oneOf(random, [0, 0, 2, 9]) * GiB,
    busyPercent: oneOf(random, [0, 50]),
    foreign: random() < 0.15,
  }));
  const busy = Math.floor(random() * 3);
  const claims = Array.from({ length: busy }, (_, n) =>
    claimOf({ by: `run ${n}`, id: `run-${n}`, tags: [], gpus: [] }, 'amd64'),
  );
  const words = { ...measured, gpus };
  return { ...machine, name: `node-${i}`, measured: words, room: roomOf(words, claims, 0), runs: busy };
}

const classes = [[], ['gpu'], ['vram-8g'], ['vram-20g'], ['gpu-2'], ['cpu-3'], ['rtx-5080'], ['mem-1t']];
const moreClasses = [
  ...[...classes, ['docker'], ['process'], ['fast'], ['fast', 'ssd'], ['cpu-2', 'mem-30g'], ['disk-150g'], ['arm64']],
  ...[['isolation-gvisor'], ['isolation-micro-vm', 'cpu-2'], ['node-node-3'], ['vram-8g', 'fast'], ['cpu-1', 'mem-1g']],
];

interface Worlds {
  most: number;
  machine: (random: () => number, i: number) => MachineView;
  tagSets: string[][];
  grants: number;
}

/** In how many of so many worlds' grants a pass and `place`, which looks at every machine for every job, agreed on a machine. */
function sameChoices(seeds: number, { most, machine, tagSets, grants }: Worlds): number {
  let placed = 0;
  for (let seed = 1; seed <= seeds; seed++) {
    const random = chance(seed);
    let machines = Array.from({ length: 1 + Math.floor(random() * most) }, (_, i) => machine(random, i));
    const words = new Map([0, 1, 2].map((i) => [`n${i}`, 'failed'] as const).slice(0, 1 + Math.floor(most / 20)));
    const kept = new Map(tagSets.map((_, key) => [String(key), random() < 0.3 ? words : undefined]));
    const placer = new Placer(machines, 'amd64');
    for (let grant = 0; grant < grants; grant++) {
      const at = Math.floor(random() * tagSets.length);
      const [key, tags] = [String(at), tagSets[at] as string[]];
      const alone = place(demandOf(tags, 'amd64'), elsewhereFirst(machines, kept.get(key), tags, 'amd64')).placed;
      const chosen = placer.choose(key, tags, kept.get(key));
      expect(chosen, `seed ${seed}, grant ${grant}`).toEqual(alone);
      if (chosen === null || alone === null) continue;
      placed += 1;
      const claim = claimOf({ by: `grant ${grant}`, id: `${grant}`, tags, gpus: alone.gpus }, 'amd64');
      expect(placer.take(key, chosen, `${grant}`)).toEqual(claim);
      machines = machines.map((one) => (one.node === alone.node ? booked(one, claim) : one));
    }
  }
  return placed;
}

describe('a pass over the queue', () => {
  it.each([
    ['', usual],
    [', whatever figures machines tell', absurd],
  ])('places each job where it would be placed by itself, in the same words%s', (_, figures) => {
    const machine = (random: () => number, i: number): MachineView => anyMachine(random, i, figures);
    expect(sameChoices(120, { most: 12, machine, tagSets: classes, grants: 60 })).toBeGreaterThan(1000);
  });

  it('does so too among many machines, of which each has something, until nothing fits any more', () => {
    expect(sameChoices(60, { most: 60, machine: wornMachine, tagSets: moreClasses, grants: 250 })).toBeGreaterThan(
      2000,
    );
  });
});
