import { join } from 'node:path';
import { legacyMount, unifiedMount } from '../executors/run-cgroup.ts';
import { readKernelFile } from '../machine/kernel-file.ts';

/** Above it a limit is none: version 1 writes almost 2^63. */
const noLimit = 2 ** 60;

const number = (path: string): number => Number.parseInt(readKernelFile(path), 10);

/** What a process's control group uses, without pages that the kernel may drop at once. Null where it is not counted. */
export function memoryOf(pid: number): { usedBytes: number; limitBytes: number } | null {
  try {
    for (const line of readKernelFile(`/proc/${pid}/cgroup`).split('\n')) {
      const [hierarchy = '', controllers = '', ...rest] = line.split(':');
      const isLegacy = controllers.split(',').includes('memory');
      const mount = isLegacy ? legacyMount('memory') : hierarchy === '0' ? unifiedMount() : null;
      const path = rest.join(':');
      if (mount === null || path === '/' || path === '') continue;
      const group = join(mount, path);
      const [used, limit] = isLegacy
        ? ['memory.usage_in_bytes', 'memory.limit_in_bytes']
        : ['memory.current', 'memory.max'];
      const droppable = /^(?:total_)?inactive_file (\d+)$/m.exec(readKernelFile(join(group, 'memory.stat')))?.[1] ?? 0;
      const limitBytes = number(join(group, limit));
      const usedBytes = number(join(group, used)) - Number(droppable);
      if (!Number.isFinite(usedBytes)) continue;
      return { usedBytes: Math.max(0, usedBytes), limitBytes: limitBytes > 0 && limitBytes < noLimit ? limitBytes : 0 };
    }
  } catch {
    // Gone, or a version 2 without this controller: the next hierarchy would have been looked at above.
  }
  return null;
}
