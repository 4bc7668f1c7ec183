import type { NodeId } from '../../protocol/ids.ts';
import { quorumContact } from './quorum.ts';
import type { RaftState } from './raft-state.ts';
import { peerOf } from './raft-turn.ts';

/** `at` of the newest round that a quorum answered: the leader's own proof that it leads. */
export function ownContactAt(raft: RaftState, self: NodeId, store: string): number {
  if (!raft.leading) return Number.NEGATIVE_INFINITY;
  const mine = raft.leading.rounds.at(-1)?.at ?? Number.NEGATIVE_INFINITY;
  return quorumContact(raft.accepted.configuration, (node, its) => {
    if (node === self) return its === store ? mine : Number.NEGATIVE_INFINITY;
    const { acked, cloned } = peerOf(raft, node);
    return acked?.store === its && !cloned ? acked.sentAt : Number.NEGATIVE_INFINITY;
  });
}
