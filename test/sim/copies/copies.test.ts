import { expect, it } from 'vitest';
import { fitAll } from '../mutants/fitting.ts';
import { Broken } from './copies-standby.ts';
import { CopiesWorld } from './copies-world.ts';
import { copiesMutants } from './mutants.ts';

/** More by hand: COPIES_SCHEDULES=20000. */
const schedules = Number(process.env.COPIES_SCHEDULES ?? 300);

it('an answered push is on every member in each of many schedules', { timeout: 1_800_000 }, () => {
  const met = new Set<string>();
  for (let seed = 1; seed <= schedules; seed += 1) {
    const world = new CopiesWorld(seed);
    try {
      world.run(600);
    } catch (error) {
      if (error instanceof Broken) throw new Error(`schedule ${seed}: ${error.message}`);
      throw error;
    }
    for (const what of Object.keys(world.counts)) met.add(what);
  }
  // A checker in which nothing happens finds nothing.
  const wanted = [
    'push answered',
    'copy-enters',
    'copies-leave',
    'copy-enters refused',
    'whole copy',
    'strip',
    'epoch',
  ];
  expect(wanted.filter((what) => !met.has(what))).toEqual([]);
});

it('the same schedule is the same story', () => {
  const [one, two] = [7, 7].map((seed) => {
    const world = new CopiesWorld(seed);
    world.run(600);
    return world.counts;
  });
  expect(one).toEqual(two);
});

it('every planted bug matches the code as it is', () => {
  expect(() => fitAll(copiesMutants)).not.toThrow();
});
