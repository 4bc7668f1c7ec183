import { rmSync } from 'node:fs';
import { bundleSimulation } from '../bundle.ts';
import { runSimulation } from '../sim-process.ts';
import type { Mutant } from './table.ts';

export interface Hunt {
  name: string;
  found: { seed: number; rule: string; sentence: string } | null;
  seeds: number;
  cpuMs: number;
}

/** Runs seeds of the mutated (or, with null, the real) simulation in a process of its own until one breaks a rule. */
export async function hunt(mutant: Mutant | null, cpuBudgetMs: number, kind: Mutant['hunt']): Promise<Hunt> {
  const name = mutant?.name ?? `as it is ${kind}`;
  const bundle = await bundleSimulation(name, mutant);
  const how = { storm: ['--storm', '--chaos', '8s'], common: ['--chaos', '15s'], long: ['--chaos', '60s'] }[kind];
  try {
    const total = await runSimulation(bundle, ['--cpu', `${cpuBudgetMs}ms`, '--twice', '0', '--heal', '0', ...how]);
    return { name, found: total.broken[0] ?? null, seeds: total.seeds, cpuMs: total.realMs };
  } finally {
    rmSync(bundle, { force: true });
  }
}
