import { execFileSync, spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { CoreStage } from './core-rows.ts';
import { medianAtLeast, type Row, row } from './figures.ts';

/** Lives as `seeds.test.ts` runs them, from `from` on. */
const livesPerTrial = 8;
const flags = (from: number): string[] => [
  ...['--seeds', `${livesPerTrial}`, '--from', `${from}`, '--twice', '0', '--chaos', '6s', '--life', '10m', '--json'],
];

/** How many times as fast as real time the lives pass on one core, by CPU time; NaN when they did not pass. */
function speedOf(root: string, from: number): number {
  const { stdout } = spawnSync(process.execPath, [join(root, 'test/sim/run.mjs'), ...flags(from)], {
    encoding: 'utf8',
  });
  const total = stdout === '' ? null : JSON.parse(stdout);
  return total === null || total.broken.length > 0 ? Number.NaN : total.virtualMs / total.realMs;
}

/** Both builds live the same seeds in turn, at most ten times: each trial other ones. */
export async function simRow({ options, before }: CoreStage): Promise<Row[]> {
  const cwd = fileURLToPath(new URL('.', import.meta.url));
  const root = execFileSync('git', ['rev-parse', '--show-toplevel'], { cwd, encoding: 'utf8' }).trim();
  const old = join(before(), '..', '..');
  const ours: number[] = [];
  const olds: number[] = [];
  for (let trial = 0; trial < Math.min(10, options.trials); trial++) {
    const from = 1 + trial * livesPerTrial;
    ours.push(speedOf(root, from));
    olds.push(speedOf(old, from));
  }
  return [
    row({
      measure: 'sim: lives with the real codec, x real time per core (CPU time)',
      unit: 'x',
      ours,
      against: { name: options.before, values: olds },
      targets: [medianAtLeast(1000)],
    }),
  ];
}
