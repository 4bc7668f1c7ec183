import type { NodeId } from '../../protocol/ids.ts';
import { ledgerSchema } from '../../protocol/ledger.ts';
import type { Evidence, MessageOf } from '../../protocol/messages.ts';
import { sameStamp } from '../../protocol/stamp.ts';
import { beginLeading } from './leading.ts';
import { hasQuorum, isVoter, rankedVoters } from './quorum.ts';
import { raftTimings } from './raft-timings.ts';
import { peerOf, type RaftTurn, random, send, setPeer, thisPersist } from './raft-turn.ts';
import { raiseTerm } from './term.ts';

/**
 * The candidate's side. A candidacy begins with pre-votes, which promise nothing and raise no term; a majority of them
 * lets the node raise its term and ask for votes; a majority of those makes it leader. Votes are counted by the
 * configuration of the own accepted ledger (SAFETY L2), store ids included (L8).
 */

/**
 * Never-listed nodes do not campaign. But one whose newest ledger takes it out of the voters, uncommitted, still may,
 * without a vote of its own: it can be the only one that has this ledger, and the old voters need its vote, which it
 * must refuse to their older ledgers (Ongaro's thesis, 4.2.2).
 */
function isListed(turn: RaftTurn): boolean {
  const { accepted, committed } = turn.raft;
  const { store } = turn.identity;
  if (isVoter(accepted.configuration, turn.self, store)) return true;
  if (committed === null || sameStamp(committed.stamp, accepted.stamp)) return false;
  return isVoter(committed.configuration, turn.self, store);
}

/** Whether this node may lead at all; the receivers do not ask this, only the candidate does (SAFETY L7). */
export function mayCampaign(turn: RaftTurn): boolean {
  const { raft } = turn;
  if (!isListed(turn)) return false;
  if (raft.rolledBack !== null || raft.newerEra !== null || raft.accepted.schema > ledgerSchema) return false;
  return !raft.leaving?.gone && !raft.leaving?.handedOverAt;
}

/** Whether it should: a node that is not well leads only where nobody else can (it may have the newest ledger alone). */
export const isFit = (turn: RaftTurn): boolean => mayCampaign(turn) && turn.raft.healthy;

/** How many voters go first; `against` does not count. */
export function rankOf(turn: RaftTurn, against: NodeId | null): number {
  const voters = rankedVoters(turn.raft.accepted.configuration).filter((node) => node !== against);
  const rank = voters.indexOf(turn.self);
  return rank < 0 ? voters.length : rank;
}

/** Whom it asks, and whose answers count. */
const electorate = (turn: RaftTurn): NodeId[] =>
  rankedVoters(turn.raft.accepted.configuration).filter((node) => node !== turn.self);

/** Own votes need no message, but a real one needs the disk (SAFETY L10). */
function wins(turn: RaftTurn): boolean {
  const { raft } = turn;
  const { campaign } = raft;
  if (!campaign) return false;
  return hasQuorum(raft.accepted.configuration, (node, store) =>
    node === turn.self
      ? store === turn.identity.store && campaign.ownVoteSeq <= raft.diskSeq
      : campaign.votes[node] === store && !peerOf(raft, node).cloned,
  );
}

export function beginPreVote(turn: RaftTurn, evidence: Evidence, against: NodeId | null): void {
  const { raft } = turn;
  raft.planned = null;
  const term = raft.term + 1;
  const until = turn.at + raftTimings.electionMs;
  raft.campaign = { kind: 'pre', term, evidence, against, votes: {}, refusals: {}, until, asked: [], ownVoteSeq: 0 };
  tryAgainLater(turn, raftTimings.electionMs);
  if (wins(turn)) return beginVote(turn, false);
  for (const node of electorate(turn))
    send(turn, node, { kind: 'pre-vote', term, stamp: raft.accepted.stamp, evidence, leader: against });
}

