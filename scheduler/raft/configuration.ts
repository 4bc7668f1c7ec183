import type { Ledger, Voters } from '../../protocol/ledger.ts';
import { note } from '../note.ts';
import { configurationCommitted, propose } from './proposal.ts';
import { sameVoters } from './quorum.ts';
import { raftTimings } from './raft-timings.ts';
import type { RaftTurn } from './raft-turn.ts';
import { plannedVoters } from './voter-plan.ts';

/**
 * Every change of voters or weights goes through a joint configuration (SAFETY L4): in when the simple one in force is
 * committed in the own term, out when the joint one is (L3). One at a time.
 */
export function moveConfiguration(turn: RaftTurn): void {
  const { raft } = turn;
  if (!raft.leading || !configurationCommitted(turn)) return;
  if (raft.leading.handover !== null) return;
  const { configuration } = raft.accepted;
  if (configuration.next !== null) {
    propose(turn, { ...raft.accepted, configuration: { voters: configuration.next, next: null } });
    return;
  }
  // Who is here changes slowly, what the ledger says at once.
  const { plannedFor, plannedAt } = raft.leading;
  if (plannedFor === raft.accepted && turn.at - plannedAt < raftTimings.planMs) return;
  raft.leading = { ...raft.leading, plannedFor: raft.accepted, plannedAt: turn.at };
  const planned = plannedVoters(turn);
  if (planned === null || sameVoters(planned.voters, configuration.voters)) return;
  note(turn, {
    event: 'voters-changing',
    level: 'debug',
    because: planned.because,
    fields: { voters: Object.keys(planned.voters).length },
  });
  propose(turn, intoJoint(raft.accepted, planned.voters));
}

const intoJoint = (ledger: Ledger, next: Voters): Ledger => ({
  ...ledger,
  configuration: { voters: ledger.configuration.voters, next },
});
