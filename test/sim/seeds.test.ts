import { rmSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { describe, expect, it } from 'vitest';
import { bundleSimulation } from './bundle.ts';
import { Figures } from './figures.ts';
import { rareStates } from './rare.ts';
import { runSimulation, type SimTotal } from './sim-process.ts';

/** One seed in so many is told twice, and must be the same story. */
const twiceEvery = '20';

/**
 * What eight minutes of two cores hold; they meet all that more of them met but what is very rare. More by hand:
 * `SIM_LIVES=500 SIM_MOVES=100 npm test -- sim`.
 */
const lives = Number(process.env.SIM_LIVES ?? 300);
const moves = Number(process.env.SIM_MOVES ?? 60);

/** Met by fewer than one life in 50: their absence says nothing about so few. */
const veryRare: readonly string[] = [
  'late grant of a deposed leader',
  'vote granted to one that did not win',
  'store renewed and rolled back again',
  'run kept while its machine did not hear the leader',
  'leader of an old era stopped',
  'decisions of an old era lost',
  'hosting ended for a host that was removed',
  'stranded by a lost store',
  // Its host is away for as long as leaders wait, and longer than a bout of chaos mostly is: test/unit/hosting-lease.test.ts has it.
  'planned move taken back by a leader',
  // Met in 0 of the seeds 1 to 100 and in 2 of the 28 after them, since another machine in sync is asked before one that is not.
  'unplanned move to a machine that was not in sync',
];
/** A host is missed for longer than a bout of a life: looked for in worlds of their own. */
const isOfMoves = (name: string): boolean => / move\b|in-sync|lost (?:its|their) power/.test(name);

/** Of worlds of their own, whose three planted bugs are found only where these are met (mutants.test.ts, `twoSides`). */
const isOfSides = (name: string): boolean => / beside a recovered mesh|two sides/.test(name);

/** The seeds shared out over processes: worlds are busy loops. */
async function runSeeds(count: number, flags: string[]): Promise<SimTotal[]> {
  const workers = Math.max(2, Math.min(8, availableParallelism()));
  const bundle = await bundleSimulation('seeds', null);
  try {
    return await Promise.all(
      Array.from({ length: workers }, (_, worker) =>
        runSimulation(bundle, [
          ...['--seeds', `${Math.ceil(count / workers)}`, '--from', `${1 + worker}`, '--stride', `${workers}`],
          ...['--twice', twiceEvery, ...flags],
        ]),
      ),
    );
  } finally {
    rmSync(bundle, { force: true });
  }
}

const sum = (totals: readonly SimTotal[], of: (total: SimTotal) => number): number =>
  totals.reduce((total, one) => total + of(one), 0);

/** No rule is broken, voters change under fire in most seeds, and of so many at most one needs a person. */
function expectFine(totals: readonly SimTotal[], count: number, oneStrandedOf: number): void {
  expect(totals.flatMap((total) => total.broken)).toEqual([]);
  const seeds = sum(totals, (total) => total.seeds);
  expect(seeds).toBeGreaterThanOrEqual(count);
  const underFire = sum(totals, (total) => total.inSeeds['membership changed under fire'] ?? 0);
  expect(underFire, 'seeds in which voters changed while something was broken').toBeGreaterThanOrEqual(seeds / 2);
  const stranded = sum(totals, (total) => total.inSeeds['stranded by a lost store'] ?? 0);
  expect(stranded, 'seeds that only a person could help').toBeLessThanOrEqual(seeds / oneStrandedOf);
}

describe('worlds', { timeout: 1_800_000 }, () => {
  it(`${lives} lives of ten minutes break no rule, get well, keep their leaders in calm, and meet what is rare`, async () => {
    const totals = await runSeeds(lives, ['--chaos', '6s', '--life', '10m']);
    expectFine(totals, lives, 10);
    const figures = new Figures();
    for (const total of totals) figures.merge(total.counts);
    const wanted = rareStates.filter((name) => !veryRare.includes(name) && !isOfMoves(name) && !isOfSides(name));
    expect(wanted.filter((name) => !figures.counts[name])).toEqual([]);
  });

  it(`${moves} worlds that lose the host of their GitLab, and move it, break no rule, and meet what is rare`, async () => {
    const kinds = 'busy loop,reset streams,isolate';
    const flags = ['--hosting', '--chaos', '120s', '--heal', '0', '--kinds', kinds];
    const totals = await runSeeds(moves, flags);
    expect(totals.flatMap((total) => total.broken)).toEqual([]);
    const figures = new Figures();
    for (const total of totals) figures.merge(total.counts);
    const wanted = rareStates.filter((name) => !veryRare.includes(name) && isOfMoves(name));
    expect(wanted.filter((name) => !figures.counts[name])).toEqual([]);
  });

  it('300 worlds of one bout break no rule and get well', async () => {
    expectFine(await runSeeds(300, ['--chaos', '6s']), 300, 20);
  });
});
