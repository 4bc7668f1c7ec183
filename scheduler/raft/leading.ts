import type { NodeId } from '../../protocol/ids.ts';
import type { MessageOf } from '../../protocol/messages.ts';
import { compareStamps, type Stamp, sameStamp, zeroStamp } from '../../protocol/stamp.ts';
import { note } from '../note.ts';
import { proposeChange } from './client-requests.ts';
import { isLookedAt, markAlive, noteIfLost, probeIfSilent } from './failure-detector.ts';
import { hasCommitted } from './follower-commit.ts';
import { mayTellTerm } from './plausible.ts';
import { propose, tryCommit } from './proposal.ts';
import { hasQuorum } from './quorum.ts';
import { type Campaign, type Leading, nothingTold, type Peer, type RaftState } from './raft-state.ts';
import { raftTimings } from './raft-timings.ts';
import { nameOf, others, peerOf, type RaftTurn, rememberPromise, send, setPeer } from './raft-turn.ts';
import { missedMsOf, resendMsOf, roundsOf } from './rounds.ts';
import { learnLeader, raiseTerm, stepDown } from './term.ts';

/**
 * A leader's life: it re-stamps its ledger in its own term (nothing older commits by counting), and what waited for a
 * leader comes with that; it makes rounds, commits what a quorum has, and stops when no quorum answered for
 * `checkQuorumMs`, counted from when its rounds were *sent* and looked at with a fresh clock at every step (SAFETY L12):
 * a leader that slept has stepped down before it speaks.
 */

export function beginLeading(turn: RaftTurn, campaign: Campaign): void {
  const { raft } = turn;
  raft.campaign = null;
  raft.planned = null;
  learnLeader(turn, turn.self);
  for (const node in raft.peers) setPeer(turn, node, nothingTold);
  const byEvidence = campaign.evidence === 'refused' || campaign.evidence === 'silent';
  raft.leading = {
    round: raft.lastRound,
    rounds: [],
    nextRoundAt: turn.at,
    hasNews: true,
    hasProgress: false,
    sinceAt: turn.at,
    proposed: [],
    plannedFor: null,
    plannedAt: Number.NEGATIVE_INFINITY,
    configuredBy: zeroStamp,
    proposedRequests: [],
    settled: [],
    handover: null,
    handoverAt: Number.NEGATIVE_INFINITY,
    handoverTo: null,
    unwanted: null,
    overthrown: byEvidence && campaign.against !== null ? { node: campaign.against, at: turn.at } : null,
  };
  propose(turn, raft.accepted);
  for (const { from, id, change, by } of campaign.asked) proposeChange(turn, from, id, change, by);
  if (byEvidence && campaign.against !== null) noteIfLost(turn, campaign.against, campaign.evidence, false);
}

/** Whether this (node, store) answered a round sent after `since`; the leader itself always did, where it votes. */
const answeredSince = (self: NodeId, store: string, raft: RaftState, since: number) => (node: NodeId, its: string) => {
  if (node === self) return its === store;
  const { acked, cloned } = peerOf(raft, node);
  return acked?.store === its && !cloned && acked.sentAt > since;
};

/** Before anything else in a step. */
export function checkQuorum(turn: RaftTurn): void {
  const { raft } = turn;
  if (!raft.leading) return;
  const since = turn.at - raftTimings.checkQuorumMs;
  if (raft.leading.sinceAt > since) return;
  if (hasQuorum(raft.accepted.configuration, answeredSince(turn.self, turn.identity.store, raft, since))) return;
  stepDown(turn, `this node leads no more: no majority of the voters answered for ${raftTimings.checkQuorumMs} ms`);
}

/** Rounds that are remembered until they are answered: more than fit `checkQuorumMs`, news included, but no old ones. */
const maxRounds = 1024;
const roundKeptMs = 5 * raftTimings.checkQuorumMs;
function keptRounds({ at }: RaftTurn, rounds: Leading['rounds']): Leading['rounds'][number][] {
  if (rounds.length >= maxRounds) return rounds.slice(maxRounds / 4);
  return rounds[0] && at - rounds[0].at > roundKeptMs ? rounds.slice(1) : rounds.slice();
}

