import { hunt } from './hunt.ts';
import { mutants } from './table.ts';

/** npm run sim -- mutants [part of a name]: hunts each and shows after how many seeds it was found. */
const [part = '', budgetMs = '20000'] = process.argv.slice(3);
let escaped = 0;
for (const mutant of mutants.filter(({ name }) => name.includes(part))) {
  let line: string;
  try {
    const { found, seeds, cpuMs } = await hunt(mutant, Number(budgetMs), mutant.hunt);
    if (!found) escaped += 1;
    const how = found ? `${found.rule}, seed ${found.seed}` : 'NOT FOUND';
    line = `${(cpuMs / 1000).toFixed(1).padStart(6)} s ${String(seeds).padStart(5)} seeds  ${how}`;
  } catch (error) {
    escaped += 1;
    line = `${error}`;
  }
  process.stdout.write(`${mutant.rule.padEnd(10)} ${mutant.name.padEnd(42)} ${line}\n`);
}
process.stdout.write(`${escaped} not found\n`);
process.exitCode = escaped === 0 ? 0 : 1;
