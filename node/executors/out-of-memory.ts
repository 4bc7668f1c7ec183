import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { showBytes } from '../settings/quantities.ts';
import { legacyMount, unifiedMount } from './run-cgroup.ts';

/**
 * Whether the kernel killed anything of a process's control group for want of memory, by the group's own files: version 2
 * counts it in memory.events, version 1 in memory.oom_control. (Engines say it late, or of the first process only.)
 */
export function killedForMemory(pid: number): boolean {
  if (pid <= 0) return false;
  let groups: string[];
  try {
    groups = readFileSync(`/proc/${pid}/cgroup`, 'utf8').split('\n');
  } catch {
    return false;
  }
  return groups.some((line) => {
    const [hierarchy = '', controllers = '', ...rest] = line.split(':');
    const isUnified = hierarchy === '0';
    if (!isUnified && !controllers.split(',').includes('memory')) return false;
    const mount = isUnified ? unifiedMount() : legacyMount('memory');
    const file = isUnified ? 'memory.events' : 'memory.oom_control';
    return mount !== null && countIn(join(mount, rest.join(':'), file)) > 0;
  });
}

/** How often that happened in a run's own groups; 0 where the kernel does not count it. */
export function memoryKills(groups: readonly string[]): number {
  const files = ['memory.events', 'memory.oom_control'];
  return groups.flatMap((group) => files.map((file) => countIn(join(group, file)))).reduce((sum, one) => sum + one, 0);
}

/** Says which limit was met and what raises it (official-runner F13). */
export function outOfMemory(memoryBytes: number | null, exitCode = 137): string {
  if (memoryBytes === null) return `killed: out of memory (exit code ${exitCode})`;
  const gib = 2 ** 30;
  const more = Math.max(4, 2 ** Math.ceil(Math.log2((memoryBytes * 2) / gib)));
  return `killed: out of memory, this job may use ${showBytes(memoryBytes)}; ask for more with the tag mem-${more}g (exit code ${exitCode})`;
}

function countIn(path: string): number {
  try {
    return Number(/^oom_kill (\d+)$/m.exec(readFileSync(path, 'utf8'))?.[1] ?? 0);
  } catch {
    return 0;
  }
}
