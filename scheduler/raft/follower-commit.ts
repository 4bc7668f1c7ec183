import type { NodeId, StoreId } from '../../protocol/ids.ts';
import type { Configuration } from '../../protocol/ledger.ts';
import type { MessageOf } from '../../protocol/messages.ts';
import { compareStamps, type Stamp, sameStamp } from '../../protocol/stamp.ts';
import { isNews } from './ledger-order.ts';
import { commit } from './proposal.ts';
import { hasQuorum } from './quorum.ts';
import { others, peerOf, type RaftTurn, rememberPromise, send, setPeer } from './raft-turn.ts';

/**
 * A decision without its second journey: where the disks of the leader and of one follower are a quorum (three voters),
 * the leader says what is on its own disk as soon as it is there, and that follower commits what is on both, instead of
 * acknowledging it and waiting for the commit mark. It counts as the leader would: a ledger of the leader's own term,
 * by that ledger's configuration, both halves of a joint one, each with the store that is listed there (SAFETY L2, L8,
 * L10). Whoever cannot count so, or does not know how, hears the mark as before.
 */

/** What the leader says is on its disk is a promise of that store, as an acknowledgement is. */
export function hearOnDisk(turn: RaftTurn, from: NodeId, { term, stamp, store }: MessageOf<'on-disk'>): void {
  const { raft } = turn;
  if (term !== raft.term || stamp.term !== term || raft.leader?.node !== from || raft.leader.term !== term) return;
  rememberPromise(turn, from, { store, term }, stamp);
  const known = raft.leaderDisk?.store === store ? raft.leaderDisk.stamp : null;
  if (known === null || compareStamps(stamp, known) > 0) raft.leaderDisk = { node: from, store, stamp };
  commitByTwoDisks(turn);
}

export function commitByTwoDisks(turn: RaftTurn): void {
  const { raft, self, identity } = turn;
  const { accepted, committed, leader, leaderDisk, term } = raft;
  if (raft.leading || raft.rolledBack !== null || raft.newerEra !== null) return;
  if (leader?.term !== term || leaderDisk?.node !== leader.node) return;
  if (leaderDisk.stamp.term !== term || accepted.stamp.term !== term) return;
  if (committed && !isNews(committed, accepted)) return;
  // One disk may be a quorum by itself; here it must be on both all the same.
  if (!sameStamp(raft.diskStamp, accepted.stamp)) return;
  if (compareStamps(leaderDisk.stamp, accepted.stamp) < 0) return;
  const has = (node: NodeId, store: StoreId): boolean => {
    if (node === self) return store === identity.store;
    return node === leader.node && store === leaderDisk.store && !peerOf(raft, node).cloned;
  };
  if (hasQuorum(accepted.configuration, has)) commit(turn, accepted);
}

/** Whether this leader's disk and that follower's are a quorum, and the follower knows how to count them. */
function isQuorumWith({ raft, self, identity }: RaftTurn, node: NodeId, configuration: Configuration): boolean {
  const { commitsAlone, store, cloned } = peerOf(raft, node);
  if (!commitsAlone || cloned) return false;
  return hasQuorum(configuration, (one, its) =>
    one === self ? its === identity.store : one === node && its === store,
  );
}

/** What has just reached the leader's disk is news for whoever can commit by it. */
export function sayOwnDisk(turn: RaftTurn): void {
  const { diskStamp, term, leading, accepted, committed } = turn.raft;
  if (!leading || diskStamp.term !== term) return;
  // Who acknowledges that gets the mark.
  if (committed && compareStamps(committed.stamp, diskStamp) >= 0) return;
  for (const node of others(turn)) {
    const { connected, diskSent } = peerOf(turn.raft, node);
    if (!connected || (diskSent && sameStamp(diskSent, diskStamp))) continue;
    if (!isQuorumWith(turn, node, accepted.configuration)) continue;
    setPeer(turn, node, { diskSent: diskStamp });
    send(turn, node, { kind: 'on-disk', term, stamp: diskStamp, store: turn.identity.store });
  }
}

/** It acknowledged the committed ledger, and was told that it is on this disk too: it needs no mark. */
export function hasCommitted(turn: RaftTurn, node: NodeId, acked: Stamp): boolean {
  const { committed } = turn.raft;
  const { diskSent } = peerOf(turn.raft, node);
  if (!committed || !diskSent || !sameStamp(acked, committed.stamp)) return false;
  return compareStamps(diskSent, committed.stamp) >= 0 && isQuorumWith(turn, node, committed.configuration);
}
