import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { mutants } from './table.ts';

/** By a planted bug's name: the seed that found it when `mutants --update` looked last. Commands run in the repository. */
const file = join(process.cwd(), 'test/sim/mutants/kept-seeds.json');

/**
 * Where a hunt begins: a bug that one world in two hundred meets is then found by the first one. Whatever changes a world
 * changes what its seed finds, and the hunt goes on with the others as if none were kept.
 */
export const keptSeeds = (): Record<string, number> => JSON.parse(readFileSync(file, 'utf8'));

/** Writes them in the table's order, without those of bugs that are planted no more. */
export function keepSeeds(seeds: Readonly<Record<string, number>>): void {
  const inOrder = mutants.flatMap(({ name }) => (seeds[name] === undefined ? [] : [[name, seeds[name]]]));
  writeFileSync(file, `${JSON.stringify(Object.fromEntries(inOrder), null, 2)}\n`);
}
