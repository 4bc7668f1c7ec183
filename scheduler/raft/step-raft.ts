import type { NodeId } from '../../protocol/ids.ts';
import type { PeerMessage } from '../../protocol/messages.ts';
import type { Report } from '../../protocol/report.ts';
import type { Input } from '../inputs.ts';
import { hearAppend, hearPersisted } from './append.ts';
import {
  beginPreVote,
  countVotes,
  endCampaign,
  hearPreVoteAnswer,
  hearTimeoutNow,
  hearVoteAnswer,
  isFit,
  isWriting,
  mayCampaign,
  rankOf,
} from './campaign.ts';
import {
  answerCommitted,
  hearChange,
  hearChangeAnswer,
  hearRequested,
  introduce,
  receiverOf,
  serveRequests,
} from './client-requests.ts';
import { moveConfiguration } from './configuration.ts';
import { depart, hearLeaveAsked, hearReturnAsked, nextDepartureAt } from './departure.ts';
import { commitEra, hearOtherEra } from './era.ts';
import { hearDisconnected, hearSign, probeIfSilent } from './failure-detector.ts';
import { commitByTwoDisks, hearOnDisk, sayOwnDisk } from './follower-commit.ts';
import { nextHandoverAt, transferIfDue } from './handover.ts';
import { hearConnected, hearHello } from './hello.ts';
import { checkQuorum, hearAck, makeRound } from './leading.ts';
import { refuseImpossible } from './plausible.ts';
import { hearProbed } from './probe-result.ts';
import { tryCommit } from './proposal.ts';
import { rankedVoters } from './quorum.ts';
import { raftTimings } from './raft-timings.ts';
import { nameOf, peerOf, type RaftTurn, setPeer } from './raft-turn.ts';
import { hearRecoveryAsked } from './recovery.ts';
import { missedMsOf } from './rounds.ts';
import { goByNewStore, hearMinted } from './store-renewal.ts';
import { loseLeader, stepDown } from './term.ts';
import { hearPreVote, hearVote } from './votes.ts';

/** The first half of a step: what came in, and what follows from it at once. False = void: nobody may act by it. */
export function hear(turn: RaftTurn, input: Input): boolean {
  noticeLateness(turn);
  checkQuorum(turn);
  if (input.kind === 'heard' && input.from !== turn.self && refuseImpossible(turn, input)) return false;
  if (input.kind === 'heard' && input.from !== turn.self && hearOtherEra(turn, input)) {
    hearSign(turn, input.from, false);
    return false;
  }
  hearInput(turn, input);
  return true;
}

function hearInput(turn: RaftTurn, input: Input): void {
  switch (input.kind) {
    case 'heard':
      hearMessage(turn, input.from, input.message);
      break;
    case 'report-heard':
      if (input.from !== turn.self) hearReport(turn, input.from, input.report);
      break;
    case 'connected':
      hearConnected(turn, input.node);
      break;
    case 'disconnected':
      hearDisconnected(turn, input.node);
      break;
    case 'probed':
      hearProbed(turn, input.node, input.result);
      break;
    case 'requested':
      for (const { id, change, by } of input.requests) hearRequested(turn, id, change, by);
      break;
    case 'measured':
      turn.raft.addresses = input.addresses;
      turn.raft.healthy = input.measured.healthy;
      introduce(turn);
      break;
    case 'store-minted':
      hearMinted(turn, input.store);
      break;
    case 'recovery-asked':
      hearRecoveryAsked(turn, input);
      break;
    case 'leave-asked':
      hearLeaveAsked(turn, input.backMs);
      break;
    case 'silence-asked':
      stepDown(turn, 'its loss is rehearsed');
      turn.raft.notBefore = Math.max(turn.raft.notBefore, turn.at + input.forMs + raftTimings.listenMs);
      break;
    case 'return-asked':
      hearReturnAsked(turn);
      introduce(turn);
      break;
  }
}

function hearReport(turn: RaftTurn, from: NodeId, { measured }: Report): void {
  hearSign(turn, from, true);
  if (measured && peerOf(turn.raft, from).well !== measured.healthy) setPeer(turn, from, { well: measured.healthy });
}

/** The raft half's own `persisted`, told apart from the jobs' by the caller. */
export function hearOwnPersisted(turn: RaftTurn, seq: number): void {
  hearPersisted(turn, seq);
  goByNewStore(turn);
  commitEra(turn);
  countVotes(turn);
  if (!tryCommit(turn)) sayOwnDisk(turn);
  commitByTwoDisks(turn);
}

function hearMessage(turn: RaftTurn, from: NodeId, message: PeerMessage): void {
  if (from === turn.self) return;
  hearSign(turn, from, false);
  switch (message.kind) {
    case 'hello':
      return hearHello(turn, from, message);
    case 'pre-vote':
      return hearPreVote(turn, from, message);
    case 'pre-vote-answer':
      return hearPreVoteAnswer(turn, from, message);
    case 'vote':
      return hearVote(turn, from, message);
    case 'vote-answer':
      return hearVoteAnswer(turn, from, message);
    case 'append':
      return hearAppend(turn, from, message);
    case 'ack':
      return hearAck(turn, from, message);
    case 'on-disk':
      return hearOnDisk(turn, from, message);
    case 'timeout-now':
      return hearTimeoutNow(turn, from, message);
    case 'change':
      return hearChange(turn, from, message);
    case 'change-answer':
      return hearChangeAnswer(turn, message);
  }
}

