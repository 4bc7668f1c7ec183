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

const classes = [[], ['gpu'], ['vram-8g'], ['vram-20g'], ['gpu-2'], ['cpu-3'], ['rtx-5080'], ['mem-1t']];

describe('a pass over the queue', () => {
  it.each([
    ['', usual],
    [', whatever figures machines tell', absurd],
  ])('places each job where it would be placed by itself, in the same words%s', (_, figures) => {
    let placed = 0;
    for (let seed = 1; seed <= 120; seed++) {
      const random = chance(seed);
      let machines = Array.from({ length: 1 + Math.floor(random() * 12) }, (_, i) => anyMachine(random, i, figures));
      const kept = new Map(
        classes.map((_, key) => [String(key), random() < 0.3 ? new Map([['n0', 'failed']]) : undefined]),
      );
      const placer = new Placer(machines, 'amd64');
      for (let grant = 0; grant < 60; grant++) {
        const at = Math.floor(random() * classes.length);
        const [key, tags] = [String(at), classes[at] as string[]];
        const alone = place(demandOf(tags, 'amd64'), elsewhereFirst(machines, kept.get(key), tags, 'amd64')).placed;
        const chosen = placer.choose(key, tags, kept.get(key));
        expect(chosen, `seed ${seed}, grant ${grant}`).toEqual(alone);
        if (chosen === null || alone === null) continue;
        placed += 1;
        const claim = claimOf({ by: `grant ${grant}`, id: `${grant}`, tags, gpus: alone.gpus }, 'amd64');
        expect(placer.take(key, chosen, `${grant}`)).toEqual(claim);
        machines = machines.map((machine) => (machine.node === alone.node ? booked(machine, claim) : machine));
      }
    }
    expect(placed).toBeGreaterThan(1000);
  });
});
