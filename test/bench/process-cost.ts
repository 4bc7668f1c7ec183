import { readFileSync } from 'node:fs';
import { fieldsOfStat } from '../../node/machine/processes.ts';
import { sleep } from '../e2e/rig.ts';

/** Seconds of CPU (user and system) that a process has used. */
export function cpuSeconds(pid: number): number {
  const fields = fieldsOfStat(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

export function residentMiB(pid: number): number {
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1024;
}

export interface Cost {
  /** % of one core. */
  cpu: number;
  memoryMiB: number;
}

/** What each of these processes costs over `ms` in which nobody asks it for anything. */
export async function costOf(pids: readonly number[], ms: number): Promise<Cost[]> {
  const before = pids.map(cpuSeconds);
  const began = performance.now();
  await sleep(ms);
  const seconds = (performance.now() - began) / 1000;
  return pids.map((pid, index) => ({
    cpu: ((cpuSeconds(pid) - (before[index] as number)) / seconds) * 100,
    memoryMiB: residentMiB(pid),
  }));
}
