import { spawn } from 'node:child_process';

/** What `--json` says at the end. */
export interface SimTotal {
  seeds: number;
  virtualMs: number;
  realMs: number;
  events: number;
  broken: { seed: number; rule: string; sentence: string; replay: string }[];
  counts: Record<string, number>;
  inSeeds: Record<string, number>;
}

/** Runs a bundled simulation in a process of its own: worlds are busy loops, and a computer has several cores. */
export function runSimulation(bundle: string, flags: readonly string[]): Promise<SimTotal> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [bundle, '--json', ...flags], { stdio: ['ignore', 'pipe', 'inherit'] });
    let out = '';
    child.stdout.on('data', (chunk) => {
      out += chunk;
    });
    child.on('error', reject);
    child.on('close', (code) => {
      try {
        resolve(JSON.parse(out));
      } catch {
        reject(new Error(`the simulation ended with code ${code} and said: ${out.slice(0, 2000)}`));
      }
    });
  });
}
