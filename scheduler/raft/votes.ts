import type { NodeId } from '../../protocol/ids.ts';
import type { MessageOf } from '../../protocol/messages.ts';
import { compareStamps, showStamp } from '../../protocol/stamp.ts';
import { newerEraBegan } from './era.ts';
import { freshProbe, requestProbe } from './failure-detector.ts';
import { mayStand } from './plausible.ts';
import { rankedVoters } from './quorum.ts';
import { raftTimings } from './raft-timings.ts';
import { nameOf, peerOf, type RaftTurn, send, sendAfterDisk, setPeer } from './raft-turn.ts';
import { relay } from './say-hello.ts';
import { raiseTerm } from './term.ts';

/**
 * The voter's side. A vote goes by term and stamp alone: any approved node with a ledger answers, whether its own
 * configuration lists the candidate or itself or not (SAFETY L7); the candidate counts. A vote is given once a term, never
 * twice, not even to the same node: it may have lost its disk meanwhile.
 */

const lateMs = (turn: RaftTurn): number => Math.round(turn.at - turn.raft.timerAt);

/** Why this store's word is worth nothing now; null when it may promise. */
function whyMayNotPromise(turn: RaftTurn, from: NodeId): string | null {
  const { raft } = turn;
  if (raft.rolledBack !== null) return raft.rolledBack.because;
  if (raft.newerEra !== null) return newerEraBegan;
  // Who still has a vote may have to be elected once more, to take itself out.
  if (from in raft.accepted.forgotten && !rankedVoters(raft.accepted.configuration).includes(from))
    return `${nameOf(turn, from)} was forgotten by the mesh`;
  if (peerOf(raft, from).cloned) return `two machines call themselves ${nameOf(turn, from)}`;
  return null;
}

export function hearVote(turn: RaftTurn, from: NodeId, message: MessageOf<'vote'>): void {
  const { raft } = turn;
  const answer = (granted: boolean, because: string): void => {
    const reply = { kind: 'vote-answer', term: raft.term, granted, store: turn.identity.store, because } as const;
    if (granted) sendAfterDisk(turn, from, reply);
    else send(turn, from, reply);
  };
  const refusal = whyMayNotPromise(turn, from);
  if (refusal !== null) return answer(false, refusal);
  if (!mayStand(turn, from, message.term)) return answer(false, 'this machine does not know it for a voter');
  raiseTerm(turn, message.term, `${nameOf(turn, from)} stands for election in term ${message.term}`);
  if (message.term < raft.term) return answer(false, `term ${raft.term} has begun`);
  if (raft.votedFor !== null)
    return answer(false, `the vote of term ${raft.term} went to ${nameOf(turn, raft.votedFor)}`);
  if (compareStamps(message.stamp, raft.accepted.stamp) < 0)
    return answer(false, `its ledger ${showStamp(message.stamp)} is older than ${showStamp(raft.accepted.stamp)}`);
  raft.votedFor = from;
  turn.save.promise = true;
  raft.campaign = null;
  giveWay(turn);
  answer(true, 'its ledger is as new as mine');
}

/** Whoever promised a vote leaves the other the time to win. */
function giveWay(turn: RaftTurn): void {
  const { raft } = turn;
  raft.planned = null;
  raft.notBefore = Math.max(raft.notBefore, turn.at + raftTimings.holdMs);
}

/** Grants, refuses, or waits for this node's own probe (SAFETY L11). */
export function hearPreVote(turn: RaftTurn, from: NodeId, message: MessageOf<'pre-vote'>): void {
  const { raft } = turn;
  const refusal = whyMayNotPromise(turn, from);
  if (refusal !== null) return answerPreVote(turn, from, message.term, false, refusal);
  if (message.term <= raft.term) {
    relay(turn, from, message.stamp);
    return answerPreVote(turn, from, message.term, false, `term ${raft.term} has begun`);
  }
  if (compareStamps(message.stamp, raft.accepted.stamp) < 0) {
    relay(turn, from, message.stamp);
    return answerPreVote(turn, from, message.term, false, `its ledger ${showStamp(message.stamp)} is older than mine`);
  }
  if (raft.leading) return answerPreVote(turn, from, message.term, false, 'this node leads');
  const leader = raft.leader?.node;
  if (leader === undefined || leader === from || turn.at - raft.timerAt > raftTimings.checkQuorumMs)
    return answerPreVote(turn, from, message.term, true, 'this node hears no leader either');
  const heard = `${nameOf(turn, leader)} was heard ${lateMs(turn)} ms ago`;
  const evident = message.evidence === 'refused' || message.evidence === 'silent';
  if (!evident || message.leader !== leader) return answerPreVote(turn, from, message.term, false, heard);
  if (peerOf(raft, leader).evidenceOffUntil > turn.at)
    return answerPreVote(turn, from, message.term, false, `${heard}, and such evidence was wrong before`);
  if (freshProbe(turn, leader) === 'accepted')
    return answerPreVote(turn, from, message.term, false, `the machine of ${nameOf(turn, leader)} answers`);
  raft.waitingPreVotes = [
    ...raft.waitingPreVotes.filter((asker) => asker.node !== from),
    { node: from, term: message.term, about: leader },
  ];
  requestProbe(turn, leader);
}

function answerPreVote(turn: RaftTurn, to: NodeId, asked: number, granted: boolean, because: string): void {
  const { raft } = turn;
  const term = granted ? asked : raft.term;
  send(turn, to, { kind: 'pre-vote-answer', term, granted, store: turn.identity.store, because });
  if (!granted) return;
  setPeer(turn, to, { preVoted: Math.max(asked, peerOf(raft, to).preVoted) });
  giveWay(turn);
  if (raft.campaign?.kind === 'pre' && raft.campaign.term <= asked) yieldTo(turn, to);
}

/** Two that ask at once: the lower id goes on, so that one of them surely does. */
function yieldTo(turn: RaftTurn, other: NodeId): void {
  if (other < turn.self) turn.raft.campaign = null;
}

/** The own probe of `about` has ended: those who asked get their answer by it. */
export function answerWaitingPreVotes(turn: RaftTurn, about: NodeId, gone: boolean, because: string): void {
  const { raft } = turn;
  const mine = raft.waitingPreVotes.filter((asker) => asker.about === about);
  if (mine.length === 0) return;
  raft.waitingPreVotes = raft.waitingPreVotes.filter((asker) => asker.about !== about);
  for (const asker of mine)
    if (!gone || asker.term > raft.term) answerPreVote(turn, asker.node, asker.term, gone, because);
}
