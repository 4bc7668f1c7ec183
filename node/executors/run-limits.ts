import { existsSync, rmdirSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import type { ExecutorSpec } from '../ports.ts';
import { legacyMount, makeGroup } from './run-cgroup.ts';

/** More than any build needs, and few enough that a fork bomb leaves the machine its process numbers. */
const mostProcesses = 8192;
const periodUs = 100_000;

/**
 * A job gives way to its agent, and to what else its machine does: all jobs together have a quarter of the weight that
 * another service has. Alone on the machine they have all of it.
 */
export const jobShares = 256;
const jobWeight = 25;

type Controller = 'memory' | 'pids' | 'cpu';
type Limits = Pick<ExecutorSpec, 'cpuMillis' | 'memoryBytes'>;
const names: Record<Controller, string> = { memory: 'memory', pids: 'processes', cpu: 'CPU' };
const controllers = Object.keys(names) as Controller[];

type FileValue = [file: string, value: string];
/** The first file is the limit; the others go with it where the kernel has them. */
interface Files {
  unified: [FileValue, ...FileValue[]];
  legacy: [FileValue, ...FileValue[]];
}

/** The files of one controller and what they get, in version 2 and 1. Null: this job has no such limit. */
function filesOf(controller: Controller, { cpuMillis, memoryBytes }: Limits): Files | null {
  if (controller === 'pids') {
    const most: FileValue = ['pids.max', String(mostProcesses)];
    return { unified: [most], legacy: [most] };
  }
  if (controller === 'memory') {
    if (memoryBytes === null || memoryBytes <= 0) return null;
    const bytes = String(Math.floor(memoryBytes));
    // Without these a job over its limit would fill the machine's swap, as it may not in docker.
    return {
      unified: [
        ['memory.max', bytes],
        ['memory.swap.max', '0'],
      ],
      legacy: [
        ['memory.limit_in_bytes', bytes],
        ['memory.memsw.limit_in_bytes', bytes],
      ],
    };
  }
  if (cpuMillis === null || cpuMillis <= 0) return null;
  const quota = Math.max(1000, Math.round((cpuMillis / 1000) * periodUs));
  return {
    unified: [['cpu.max', `${quota} ${periodUs}`]],
    legacy: [['cpu.cfs_quota_us', String(quota)]],
  };
}

function setAll(group: string, [limit, ...others]: Files['unified']): boolean {
  if (!written(join(group, limit[0]), limit[1])) return false;
  for (const [file, value] of others) written(join(group, file), value);
  return true;
}

/** Sets what a run's group of version 2 can limit, and makes groups of version 1 for the rest. */
export function limitRun(run: string, cgroup: string | null, limits: Limits): { groups: string[]; missing: string[] } {
  const groups: string[] = [];
  const missing: string[] = [];
  if (cgroup !== null && existsSync(join(cgroup, 'cgroup.controllers'))) delegate(cgroup);
  for (const controller of controllers) {
    const files = filesOf(controller, limits);
    if (files === null) continue;
    if (cgroup !== null && setAll(cgroup, files.unified)) continue;
    const group = legacyGroup(controller, run);
    if (group !== null && setAll(group, files.legacy)) groups.push(group);
    else {
      missing.push(names[controller]);
      if (group !== null) removeEmpty(group);
    }
  }
  giveWay(run, cgroup, groups);
  return { groups, missing };
}

/** The weight lies on the group of all runs, since that is what stands beside others. Of version 1 the run joins one below it. */
function giveWay(run: string, cgroup: string | null, groups: string[]): void {
  if (cgroup !== null && existsSync(join(cgroup, 'cpu.weight'))) {
    const all = dirname(cgroup);
    written(join(basename(all) === 'autogit' ? all : cgroup, 'cpu.weight'), String(jobWeight));
    return;
  }
  const group = legacyGroup('cpu', run);
  if (group === null) return;
  const isLight = written(join(dirname(group), 'cpu.shares'), String(jobShares));
  if (groups.includes(group)) return;
  if (isLight) groups.push(group);
  else removeEmpty(group);
}

/** What this system cannot limit, found out by trying. */
export function missingLimits(cgroup: string | null): string[] {
  const { groups, missing } = limitRun(`check-${process.pid}`, cgroup, { cpuMillis: 1000, memoryBytes: 1 << 30 });
  for (const group of groups) removeEmpty(group);
  return missing;
}

/** The groups above it must pass the controllers on; each may do so, or be in others' hands. */
function delegate(cgroup: string): void {
  for (const above of [dirname(dirname(cgroup)), dirname(cgroup)])
    for (const controller of controllers) written(join(above, 'cgroup.subtree_control'), `+${controller}`);
}

function legacyGroup(controller: Controller, run: string): string | null {
  try {
    const mount = legacyMount(controller);
    if (mount === null) return null;
    const path = join(mount, 'autogit', `autogit-${run}`);
    makeGroup(path);
    return path;
  } catch {
    return null;
  }
}

function written(path: string, value: string): boolean {
  try {
    if (!existsSync(path)) return false;
    writeFileSync(path, value);
    return true;
  } catch {
    return false;
  }
}

function removeEmpty(group: string): void {
  try {
    rmdirSync(group);
  } catch {
    // Somebody is in it, or it is gone.
  }
}
