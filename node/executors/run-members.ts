import { cgroupProcesses } from './run-cgroup.ts';
import { type ProcessName, processesOf, type RunMarks } from './run-processes.ts';

/** What of a run lives: by its marks, and what is in its control group. Reads of every process of the machine, milliseconds for hundreds. */
export function membersOf(
  marks: RunMarks,
  cgroup: string | null,
  seen: readonly ProcessName[] = [],
): { pid: number }[] {
  const pids = new Map(processesOf(marks, seen).map(({ pid }) => [pid, { pid }]));
  if (cgroup !== null) for (const member of cgroupProcesses(cgroup)) pids.set(member.pid, member);
  return [...pids.values()];
}
