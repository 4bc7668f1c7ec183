import { spawn } from 'node:child_process';
import { rmSync } from 'node:fs';
import { bundleSimulation } from '../bundle.ts';
import type { Mutant } from './table.ts';

export interface Hunt {
  name: string;
  found: { seed: number; rule: string; sentence: string } | null;
  seeds: number;
  cpuMs: number;
}

/** Runs seeds of the mutated (or, with null, the real) simulation in a process of its own until one breaks a rule. */
export async function hunt(mutant: Mutant | null, cpuBudgetMs: number): Promise<Hunt> {
  const name = mutant?.name ?? 'as it is';
  const bundle = await bundleSimulation(name, mutant);
  const how = mutant?.isOfElections ? ['--storm', '--chaos', '8s'] : ['--chaos', '15s'];
  const flags = ['--cpu', `${cpuBudgetMs}ms`, '--twice', '0', '--heal', '0', '--json', ...how];
  const text = await new Promise<string>((resolve, reject) => {
    const child = spawn(process.execPath, [bundle, ...flags], { stdio: ['ignore', 'pipe', 'inherit'] });
    let out = '';
    child.stdout.on('data', (chunk) => {
      out += chunk;
    });
    child.on('error', reject);
    child.on('close', () => resolve(out));
  });
  rmSync(bundle, { force: true });
  const { seeds, realMs, broken } = JSON.parse(text);
  return { name, found: broken[0] ?? null, seeds, cpuMs: realMs };
}
