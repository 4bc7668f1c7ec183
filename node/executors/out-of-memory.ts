import { readFileSync } from 'node:fs';
import { join } from 'node:path';

/**
 * Whether the kernel killed anything of a process's control group for want of memory, by the group's own files: version 2
 * counts it in memory.events, version 1 in memory.oom_control. (Engines say it late, or of the first process only.)
 */
export function killedForMemory(pid: number): boolean {
  if (pid <= 0) return false;
  let groups: string[];
  let mounts: string[][];
  try {
    groups = readFileSync(`/proc/${pid}/cgroup`, 'utf8').split('\n');
    mounts = readFileSync('/proc/self/mounts', 'utf8')
      .split('\n')
      .map((line) => line.split(' '));
  } catch {
    return false;
  }
  return groups.some((line) => {
    const [hierarchy = '', controllers = '', ...rest] = line.split(':');
    const isUnified = hierarchy === '0';
    if (!isUnified && !controllers.split(',').includes('memory')) return false;
    const mount = mounts.find(
      ([, , type, options = '']) =>
        (isUnified && type === 'cgroup2') || (!isUnified && type === 'cgroup' && options.split(',').includes('memory')),
    );
    const file = isUnified ? 'memory.events' : 'memory.oom_control';
    return mount?.[1] !== undefined && countIn(join(mount[1], rest.join(':'), file)) > 0;
  });
}

function countIn(path: string): number {
  try {
    return Number(/^oom_kill (\d+)$/m.exec(readFileSync(path, 'utf8'))?.[1] ?? 0);
  } catch {
    return 0;
  }
}
