import type { Freezer } from '../ports.ts';
import { cgroupProcesses } from './run-cgroup.ts';
import { marksOfRun, type ProcessName, type ProcessStat, processesOf, type RunMarks } from './run-processes.ts';

/** The groups that are frozen of a run: its own first, then those of its services. */
export const groupsOf = (freezer: Freezer): string[] =>
  freezer.kind === 'cgroup' ? [freezer.path, ...(freezer.also ?? [])] : [];

/** What is stopped of a run without a group. A beat of an earlier agent has the marker only. */
export const stoppedBy = (freezer: Freezer): ProcessStat[] =>
  freezer.kind === 'cgroup' ? [] : processesOf(freezer.marks ?? marksOfRun(freezer.marker));

/** All that lives of what its watchdog would freeze of a run. */
export const frozenBy = (freezer: Freezer): { pid: number }[] => [
  ...groupsOf(freezer).flatMap((path) => cgroupProcesses(path)),
  ...stoppedBy(freezer),
];

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
