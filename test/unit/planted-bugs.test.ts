import { expect, it } from 'vitest';
import { fitAll } from '../sim/mutants/fitting.ts';
import { keptSeeds } from '../sim/mutants/kept-seeds.ts';
import { mutants } from '../sim/mutants/table.ts';

/** Their hunts are minutes of the part `sim`; that each is still planted is known at once. */
it('every planted bug matches the code as it is', () => {
  expect(() => fitAll(mutants)).not.toThrow();
});

it('a seed is kept for no bug that is planted no more', () => {
  const names = mutants.map(({ name }) => name);
  expect(Object.keys(keptSeeds()).filter((name) => !names.includes(name))).toEqual([]);
});
