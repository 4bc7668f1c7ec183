import type { NodeId } from '../../protocol/ids.ts';
import type { MessageOf } from '../../protocol/messages.ts';
import { type Stamp, sameStamp } from '../../protocol/stamp.ts';
import { note } from '../note.ts';
import { hearAway } from './failure-detector.ts';
import { commitByTwoDisks } from './follower-commit.ts';
import { isNews } from './ledger-order.ts';
import { commit } from './proposal.ts';
import { nameOf, type RaftTurn, send, sendAfterDisk } from './raft-turn.ts';
import { learnLeader, raiseTerm } from './term.ts';

/**
 * The follower's side of replication. A newer stamp replaces the accepted ledger; what is committed changes only by a
 * commit mark that equals the own accepted stamp (SAFETY L1, L5). Acknowledged is what is on disk, never what is in
 * memory; the round is acknowledged all the same, so that the leader knows that it is heard.
 */
export function hearAppend(turn: RaftTurn, from: NodeId, message: MessageOf<'append'>): void {
  const { raft } = turn;
  const { term, round } = message;
  const { store } = turn.identity;
  // That round is of another reign: its number means nothing to who leads now, and may be the same node (SAFETY L12).
  if (term < raft.term) return send(turn, from, { kind: 'ack', term: raft.term, round: 0, stamp: null, store });
  if (term === raft.term && raft.leading) {
    const because = `${nameOf(turn, from)} says that it leads term ${term} too: one of the two stores was copied or rolled back`;
    return note(turn, { event: 'two-leaders', level: 'error', because, fields: { node: from, term } });
  }
  raiseTerm(turn, term, `${nameOf(turn, from)} leads in term ${term}`);
  learnLeader(turn, from);
  hearContact(turn);
  for (const node of message.away ?? []) hearAway(turn, node);
  // Before a newer ledger replaces it, too: under steady writes the mark is always of the one before.
  hearCommitMark(turn, message.committed);
  const ledger = message.ledger;
  if (ledger && ledger.stamp.term === term && sameStamp(ledger.stamp, message.stamp) && isNews(raft.accepted, ledger)) {
    raft.accepted = ledger;
    turn.save.accepted = true;
    turn.save.promise = true;
  }
  hearCommitMark(turn, message.committed);
  commitByTwoDisks(turn);
  // What forgot its promises makes none (SAFETY L9), and proves no contact.
  if (raft.rolledBack !== null) return;
  if (turn.save.accepted)
    return sendAfterDisk(turn, from, { kind: 'ack', term, round, stamp: raft.accepted.stamp, store });
  const stamp = raft.diskStamp.term === term ? raft.diskStamp : null;
  send(turn, from, { kind: 'ack', term, round, stamp, store });
}

/** Only a mark that equals the own accepted stamp says anything about what is here (SAFETY L5). */
function hearCommitMark(turn: RaftTurn, committed: Stamp): void {
  const { accepted, committed: known } = turn.raft;
  if (sameStamp(committed, accepted.stamp) && !(known && sameStamp(known.stamp, committed))) commit(turn, accepted);
}

/** Proof that the leader leads; but a backlog read after a sleep proves nothing (SAFETY L12). */
function hearContact(turn: RaftTurn): void {
  const { raft } = turn;
  raft.timerAt = turn.at;
  if (turn.at >= raft.backlogUntil) raft.contactAt = turn.at;
}

/** What is on disk now may be acknowledged; the leader hears it with its next round. */
export function hearPersisted(turn: RaftTurn, seq: number): void {
  const { raft } = turn;
  raft.diskSeq = Math.max(raft.diskSeq, seq);
  let arrived = 0;
  for (const { seq: its, stamp } of raft.onTheirWay) {
    if (its > raft.diskSeq) break;
    raft.diskStamp = stamp;
    arrived += 1;
  }
  if (arrived > 0) raft.onTheirWay = raft.onTheirWay.slice(arrived);
}
