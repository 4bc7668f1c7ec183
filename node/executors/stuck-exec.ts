import { readdirSync } from 'node:fs';
import { readKernelFile } from '../machine/kernel-file.ts';
import { cgroupProcesses, freezerOfProcess, isCgroupFrozen } from './run-cgroup.ts';
import { signalAll } from './run-processes.ts';

/*
 * A command that an engine begins in a container whose group was frozen by file a moment before stands still in there, as the runtime's own
 * process and not yet as the command. Docker keeps what it knows of that container to itself until then: it answers no question about
 * it, and ends it for nobody (seen with Docker 20.10.24 and runc 1.1.5).
 */

const runtimes = /^(runc|crun)/;

/** A container's group by the kernel alone, from any process in it; null where none runs on this machine. */
export function groupNamed(id: string): string | null {
  if (id.length < 12) return null;
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name) || !said(`/proc/${name}/cgroup`).includes(id)) continue;
    const parts = freezerOfProcess(Number(name))?.split('/') ?? [];
    const at = parts.findIndex((part) => part.includes(id));
    if (at >= 0) return parts.slice(0, at + 1).join('/');
  }
  return null;
}

/** Ends what stands so in there; whether there was any. What version 1 has frozen dies only once it is thawed. */
export function endStuckExecs(id: string): boolean {
  const group = groupNamed(id);
  if (group === null || !isCgroupFrozen(group)) return false;
  const stuck = cgroupProcesses(group).filter(({ pid }) => runtimes.test(said(`/proc/${pid}/comm`)));
  return signalAll(stuck, 'SIGKILL') > 0;
}

function said(file: string): string {
  try {
    return readKernelFile(file);
  } catch {
    return '';
  }
}
