import type { NodeId } from '../../protocol/ids.ts';
import type { RunState } from '../../protocol/ledger.ts';
import type { ProbeResult } from '../inputs.ts';
import { note } from '../note.ts';
import { raftTimings } from './raft-timings.ts';
import { nameOf, peerOf, type RaftTurn, setPeer } from './raft-turn.ts';

/**
 * Evidence before silence (DESIGN §6). One TCP connect to a machine is answered by its kernel: *refused* = the agent is
 * dead, ask for votes at once; *accepted* = it lives and is slow, wait the long timeout; *silent* = the machine is gone.
 * Evidence decides when to ask, never who wins: any node may campaign at any moment without harm to safety.
 */

/** Looks at a machine, unless a look is already under way or too new to be repeated. */
export function requestProbe(turn: RaftTurn, node: NodeId): void {
  const peer = peerOf(turn.raft, node);
  if (peer.probeOpen && turn.at - peer.probeAskedAt < raftTimings.probeLostMs) return;
  setPeer(turn, node, { probeOpen: true, probeAskedAt: turn.at });
  turn.effects.push({ kind: 'probe', node });
}

/** The last look, if it is fresh and nothing was heard from there since. */
export function freshProbe(turn: RaftTurn, node: NodeId): ProbeResult | null {
  const { probe, heardAt } = peerOf(turn.raft, node);
  if (!probe || turn.at - probe.at > raftTimings.probeFreshMs || heardAt > probe.at) return null;
  return probe.result;
}

/** A stream closed: a hint, never a proof. Everybody looks at once. */
export function hearDisconnected(turn: RaftTurn, node: NodeId): void {
  setPeer(turn, node, { connected: false, ledgerSent: null });
  if (isLookedAt(turn, node)) requestProbe(turn, node);
}

/**
 * Who left is not missed, but while the mesh has runs of it, whether its agent is gone or all of its machine decides how
 * long they wait for it (SAFETY J1).
 */
export function isLookedAt({ raft }: RaftTurn, node: NodeId): boolean {
  const { nodes, runs } = raft.accepted;
  if (nodes[node]?.left !== true) return nodes[node] !== undefined;
  return Object.values(runs).some((run) => run.node === node && openStates.has(run.state));
}

const openStates: ReadonlySet<RunState> = new Set<RunState>(['taken', 'running', 'finished']);

/** The leader misses that machine: so that all know it, not the leader only, each looks for itself. */
export function hearAway(turn: RaftTurn, node: NodeId): void {
  const { health, probe, probeAskedAt } = peerOf(turn.raft, node);
  if (node === turn.self || health === 'lost' || turn.raft.accepted.nodes[node]?.left !== false) return;
  const pause = probe?.result === 'accepted' ? raftTimings.reprobeSlowMs : raftTimings.reprobeMs;
  if (turn.at - probeAskedAt >= pause) requestProbe(turn, node);
}

/** What this node makes of another machine, for its log and status, and on a leader for who places work. */
export function noteIfLost(turn: RaftTurn, node: NodeId, result: ProbeResult, heardSince: boolean): void {
  const peer = peerOf(turn.raft, node);
  if (result === 'accepted' || heardSince || peer.health === 'lost' || !(node in turn.raft.accepted.nodes)) return;
  if (turn.raft.accepted.nodes[node]?.left === true) return;
  setPeer(turn, node, { health: 'lost' });
  if (turn.raft.leading) turn.raft.leading = { ...turn.raft.leading, hasNews: true };
  const name = nameOf(turn, node);
  const because =
    result === 'refused'
      ? `the agent of ${name} is gone, its machine is there`
      : `the machine of ${name} does not answer`;
  note(turn, { event: 'node-lost', level: 'warn', because, fields: { node, name, result } });
}

/** A machine that owes an answer is looked at: soon at first, rarely when it has long been away. */
export function probeIfSilent(turn: RaftTurn, node: NodeId, silentSince: number, missedMs: number): void {
  const { raft } = turn;
  const peer = peerOf(raft, node);
  const silent = turn.at - silentSince;
  if (silent <= missedMs) return;
  const pause = silent < raftTimings.voterGoneMs ? raftTimings.reprobeMs : raftTimings.reprobeSlowMs;
  if (
    turn.at - peer.probeAskedAt >=
    (peer.probe?.result === 'accepted' || silent < 2000 ? pause : raftTimings.reprobeSlowMs)
  )
    requestProbe(turn, node);
}

/** Something came from it: it is there. Only what it says itself proves a stream; reports travel through others. */
export function hearSign(turn: RaftTurn, node: NodeId, isReport: boolean): void {
  const peer = peerOf(turn.raft, node);
  if (isReport) {
    setPeer(turn, node, { reportAt: turn.at });
    // A rumour may be older than the last look: it counts when it comes long after.
    if (!turn.raft.leading && turn.at - (peer.probe?.at ?? turn.at) > raftTimings.rumourMs) markAlive(turn, node);
    return;
  }
  if (peer.heardAt === turn.at && peer.connected) return;
  setPeer(turn, node, { heardAt: turn.at, connected: true });
  // To a leader only an answer to a round counts: over a line that is cut one way, words still come.
  if (!turn.raft.leading) markAlive(turn, node);
}

/** It is here, in the eyes of this node. */
export function markAlive(turn: RaftTurn, node: NodeId): void {
  const { health } = peerOf(turn.raft, node);
  if (health === 'alive') return;
  setPeer(turn, node, { health: 'alive' });
  if (health === 'lost')
    note(turn, {
      event: 'node-found',
      because: `${nameOf(turn, node)} is back`,
      fields: { node, name: nameOf(turn, node) },
    });
}
