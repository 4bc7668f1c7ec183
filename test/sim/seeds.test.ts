import { rmSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { describe, expect, it } from 'vitest';
import { bundleSimulation } from './bundle.ts';
import { Figures } from './figures.ts';
import { rareStates } from './rare.ts';
import { runSimulation, type SimTotal } from './sim-process.ts';

/** One seed in so many is told twice, and must be the same story. */
const twiceEvery = '20';

/** Met by fewer than one seed in 200: their absence says nothing about so few seeds. */
const veryRare: readonly string[] = [
  'vote granted to one that did not win',
  'late grant of a deposed leader',
  'store rolled back and found out',
  'stranded by a lost store',
];

/** The seeds shared out over processes: worlds are busy loops. */
async function runSeeds(bundle: string, count: number, flags: string[]): Promise<SimTotal[]> {
  const workers = Math.max(2, Math.min(8, availableParallelism()));
  return Promise.all(
    Array.from({ length: workers }, (_, worker) =>
      runSimulation(bundle, [
        ...['--seeds', `${Math.ceil(count / workers)}`, '--from', `${1 + worker}`, '--stride', `${workers}`],
        ...['--twice', twiceEvery, ...flags],
      ]),
    ),
  );
}

const sum = (totals: readonly SimTotal[], of: (total: SimTotal) => number): number =>
  totals.reduce((total, one) => total + of(one), 0);

describe('worlds', { timeout: 1_200_000 }, () => {
  it('800 of 6 s of chaos, then healing, break no rule, get well, and meet what is rare', async () => {
    const bundle = await bundleSimulation('seeds', null);
    try {
      const totals = await runSeeds(bundle, 800, ['--chaos', '6s']);
      const figures = new Figures();
      for (const total of totals) figures.merge(total.counts);
      expect(totals.flatMap((total) => total.broken)).toEqual([]);
      const seeds = sum(totals, (total) => total.seeds);
      expect(seeds).toBeGreaterThanOrEqual(800);
      const wanted = rareStates.filter((name) => !veryRare.includes(name));
      expect(wanted.filter((name) => !figures.counts[name])).toEqual([]);
      const underFire = sum(totals, (total) => total.inSeeds['membership changed under fire'] ?? 0);
      expect(underFire, 'seeds in which voters changed while something was broken').toBeGreaterThanOrEqual(seeds / 2);
      const stranded = sum(totals, (total) => total.inSeeds['stranded by a lost store'] ?? 0);
      expect(stranded, 'seeds that only a person could help').toBeLessThanOrEqual(seeds / 20);
    } finally {
      rmSync(bundle, { force: true });
    }
  });

  it('24 lives of ten minutes, bouts of chaos and calm, keep their leaders in calm', async () => {
    const bundle = await bundleSimulation('lives', null);
    try {
      const totals = await runSeeds(bundle, 24, ['--chaos', '6s', '--life', '10m']);
      expect(totals.flatMap((total) => total.broken)).toEqual([]);
      expect(sum(totals, (total) => total.seeds)).toBeGreaterThanOrEqual(24);
    } finally {
      rmSync(bundle, { force: true });
    }
  });
});
