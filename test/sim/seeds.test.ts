import { rmSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { describe, expect, it } from 'vitest';
import { bundleSimulation } from './bundle.ts';
import { Figures } from './figures.ts';
import { rareStates } from './rare.ts';
import { runSimulation } from './sim-process.ts';

const seeds = 2000;
/** 6 s of chaos each, then healing: about 0.2 CPU seconds a seed. */
const chaos = '6s';
/** One seed in so many is told twice, and must be the same story. */
const twiceEvery = 20;

describe('2,000 worlds', () => {
  it('break no rule, and get well when they are healed', { timeout: 1_200_000 }, async () => {
    const bundle = await bundleSimulation('seeds', null);
    const workers = Math.max(2, Math.min(8, availableParallelism()));
    const each = Math.ceil(seeds / workers);
    try {
      const totals = await Promise.all(
        Array.from({ length: workers }, (_, worker) =>
          runSimulation(bundle, [
            ...['--seeds', `${each}`, '--from', `${1 + worker}`, '--stride', `${workers}`],
            ...['--chaos', chaos, '--twice', `${twiceEvery}`],
          ]),
        ),
      );
      const figures = new Figures();
      for (const total of totals) figures.merge(total.counts);
      expect(totals.flatMap((total) => total.broken)).toEqual([]);
      expect(totals.reduce((sum, total) => sum + total.seeds, 0)).toBeGreaterThanOrEqual(seeds);
      expect(rareStates.filter((name) => !figures.counts[name])).toEqual([]);
    } finally {
      rmSync(bundle, { force: true });
    }
  });
});
