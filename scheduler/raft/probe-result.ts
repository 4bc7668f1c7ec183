import type { NodeId } from '../../protocol/ids.ts';
import type { ProbeResult } from '../inputs.ts';
import { isFit, rankOf } from './campaign.ts';
import { noteIfLost } from './failure-detector.ts';
import { raftTimings } from './raft-timings.ts';
import { nameOf, peerOf, type RaftTurn, setPeer } from './raft-turn.ts';
import { loseLeader } from './term.ts';
import { answerWaitingPreVotes } from './votes.ts';

/** What one look at a machine showed (evidence.ts asks for it): whoever waits for it is answered, and perhaps this node stands. */
export function hearProbed(turn: RaftTurn, node: NodeId, result: ProbeResult): void {
  const { raft } = turn;
  const before = peerOf(raft, node);
  const heardSince = before.heardAt > before.probeAskedAt;
  const last = before.probe;
  const since = last?.result === result && before.heardAt < last.at ? last.since : turn.at;
  setPeer(turn, node, { probe: { result, at: turn.at, since }, probeOpen: false });
  if (raft.leading) return noteIfLost(turn, node, result, heardSince);
  if (raft.leader?.node !== node) {
    noteIfLost(turn, node, result, heardSince);
    const because = raft.leader ? `${nameOf(turn, raft.leader.node)} leads` : 'this node hears no leader either';
    return answerWaitingPreVotes(turn, node, raft.leader === null, because);
  }
  const off = before.evidenceOffUntil > turn.at;
  const name = nameOf(turn, node);
  if (result === 'accepted' || heardSince || off) {
    const why = heardSince ? `${name} was heard meanwhile` : `the machine of ${name} answers: it is only slow`;
    return answerWaitingPreVotes(turn, node, false, off ? `evidence about ${name} was wrong before` : why);
  }
  const because =
    result === 'refused' ? `the agent of ${name} is gone: its machine refuses` : `the machine of ${name} is silent`;
  loseLeader(turn, because, result);
  // Nodes that wait for a pre-vote are answered first: one that is promised this node's vote goes before its own candidacy.
  const waited = raft.waitingPreVotes.some((asker) => asker.about === node);
  answerWaitingPreVotes(turn, node, true, because);
  if (waited || !isFit(turn)) return;
  const startAt = turn.at + rankOf(turn, node) * raftTimings.staggerMs;
  raft.planned = {
    at: Math.max(startAt, Math.min(raft.notBefore, turn.at + raftTimings.holdMs)),
    evidence: result,
    against: node,
  };
}
