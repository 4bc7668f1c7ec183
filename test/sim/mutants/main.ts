import { hunt } from './hunt.ts';
import { keepSeeds, keptSeeds } from './kept-seeds.ts';
import type { Mutant } from './mutant.ts';
import { mutants } from './table.ts';

/**
 * npm run sim -- mutants [part of a name] [budget in CPU ms] [ranges] [--update]: hunts each, from the seed that is kept of it on, and
 * shows after how many seeds it was found. `ranges` > 1 hunts it again in other seeds, and without the kept one: that is how long
 * luck alone takes. `--update` keeps the seed that found it now.
 */
const words = process.argv.slice(3);
const isUpdate = words.includes('--update');
const [part = '', budgetMs = '20000', ranges = '1'] = words.filter((word) => word !== '--update');
const kept = keptSeeds();
let escaped = 0;
const once = async (mutant: Mutant, from: number): Promise<string> => {
  try {
    const first = isUpdate || ranges === '1' ? kept[mutant.name] : undefined;
    const { found, seeds, cpuMs } = await hunt(mutant, { cpuMs: Number(budgetMs) }, mutant.hunt, { from, first });
    if (!found) escaped += 1;
    else if (isUpdate && from === 1 && mutant.hunt !== 'stories') kept[mutant.name] = found.seed;
    const how = found ? `${found.rule}, seed ${found.seed}` : 'NOT FOUND';
    return `${(cpuMs / 1000).toFixed(1).padStart(6)} s ${String(seeds).padStart(5)} seeds  ${how}`;
  } catch (error) {
    escaped += 1;
    return `${error}`;
  }
};
for (const mutant of mutants.filter(({ name }) => name.includes(part)))
  for (let range = 0; range < (mutant.hunt === 'stories' ? 1 : Number(ranges)); range += 1)
    process.stdout.write(
      `${mutant.rule.padEnd(10)} ${mutant.name.padEnd(42)} ${await once(mutant, 1 + range * 100_000)}\n`,
    );
if (isUpdate) keepSeeds(kept);
process.stdout.write(`${escaped} not found\n`);
process.exitCode = escaped === 0 ? 0 : 1;