/** Asks for votes in a new term. `handover`: the old leader asked for it. */
export function beginVote(turn: RaftTurn, handover: boolean): void {
  const { raft } = turn;
  const before = raft.campaign;
  raiseTerm(turn, raft.term + 1, 'this node stands for election');
  raft.votedFor = turn.self;
  raft.leader = null;
  raft.campaign = {
    kind: 'vote',
    term: raft.term,
    evidence: before?.evidence ?? (handover ? 'handover' : 'none'),
    against: before?.against ?? null,
    votes: {},
    refusals: {},
    until: turn.at + raftTimings.voteMs,
    asked: [],
    ownVoteSeq: thisPersist(turn),
  };
  tryAgainLater(turn, raftTimings.electionMs);
  const stamp = raft.accepted.stamp;
  // To ask promises nothing: the own vote counts from the disk, and the others' disks work at the same time.
  for (const node of electorate(turn)) send(turn, node, { kind: 'vote', term: raft.term, stamp, handover });
}

/** Between two tries of one node lies its rank and a little chance, so that two never chase each other for long. */
function tryAgainLater(turn: RaftTurn, waitMs: number): void {
  const rank = rankOf(turn, null);
  const wait = waitMs + rank * raftTimings.staggerMs + Math.floor(random(turn) * raftTimings.retryMs);
  turn.raft.notBefore = Math.max(turn.raft.notBefore, turn.at + wait);
}

export function hearPreVoteAnswer(turn: RaftTurn, from: NodeId, message: MessageOf<'pre-vote-answer'>): void {
  const { raft } = turn;
  if (!electorate(turn).includes(from)) return;
  if (!message.granted) {
    // Our term is behind: the next try stands in the right one.
    raiseTerm(turn, message.term, `term ${message.term} was seen`);
    if (raft.campaign?.kind === 'pre') refusedBy(turn, from);
    return;
  }
  if (raft.campaign?.kind !== 'pre' || message.term !== raft.campaign.term) return;
  raft.campaign = { ...raft.campaign, votes: { ...raft.campaign.votes, [from]: message.store } };
  if (wins(turn)) beginVote(turn, false);
}

export function hearVoteAnswer(turn: RaftTurn, from: NodeId, message: MessageOf<'vote-answer'>): void {
  const { raft } = turn;
  if (!electorate(turn).includes(from)) return;
  if (message.term > raft.term) return raiseTerm(turn, message.term, `term ${message.term} was seen`);
  if (message.granted) {
    const promised = peerOf(raft, from).promised;
    const stamp = promised?.store === message.store ? promised.stamp : { term: 0, version: 0 };
    const term = Math.max(message.term, promised?.store === message.store ? promised.term : 0);
    setPeer(turn, from, { promised: { store: message.store, term, stamp } });
  }
  if (raft.campaign?.kind !== 'vote' || message.term !== raft.campaign.term) return;
  if (!message.granted) return refusedBy(turn, from);
  raft.campaign = { ...raft.campaign, votes: { ...raft.campaign.votes, [from]: message.store } };
  countVotes(turn);
}

/** When so many refuse that no majority is left, the next try need not wait for the end of this one. */
function refusedBy(turn: RaftTurn, from: NodeId): void {
  const { raft } = turn;
  const { campaign } = raft;
  if (!campaign || campaign.votes[from]) return;
  const refusals = { ...campaign.refusals, [from]: true as const };
  raft.campaign = { ...campaign, refusals };
  if (hasQuorum(raft.accepted.configuration, (node) => !refusals[node])) return;
  raft.campaign = null;
  raft.notBefore = turn.at;
  tryAgainLater(turn, raftTimings.retryMs);
}

/** After an answer, and after the own vote reached the disk. */
export function countVotes(turn: RaftTurn): void {
  const { campaign } = turn.raft;
  if (campaign?.kind === 'vote' && wins(turn)) beginLeading(turn, campaign);
}

/** Whether the own vote is still on its way to the disk: a slow disk must not burn one term after another. */
export const isWriting = (raft: RaftTurn['raft']): boolean => (raft.campaign?.ownVoteSeq ?? 0) > raft.diskSeq;

/** An election that came to nothing in its time. */
export function endCampaign(turn: RaftTurn): void {
  const { raft } = turn;
  if (raft.campaign && turn.at >= raft.campaign.until && !isWriting(raft)) raft.campaign = null;
}

/** The leader goes and names its heir: no pre-vote, nobody's contact is held against it. */
export function hearTimeoutNow(turn: RaftTurn, from: NodeId, message: MessageOf<'timeout-now'>): void {
  const { raft } = turn;
  if (message.term !== raft.term || raft.leader?.node !== from || raft.leading) return;
  // Not well: it is asked only where nobody better is.
  if (mayCampaign(turn) && !raft.leaving) beginVote(turn, true);
}
