import type { Mutant } from './mutant.ts';

const taking = 'scheduler/jobs/grant-taking.ts';
const ofTheLeader = 'if (grant.term > highest || turn.context.leader !== from)';

/** Numbers and grants that this node should not believe (SAFETY J5, L17). */
export const impossibleMutants: Mutant[] = [
  {
    name: 'old grant taken',
    rule: 'J5',
    hunt: 'lag',
    patches: [
      { file: taking, find: 'if (grant.term < highest)', replace: 'if (false)' },
      // Who sends an old one does not lead any more, which is refused by itself.
      { file: taking, find: ofTheLeader, replace: 'if (grant.term > highest)' },
    ],
  },
  {
    name: 'grant of one that does not lead',
    rule: 'L17',
    hunt: 'rogues',
    patches: [{ file: taking, find: ofTheLeader, replace: 'if (grant.term > highest)' }],
  },
  {
    name: 'any term is believed',
    rule: 'L17',
    hunt: 'rogues',
    patches: [
      {
        file: 'scheduler/raft/plausible.ts',
        find: 'if (highest > term + farAhead.term)',
        replace: 'if (false)',
      },
    ],
  },
];
