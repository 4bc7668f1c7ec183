import type { NodeId } from '../../protocol/ids.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import { note } from '../note.ts';
import { requestChange } from './client-requests.ts';
import { raftTimings } from './raft-timings.ts';
import { peerOf, type RaftTurn } from './raft-turn.ts';
import { stepDown } from './term.ts';

/**
 * Going politely. Life of it: asked to leave -> marked as left in the ledger -> the leader takes the node out of the
 * voters (of two: gives the tie-break to the one that stays, SAFETY L13) -> a leader hands over -> `departed`, and the
 * agent may exit or its machine may sleep. After `leaveMs` it goes anyway. An agent that did not exit may come back.
 */
export function hearLeaveAsked(turn: RaftTurn, backMs: number | undefined): void {
  const { raft } = turn;
  if (raft.leaving) return;
  raft.leaving = { since: turn.at, handedOverAt: null, gone: false };
  raft.clientRequests = raft.clientRequests.filter((one) => one.local);
  if (raft.accepted.nodes[turn.self]?.left === false)
    requestChange(turn, { kind: 'depart', node: turn.self, ...(backMs === undefined ? {} : { backMs }) });
}

/** It stays after all: the machine woke up, or its shutdown was called off. The ledger hears it by `introduce`. */
export function hearReturnAsked(turn: RaftTurn): void {
  const { raft } = turn;
  if (!raft.leaving) return;
  raft.leaving = null;
  raft.clientRequests = raft.clientRequests.filter((one) => one.change.kind !== 'depart');
  raft.introducedAt = Number.NEGATIVE_INFINITY;
  note(turn, { event: 'returning', because: 'this node is back: it asks for its vote' });
}

/** Whether the mesh is arranged for this node's absence. */
export function isArranged(ledger: Ledger, self: NodeId): boolean {
  const { voters, next } = ledger.configuration;
  const me = ledger.nodes[self];
  if (!me || (!(self in voters) && next === null)) return !me || me.left;
  const others = Object.keys(voters).filter((node) => node !== self);
  return me.left && next === null && (others.length === 0 || (others.length === 1 && voters[self]!.weight === 2));
}

/** Whether no other voter is here, nor may be here in a moment. */
function isAlone(turn: RaftTurn, waited: number): boolean {
  const { raft, self, at } = turn;
  const { voters, next } = raft.accepted.configuration;
  const staying = [...Object.keys(voters), ...Object.keys(next ?? {})].filter(
    (node) => node !== self && raft.accepted.nodes[node]?.left === false,
  );
  const isHere = (node: NodeId): boolean => {
    const { connected, acked } = peerOf(raft, node);
    return connected || at - (acked?.sentAt ?? Number.NEGATIVE_INFINITY) < raftTimings.checkQuorumMs;
  };
  return staying.length === 0 || (waited >= raftTimings.listenMs && !staying.some(isHere));
}

export function depart(turn: RaftTurn): void {
  const { raft } = turn;
  const { leaving } = raft;
  if (!leaving || leaving.gone) return;
  const go = (because: string): void => {
    raft.leaving = { ...leaving, gone: true };
    raft.campaign = null;
    if (raft.leading) stepDown(turn, because);
    turn.effects.push({ kind: 'departed', because });
  };
  const waited = turn.at - leaving.since;
  if (waited >= raftTimings.leaveMs) return go('nobody took over in time: the mesh will notice that this node is gone');
  // Who is alone need not wait for anybody, only for what it can still decide itself.
  const isForsaken = isAlone(turn, waited);
  if (isForsaken && (raft.leading ? raft.committed?.nodes[turn.self]?.left : raft.leader === null))
    return go('no other voter is here: the mesh waits until this node is back');
  if (!raft.committed || !isArranged(raft.committed, turn.self)) return;
  // A leader that is to leave hands over first.
  if (raft.leading) return;
  const isTakenOver = leaving.handedOverAt === null || raft.leader !== null;
  if (!isTakenOver && turn.at - (leaving.handedOverAt ?? 0) < 2 * raftTimings.handoverMs) return;
  // What was asked here before is answered first, by the next leader.
  if (raft.clientRequests.some((one) => one.local) && !isForsaken) return;
  go('everything is handed over');
}

/** `at` by which something of a departure is due. */
export function nextDepartureAt({ raft, at }: RaftTurn): number {
  const { leaving } = raft;
  if (!leaving || leaving.gone) return Number.POSITIVE_INFINITY;
  const due = [leaving.since + raftTimings.listenMs, leaving.since + raftTimings.leaveMs];
  if (leaving.handedOverAt !== null) due.push(leaving.handedOverAt + 2 * raftTimings.handoverMs);
  return Math.min(...due.filter((time) => time > at), leaving.since + raftTimings.leaveMs);
}
