import type { NodeId, StoreId } from '../../protocol/ids.ts';
import type { MessageOf } from '../../protocol/messages.ts';
import { compareStamps, showStamp } from '../../protocol/stamp.ts';
import { note } from '../note.ts';
import { introduce } from './client-requests.ts';
import { nameOf, type RaftTurn, thisPersist } from './raft-turn.ts';
import { sayHello } from './say-hello.ts';
import { stepDown } from './term.ts';

/**
 * A store that was rolled back (a snapshot, a restored home) has forgotten votes and acknowledgements that others count
 * on, and no rule can bring them back (SAFETY L9). Life of it: another node tells what it promised -> from then on it
 * votes, acknowledges, leads and stands no more -> the shell draws a fresh id -> that is on disk -> it goes by this id, as
 * a store that never promised anything, and the leader puts it in the old one's place when it has a ledger of the term
 * (L8). Rolled back again, to whatever copy, it never meets an id that it used and forgot: each is drawn anew.
 */

type Promised = NonNullable<MessageOf<'hello'>['promised']>;

/** Whether this store promised that, and knows nothing of it. */
export function hasForgotten({ raft, identity }: RaftTurn, promised: Promised): boolean {
  if (promised.store !== undefined && promised.store !== identity.store) return false;
  return promised.term > raft.term || compareStamps(promised.stamp, raft.accepted.stamp) > 0;
}

export function foundRolledBack(turn: RaftTurn, from: NodeId, { term, stamp }: Promised): void {
  const { raft } = turn;
  if (raft.rolledBack !== null) return;
  const because = `this store was rolled back: ${nameOf(turn, from)} has its promise of term ${term}, ledger ${showStamp(stamp)}, and it knows only term ${raft.term}, ledger ${showStamp(raft.accepted.stamp)}`;
  stepDown(turn, because);
  raft.rolledBack = { because, minted: null };
  raft.campaign = null;
  raft.planned = null;
  turn.effects.push({ kind: 'mint-store', because });
  const so = `${because}; it counts as a new store from now on, and votes again when the leader has taken it in`;
  note(turn, { event: 'store-rolled-back', level: 'error', because: so, fields: { term } });
}

export function hearMinted(turn: RaftTurn, store: StoreId): void {
  const { rolledBack } = turn.raft;
  if (rolledBack === null || rolledBack.minted !== null) return;
  turn.raft.rolledBack = { ...rolledBack, minted: { store, seq: thisPersist(turn) } };
  turn.save.store = store;
}

/** The new id is on disk: only now may anything be said in its name. */
export function goByNewStore(turn: RaftTurn): void {
  const { raft } = turn;
  const minted = raft.rolledBack?.minted;
  if (!minted || minted.seq > raft.diskSeq) return;
  turn.identity = { ...turn.identity, store: minted.store };
  raft.rolledBack = null;
  for (const node in raft.peers) if (raft.peers[node]!.connected) sayHello(turn, node, null);
  raft.clientRequests = raft.clientRequests.filter((one) => one.change.kind !== 'introduce');
  raft.introducedAt = Number.NEGATIVE_INFINITY;
  introduce(turn);
  note(turn, {
    event: 'store-renewed',
    because: 'this store has a new id: the leader takes it for what it has now, not for what it forgot',
  });
}
