import { execFileSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { bundleSimulation } from '../bundle.ts';
import { copiesMutants } from './mutants.ts';

// npm run sim -- copies-mutants [part of name] [schedules]: at which schedule each planted bug is found.
const [part = '', schedules = '6000'] = process.argv.slice(3);
for (const mutant of copiesMutants.filter(({ name }) => name.includes(part))) {
  const bundle = await bundleSimulation(`copies-${mutant.name}`, mutant, 'test/sim/copies/main.ts');
  const said = execFileSync(process.execPath, [bundle, '--schedules', schedules], { encoding: 'utf8' });
  rmSync(bundle, { force: true });
  const { broken } = JSON.parse(said) as { broken: { seed: number; sentence: string } | null };
  process.stdout.write(`${mutant.name.padEnd(12)} ${broken ? `${broken.seed}: ${broken.sentence}` : 'not found'}\n`);
  if (!broken) process.exitCode = 1;
}
