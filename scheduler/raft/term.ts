import type { NodeId } from '../../protocol/ids.ts';
import { note } from '../note.ts';
import { ownContactAt } from './own-contact.ts';
import { nameOf, type RaftTurn, setPeer } from './raft-turn.ts';

/**
 * A node is a follower, or campaigns, or leads; `raft.campaign` and `raft.leading` say which, and never both. It becomes
 * a follower whenever it sees a higher term, and after every restart.
 */

/** A higher term was seen: the vote of the old one is void, and who led or campaigned in it does so no more. */
export function raiseTerm(turn: RaftTurn, term: number, because: string): void {
  const { raft } = turn;
  if (term <= raft.term) return;
  if (raft.leading) stepDown(turn, because);
  else loseLeader(turn, because, 'new-term');
  raft.term = term;
  raft.timerAt = turn.at;
  raft.votedFor = null;
  raft.campaign = null;
  turn.save.promise = true;
}

/** Stops leading, in the same term. Who waits for an answer asks again (SAFETY L16). */
export function stepDown(turn: RaftTurn, because: string): void {
  const { raft } = turn;
  if (!raft.leading) return;
  // Its own last round with a majority: its runs have heard a leader until then, and may go on for a moment (SAFETY J1).
  raft.contactAt = ownContactAt(raft, turn.self, turn.identity.store);
  raft.leading = null;
  raft.timerAt = turn.at;
  loseLeader(turn, because, 'stepped-down');
}

/** This node hears nobody lead any more. */
export function loseLeader(turn: RaftTurn, because: string, why: string): void {
  const { raft } = turn;
  if (raft.leader === null) return;
  const { node, term } = raft.leader;
  raft.leader = null;
  // Whoever hears of it by a newer term alone heard the leader until then: it hands over, as a rule.
  const level = why === 'new-term' ? 'info' : 'warn';
  note(turn, { event: 'leader-lost', level, because, fields: { leader: nameOf(turn, node), node, term, why } });
}

/** More than anybody need count of an hour. */
const maxChanges = 64;

/** A message that only the leader of its term can send has come, or this node won. */
export function learnLeader(turn: RaftTurn, node: NodeId): void {
  const { raft } = turn;
  if (raft.leader?.node === node && raft.leader.term === raft.term) return;
  if (raft.contactAt !== Number.NEGATIVE_INFINITY)
    raft.leaderChanges = [...raft.leaderChanges, turn.at].slice(-maxChanges);
  raft.leader = { node, term: raft.term, sinceAt: turn.at };
  raft.leaderDisk = null;
  raft.campaign = null;
  raft.planned = null;
  raft.waitingPreVotes = [];
  if (node !== turn.self) setPeer(turn, node, { acked: null, ledgerSent: null });
  const name = nameOf(turn, node);
  const because = `${name} leads in term ${raft.term}${node === turn.self ? ', elected by a majority of the voters' : ''}`;
  note(turn, { event: 'leader-elected', because, fields: { term: raft.term, leader: name, node } });
}
