import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { bin } from '../e2e/rig.ts';
import type { CoreStage } from './core-rows.ts';
import { medianAbove, type Row, row } from './figures.ts';

/** ms from the start of a process to its end. */
function timeOf(args: readonly string[], cache: string): number {
  const began = performance.now();
  const { status } = spawnSync(process.execPath, args, {
    env: { ...process.env, XDG_CACHE_HOME: cache },
    stdio: 'ignore',
  });
  return status === 0 ? performance.now() - began : Number.NaN;
}

/** The shortest command, as a process: each trial takes all of them in turn. No agent has left compiled code here. */
export async function versionRows({ options, folder, before }: CoreStage): Promise<Row[]> {
  const old = before();
  const ours: number[] = [];
  const bare: number[] = [];
  const olds: number[] = [];
  for (let trial = -1; trial < options.trials; trial++) {
    const took = [
      [bin, 'version'],
      ['-e', '0'],
      [old, 'version'],
    ].map((args) => timeOf(args, join(folder, 'cache')));
    // The first of all reads the files from the disk.
    if (trial >= 0) for (const [index, values] of [ours, bare, olds].entries()) values.push(took[index] as number);
  }
  const measure = 'autogit-node version, as a process';
  return [
    row({ measure, unit: 'ms', ours, against: { name: 'node -e 0', values: bare }, targets: [medianAbove(40)] }),
    row({ measure, unit: 'ms', ours, against: { name: options.before, values: olds } }),
  ];
}