/**
 * One round when it is due, or when there is news: heartbeat, commit mark, and the ledger to those who lack it. News
 * waits for who is still busy with the ledger before: one ledger is on its way to a node at a time, so that under many
 * changes each takes as many along as there are.
 */
export function makeRound(turn: RaftTurn): void {
  const { raft } = turn;
  if (!raft.leading) return;
  const isDue = turn.at >= raft.leading.nextRoundAt;
  const { hasNews, hasProgress } = raft.leading;
  if (!isDue && !hasNews && !hasProgress) return;
  const round = raft.leading.round + 1;
  raft.lastRound = round;
  const everyone = others(turn);
  const rounds = keptRounds(turn, raft.leading.rounds);
  rounds.push({ round, at: turn.at });
  const wait = everyone.length === 0 ? raftTimings.soloRoundMs : raftTimings.heartbeatMs;
  raft.leading = {
    ...raft.leading,
    round,
    rounds,
    nextRoundAt: isDue ? turn.at + wait : raft.leading.nextRoundAt,
    hasNews: false,
    hasProgress: false,
  };
  for (let index = 0; index < everyone.length; index += 1) {
    const node = everyone[index]!;
    const peer = peerOf(raft, node);
    if (!isDue) {
      const isOwed = hasNews || isBehind(turn, node, peer);
      if (isOwed && peer.connected && !isBusy(turn, peer)) appendTo(turn, node, peer);
      continue;
    }
    const isItsTurn = (round + index) % roundsOf(raft.accepted, node) === 0;
    // Who has no stream gets a word now and then, in case only the news of the stream was lost.
    if (peer.connected ? isItsTurn || isBehind(turn, node, peer) : round % 20 === 1) appendTo(turn, node, peer);
    if (!isLookedAt(turn, node)) continue;
    if (peer.knownAt === Number.NEGATIVE_INFINITY) setPeer(turn, node, { knownAt: turn.at });
    probeIfSilent(turn, node, lastSign(turn, node), missedMsOf(raft.accepted, node));
    if (raft.accepted.nodes[node]?.left !== true) suspect(turn, node);
  }
}

const isBehind = (turn: RaftTurn, node: NodeId, { acked }: Peer): boolean =>
  !acked?.stamp || lacks(turn, node, acked.stamp);

/** A node that was just let in, or has just come back, has not had the time to answer a round. */
function lastSign({ raft, at }: RaftTurn, node: NodeId): number {
  const { acked, connected, connectedAt, knownAt } = peerOf(raft, node);
  const sinceAt = raft.leading?.sinceAt ?? at;
  return Math.max(acked?.sentAt ?? sinceAt, sinceAt, knownAt, connected ? connectedAt : sinceAt);
}

function suspect(turn: RaftTurn, node: NodeId): void {
  const { raft } = turn;
  const peer = peerOf(raft, node);
  const silent = turn.at - lastSign(turn, node);
  if (peer.health !== 'alive' || silent <= raftTimings.checkQuorumMs || !(node in raft.accepted.nodes)) return;
  setPeer(turn, node, { health: 'suspect' });
  const because = `${nameOf(turn, node)} has answered nothing for ${Math.round(silent)} ms`;
  note(turn, { event: 'node-suspect', level: 'warn', because, fields: { node, name: nameOf(turn, node) } });
}

/** A ledger is on its way to it. */
const isBusy = (turn: RaftTurn, { ledgerSent }: Peer): boolean =>
  ledgerSent !== null && turn.at - ledgerSent.at < resendMsOf(turn.raft.accepted);

