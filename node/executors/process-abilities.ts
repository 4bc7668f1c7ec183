import { orphanHolder } from './orphan-holding.ts';
import { makeRunCgroup, removeCgroup } from './run-cgroup.ts';
import { missingLimits } from './run-limits.ts';

/** What this machine, and who the agent is on it, can do about a process job; found out by trying. */
export interface ProcessAbilities {
  /** Limits that cannot be set. */
  missing: string[];
  /** What keeps a job's processes together: whom its end does not reach follows from it. */
  heldBy: 'group' | 'supervisor' | 'marks';
}

export async function processAbilities(): Promise<ProcessAbilities> {
  const cgroup = makeRunCgroup(`check-${process.pid}`);
  const missing = missingLimits(cgroup);
  if (cgroup !== null) await removeCgroup(cgroup);
  return { missing, heldBy: cgroup !== null ? 'group' : orphanHolder() !== null ? 'supervisor' : 'marks' };
}

const escapes: Record<ProcessAbilities['heldBy'], string | null> = {
  group: null,
  supervisor: 'a job that kills its own supervisor can leave processes behind, as no control group can be made here',
  marks:
    'what a job starts in a new session with a cleared environment can outlive it, as no control group can be made here and neither perl nor python3 is there to hold it',
};

/** Half sentences for whoever switches it on. */
export const sayAbilities = ({ missing, heldBy }: ProcessAbilities): string[] => [
  ...(missing.length === 0 ? [] : [`no limit of ${missing.join(', ')} can be set here`]),
  ...(escapes[heldBy] === null ? [] : [escapes[heldBy]]),
];
