import type { NodeId } from '../../protocol/ids.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import type { MessageOf } from '../../protocol/messages.ts';
import { compareStamps, type Stamp } from '../../protocol/stamp.ts';
import { raftTimings } from './raft-timings.ts';
import { peerOf, type RaftTurn, send, setPeer } from './raft-turn.ts';

/**
 * The first word on every stream: who I am (store, boot), how far I am, and, to a store that has forgotten it, what it
 * promised (SAFETY L9).
 */
export function sayHello(
  turn: RaftTurn,
  to: NodeId,
  promised: MessageOf<'hello'>['promised'],
  ledger: Ledger | null = null,
): void {
  const { raft, identity } = turn;
  const { boot, store, version } = identity;
  const stamp = raft.accepted.stamp;
  send(turn, to, { kind: 'hello', boot, store, term: raft.term, stamp, promised, version, ledger, commitsAlone: true });
}

/**
 * A node that was away while members came may not know the leader, and refuse it as a stranger. Who it does know gives
 * it the committed ledger.
 */
export function relay(turn: RaftTurn, to: NodeId, its: Stamp): void {
  const { committed, leading } = turn.raft;
  if (!committed || leading || !Object.hasOwn(committed.nodes, to)) return;
  if (compareStamps(its, committed.stamp) >= 0) return;
  if (claimRelay(turn, to)) sayHello(turn, to, null, committed);
}

/** Once a `relayMs` for each node: true = now, and it counts as done. */
export function claimRelay(turn: RaftTurn, to: NodeId): boolean {
  if (turn.at - peerOf(turn.raft, to).relayedAt < raftTimings.relayMs) return false;
  setPeer(turn, to, { relayedAt: turn.at });
  return true;
}