/** Heartbeat to one node, with the ledger when it has not acknowledged it, at most every `resendMsOf`. */
function appendTo(turn: RaftTurn, node: NodeId, peer: Peer): void {
  const { raft } = turn;
  const { stamp } = raft.accepted;
  const has = peer.acked?.stamp ? sameStamp(peer.acked.stamp, stamp) : false;
  const ledger = has || isBusy(turn, peer) ? null : raft.accepted;
  turn.shown ||= ledger !== null;
  const committed = raft.committed?.stamp ?? zeroStamp;
  if (ledger) setPeer(turn, node, { commitSent: committed, ledgerSent: { stamp, at: turn.at } });
  else if (!peer.commitSent || !sameStamp(peer.commitSent, committed)) setPeer(turn, node, { commitSent: committed });
  const away = awayFor(turn, node);
  const { term } = raft;
  const message = { kind: 'append', term, round: raft.leading!.round, stamp, committed, ledger } as const;
  send(turn, node, away.length > 0 ? { ...message, away } : message);
}

/** Who is missed, as far as that is news to this node's readers: most of the time nobody. */
function awayFor({ raft }: RaftTurn, to: NodeId): NodeId[] {
  const away: NodeId[] = [];
  for (const node in raft.accepted.nodes)
    if (node !== to && raft.peers[node]?.health === 'lost' && !raft.accepted.nodes[node]!.left) away.push(node);
  return away;
}

export function hearAck(turn: RaftTurn, from: NodeId, message: MessageOf<'ack'>): void {
  const { raft } = turn;
  if (message.term > raft.term) {
    if (mayTellTerm(turn, from)) raiseTerm(turn, message.term, `term ${message.term} was seen`);
    return;
  }
  if (message.stamp) rememberPromise(turn, from, message, message.stamp);
  if (!raft.leading || message.term !== raft.term) return;
  const before = peerOf(raft, from);
  const same = before.acked?.store === message.store ? before.acked : null;
  const stamp = message.stamp?.term === raft.term ? message.stamp : null;
  const newest = stamp && (!same?.stamp || compareStamps(stamp, same.stamp) > 0) ? stamp : (same?.stamp ?? null);
  const [first] = raft.leading.rounds;
  const sentAt = raft.leading.rounds[message.round - (first?.round ?? 0)]?.at ?? Number.NEGATIVE_INFINITY;
  const caughtUp = newest !== null && before.ledgerSent !== null && compareStamps(newest, before.ledgerSent.stamp) >= 0;
  setPeer(turn, from, {
    store: message.store,
    acked: { store: message.store, stamp: newest, sentAt: Math.max(sentAt, same?.sentAt ?? Number.NEGATIVE_INFINITY) },
    ledgerSent: caughtUp ? null : before.ledgerSent,
  });
  if (turn.at - sentAt < raftTimings.checkQuorumMs) markAlive(turn, from);
  noticeFalseAlarm(turn, from);
  if (!tryCommit(turn) && caughtUp && newest && lacks(turn, from, newest)) appendTo(turn, from, peerOf(raft, from));
}

/** What came while it was busy. */
const lacks = (turn: RaftTurn, node: NodeId, newest: Stamp): boolean =>
  compareStamps(newest, turn.raft.accepted.stamp) < 0 ||
  (!sameStamp(peerOf(turn.raft, node).commitSent ?? zeroStamp, turn.raft.committed?.stamp ?? zeroStamp) &&
    !hasCommitted(turn, node, newest));

/** The old leader follows without having been away: the evidence was wrong (SAFETY L11). */
function noticeFalseAlarm(turn: RaftTurn, from: NodeId): void {
  const { leading } = turn.raft;
  if (leading?.overthrown?.node !== from) return;
  turn.raft.leading = { ...leading, overthrown: null };
  // Back after longer: it was gone indeed, for as long as a cable was out.
  if (turn.at - leading.overthrown.at > 2 * raftTimings.checkQuorumMs) return;
  const { connectedAt, probe } = peerOf(turn.raft, from);
  if (connectedAt > (probe?.at ?? leading.overthrown.at)) return;
  setPeer(turn, from, { evidenceOffUntil: turn.at + raftTimings.falseAlarmMs });
  const because = `the evidence that ${nameOf(turn, from)} was gone was wrong; it is not believed for a minute`;
  note(turn, { event: 'false-alarm', level: 'warn', because, fields: { node: from, name: nameOf(turn, from) } });
}
