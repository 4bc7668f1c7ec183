import { setTimeout as sleep } from 'node:timers/promises';
import { membersAside, spawnAside } from '../starter/starter.ts';
import { killCgroup, removeCgroup, thawCgroup } from './run-cgroup.ts';
import { leastUid, type ProcessName, type RunMarks, signalAll, terminate } from './run-processes.ts';
import { aside, exitOf } from './tree-removal.ts';

/** The group first, as nothing in it outruns that; then what left it, by its marks. */
export async function endProcesses(
  marks: RunMarks,
  cgroup: string | null,
  seen: readonly ProcessName[] = [],
): Promise<void> {
  if (cgroup !== null) await killCgroup(cgroup);
  await terminate(() => membersAside(marks, cgroup, seen));
}

/** Kills everything of a run, supervisors included, at once. */
export async function endAll(
  marks: RunMarks,
  cgroup: string | null,
  limits: readonly string[],
  seen: readonly ProcessName[] = [],
): Promise<void> {
  if (marks.isUidAlone && marks.uid >= leastUid) await endUid(marks.uid);
  await endProcesses(marks, cgroup, seen);
  for (const group of limits) await removeCgroup(group);
  if (cgroup === null) return;
  try {
    thawCgroup(cgroup);
  } catch {
    return;
  }
  signalAll(await membersAside(marks, cgroup, seen), 'SIGKILL');
  await removeCgroup(cgroup);
}

/** All that has a uid, in one call of the kernel: however fast it forks, none is forgotten between two looks. */
async function endUid(uid: number): Promise<void> {
  const options = { ...aside(), uid, gid: uid } as const;
  for (let look = 0; look < 3; look++) {
    await exitOf(spawnAside('/bin/sh', ['-c', 'kill -s KILL -- -1'], options));
    await sleep(10);
  }
}

export const killedFromWithin =
  'its process was killed by SIGKILL, which the job itself can send (kill -9 $PPID, kill -9 -1); somebody on this machine, or the kernel for want of memory, would look the same';

export const recordTaken =
  'the agent’s record of this step was removed or emptied while it ran, which the job can do where it is the agent’s own user (a rm -rf outside its folder); somebody on this machine would look the same. With --user auto no job can';
