import { rmSync } from 'node:fs';
import { bundleSimulation } from '../bundle.ts';
import { runSimulation } from '../sim-process.ts';
import type { Mutant } from './mutant.ts';

export interface Hunt {
  name: string;
  found: { seed: number; rule: string; sentence: string } | null;
  seeds: number;
  cpuMs: number;
}

const cuts = 'isolate,partition,cut one way,slow line';
const hunts: Record<Exclude<Mutant['hunt'], 'stories'>, string[]> = {
  storm: ['--storm', '--chaos', '8s'],
  common: ['--chaos', '15s'],
  long: ['--chaos', '60s'],
  cuts: ['--chaos', '20s', '--kinds', cuts],
  rollbacks: ['--storm', '--chaos', '8s', '--kinds', 'roll back disk,roll back disk,kill agent'],
  recoveries: ['--storm', '--chaos', '20s', '--kinds', 'recover by force,kill agent'],
  recovered: ['--chaos', '40s', '--kinds', 'recover by force,kill agent,isolate'],
  duels: ['--storm', '--chaos', '8s', '--kinds', 'isolate,isolate,kill agent'],
  split: ['--storm', '--chaos', '8s', '--kinds', 'kill agent,power off,slow line,slow line'],
  stormyKills: ['--storm', '--chaos', '8s', '--kinds', 'kill agent,kill agent,isolate,slow disk'],
  kills: ['--chaos', '15s', '--kinds', 'kill agent,kill agent,reset streams'],
  lag: ['--chaos', '15s', '--kinds', 'slow line,slow line,kill agent,isolate'],
  rogues: ['--chaos', '15s', '--kinds', 'rogue member,rogue member,kill agent'],
  hosts: ['--hosting', '--chaos', '20s', '--kinds', 'isolate,isolate,kill agent,suspend,stop process,slow line'],
  slowHosts: ['--hosting', '--chaos', '12s', '--kinds', 'slow disk,slow disk,slow disk,kill agent,isolate'],
  recoveredHosts: ['--hosting', '--chaos', '40s', '--kinds', 'recover by force,kill agent,isolate'],
  failingHosts: ['--hosting', '--chaos', '20s', '--kinds', 'failing disk,failing disk,kill agent,kill agent'],
  rebootedHosts: ['--hosting', '--chaos', '30s', '--kinds', 'power off'],
  sleepingHosts: ['--hosting', '--chaos', '20s', '--kinds', 'suspend,suspend,isolate'],
  movingHosts: ['--hosting', '--chaos', '90s', '--kinds', 'kill agent'],
  lostHosts: ['--hosting', '--chaos', '120s', '--kinds', 'busy loop,reset streams,isolate'],
  cutHosts: ['--hosting', '--chaos', '120s', '--kinds', 'busy loop,cut one way,slow line,suspend'],
  leavingHosts: ['--hosting', '--chaos', '120s', '--kinds', 'busy loop,reset streams,leave politely'],
  roundHosts: ['--hosting', '--chaos', '400s', '--kinds', 'busy loop,reset streams'],
  twoSides: ['--hosting', '--chaos', '150s', '--kinds', 'two sides'],
  bothRecovered: ['--hosting', '--chaos', '150s', '--kinds', 'recovered on both sides'],
  calmHosts: ['--hosting', '--chaos', '20s', '--kinds', 'kill agent'],
  hiccups: ['--chaos', '15s', '--kinds', 'reset streams,busy loop'],
};

/**
 * Runs seeds, `first` and then those from `from` on, of the mutated (or, with null, the real) simulation in a process of
 * its own until one breaks a rule. The golden stories need no seed: each is played once.
 */
export async function hunt(
  mutant: Mutant | null,
  budget: { cpuMs: number } | { seeds: number },
  kind: Mutant['hunt'],
  { from = 1, first }: { from?: number; first?: number | undefined } = {},
): Promise<Hunt> {
  const name = mutant?.name ?? `as it is ${kind}`;
  const bundle = await bundleSimulation(name, mutant, kind === 'stories' ? 'test/sim/golden/hunt.ts' : undefined);
  const least = 'cpuMs' in budget ? ['--cpu', `${budget.cpuMs}ms`] : ['--seeds', `${budget.seeds}`];
  const seeds = [...(first === undefined ? [] : ['--first', `${first}`]), '--from', `${from}`];
  const limits = [...least, ...seeds, '--twice', '0', '--heal', '0'];
  try {
    const total = await runSimulation(bundle, kind === 'stories' ? [] : [...limits, ...hunts[kind]]);
    return { name, found: total.broken[0] ?? null, seeds: total.seeds, cpuMs: total.realMs };
  } finally {
    rmSync(bundle, { force: true });
  }
}