/** A node that was late itself gives the others the benefit of the doubt (DESIGN §6). */
function noticeLateness(turn: RaftTurn): void {
  const { raft, at } = turn;
  const late = at - raft.wakeAt;
  if (!(late > raftTimings.jitterMs)) return;
  raft.timerAt = late > raftTimings.lateMs ? at : Math.min(at, raft.timerAt + late);
  if (late <= raftTimings.lateMs) return;
  raft.backlogUntil = at + raftTimings.backlogMs;
  raft.campaign = null;
  raft.planned = null;
  raft.notBefore = Math.max(raft.notBefore, at + raftTimings.listenMs);
}

/**
 * Between what was heard and what the jobs do with it: whoever leads no more stops here, so that nothing is done in the
 * name of a leader by a node that has just ceased to be one.
 */
export function settleLead(turn: RaftTurn): void {
  transferIfDue(turn);
  depart(turn);
}

/** The second half: everything that is due by now, asked anew at every step. Nobody ceases to lead in it. */
export function act(turn: RaftTurn): void {
  const { raft } = turn;
  serveRequests(turn);
  if (raft.leading) {
    // What a step commits may let the next configuration begin; each leaves a trace, so this ends.
    moveConfiguration(turn);
    tryCommit(turn);
  } else {
    watchLeader(turn);
    campaignIfDue(turn);
  }
  if (turn.save.committed) answerCommitted(turn);
  if (turn.save.committed || raft.leader?.sinceAt === turn.at) introduce(turn);
  makeRound(turn);
}

/** A follower's watch: look at the leader's machine when rounds are missing, give it up after the long timeout. */
function watchLeader(turn: RaftTurn): void {
  const { raft } = turn;
  const { leader } = raft;
  if (leader === null) return;
  const silent = turn.at - raft.timerAt;
  if (silent < raftTimings.longTimeoutMs)
    return probeIfSilent(turn, leader.node, raft.timerAt, missedMsOf(raft.accepted, turn.self));
  const because = `${nameOf(turn, leader.node)} was not heard for ${Math.round(silent)} ms`;
  loseLeader(turn, because, 'timeout');
  if (isFit(turn) && raft.planned === null) {
    const at = turn.at + rankOf(turn, leader.node) * raftTimings.staggerMs;
    raft.planned = { at, evidence: 'timeout', against: leader.node };
  }
}

/** When this follower stands for election by itself; Infinity when it does not. */
function campaignAt(turn: RaftTurn): number {
  const { raft } = turn;
  if (raft.leading || raft.campaign || (raft.leader && !raft.planned)) return Number.POSITIVE_INFINITY;
  if (!mayCampaign(turn)) return Number.POSITIVE_INFINITY;
  if (raft.planned) return raft.planned.at;
  if (rankedVoters(raft.accepted.configuration).length === 1) return Math.max(raft.timerAt, raft.notBefore);
  const patience = raft.healthy ? raftTimings.listenMs : raftTimings.unwellMs;
  const listened = raft.timerAt + patience + rankOf(turn, null) * raftTimings.staggerMs;
  return Math.max(listened, raft.notBefore);
}

function campaignIfDue(turn: RaftTurn): void {
  endCampaign(turn);
  if (turn.at < campaignAt(turn)) return;
  const { planned } = turn.raft;
  beginPreVote(turn, planned?.evidence ?? 'none', planned?.against ?? null);
}

/** `at` by which something is due even if nothing happens. */
export function nextWakeAt(turn: RaftTurn): number {
  const { raft } = turn;
  let next = Number.POSITIVE_INFINITY;
  const by = (time: number): void => {
    if (time < next) next = time;
  };
  for (const one of raft.clientRequests) {
    by(one.askedAt + raftTimings.askForMs);
    if (receiverOf(turn, one) !== null) by(one.sentAt + raftTimings.askAgainMs);
  }
  if (raft.leaving && !raft.leaving.gone) by(nextDepartureAt(turn));
  if (raft.leading) {
    by(raft.leading.nextRoundAt);
    by(nextHandoverAt(turn));
    return next;
  }
  if (raft.campaign) by(isWriting(raft) ? Number.POSITIVE_INFINITY : raft.campaign.until);
  else by(campaignAt(turn));
  if (raft.leader) {
    by(raft.timerAt + raftTimings.longTimeoutMs);
    const { probeAskedAt, probeOpen } = peerOf(raft, raft.leader.node);
    const again = probeAskedAt + (probeOpen ? raftTimings.probeLostMs : raftTimings.reprobeMs);
    by(Math.max(raft.timerAt + missedMsOf(raft.accepted, turn.self) + 1, again));
  }
  return next;
}
