import type { NodeId, StoreId } from '../../protocol/ids.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import type { PeerMessage } from '../../protocol/messages.ts';
import { compareStamps, type Stamp } from '../../protocol/stamp.ts';
import type { Effect, Write } from '../effects.ts';
import type { NodeIdentity } from '../state.ts';
import { copyOfPeer, copyOfRaft, type Mutable, type Peer, type RaftState, unknownPeer } from './raft-state.ts';

/**
 * One step under way. `raft` is a shallow copy whose fields are replaced, never changed inside, so the state that the
 * step began with stays as it was. All writes of a step become one `persist`; `afterDisk` is what may be said only then.
 */
export interface RaftTurn {
  identity: NodeIdentity;
  readonly self: NodeId;
  readonly at: number;
  readonly wallMs: number;
  readonly raft: Mutable<RaftState>;
  readonly effects: Effect[];
  readonly afterDisk: Effect[];
  readonly save: { promise: boolean; accepted: boolean; committed: boolean; era: Ledger | null; store: StoreId | null };
  /** The leader's newest ledger went to others in this step: it must not change any more. */
  shown: boolean;
}

export const openRaftTurn = (identity: NodeIdentity, raft: RaftState, at: number, wallMs: number): RaftTurn => ({
  identity,
  self: identity.node,
  at,
  wallMs,
  raft: copyOfRaft(raft),
  effects: [],
  afterDisk: [],
  save: { promise: false, accepted: false, committed: false, era: null, store: null },
  shown: false,
});

/** The number that this step's persist will have. */
export const thisPersist = (turn: RaftTurn): number => turn.raft.seq + 1;

/** Turns what was marked into the one `persist` of this step. */
export function closeRaftTurn(turn: RaftTurn): void {
  const { raft, save } = turn;
  const writes: Write[] = [];
  if (save.store !== null) writes.push({ key: 'store', value: save.store });
  if (save.accepted) writes.push({ key: 'accepted', value: raft.accepted });
  if (save.promise) writes.push({ key: 'promise', value: { term: raft.term, votedFor: raft.votedFor } });
  // In one batch with the accepted one: a disk never has documents of two eras.
  if (save.era) writes.push({ key: 'committed', value: save.era });
  if (save.committed) writes.push({ key: 'committed', value: raft.committed });
  if (writes.length === 0 && turn.afterDisk.length === 0) return;
  raft.seq += 1;
  if (save.accepted) raft.onTheirWay = [...raft.onTheirWay, { seq: raft.seq, stamp: raft.accepted.stamp }];
  turn.effects.push({ kind: 'persist', part: 'raft', seq: raft.seq, writes, then: turn.afterDisk });
}

export const send = (turn: RaftTurn, to: NodeId, message: PeerMessage): void => {
  turn.effects.push({ kind: 'send', to, message });
};

export const sendAfterDisk = (turn: RaftTurn, to: NodeId, message: PeerMessage): void => {
  turn.afterDisk.push({ kind: 'send', to, message });
};

export const peerOf = (raft: RaftState, node: NodeId): Peer => raft.peers[node] ?? unknownPeer;

export function setPeer(turn: RaftTurn, node: NodeId, patch: Partial<Peer>): void {
  const peer = Object.assign(copyOfPeer(peerOf(turn.raft, node)), patch);
  const peers: Record<NodeId, Peer> = { ...turn.raft.peers };
  peers[node] = peer;
  turn.raft.peers = peers;
}

/** What it says to be on its store is there; if it ever is not, that store was rolled back (SAFETY L9). */
export function rememberPromise(
  turn: RaftTurn,
  from: NodeId,
  { store, term }: { store: StoreId; term: number },
  said: Stamp,
): void {
  const old = peerOf(turn.raft, from).promised;
  const same = old?.store === store ? old : null;
  if (same && same.term >= term && compareStamps(same.stamp, said) >= 0) return;
  const stamp = same && compareStamps(same.stamp, said) > 0 ? same.stamp : said;
  setPeer(turn, from, { promised: { store, term: Math.max(term, same?.term ?? 0), stamp } });
}

/** How people call a node. */
export const nameIn = (ledger: Ledger, node: NodeId): string => ledger.nodes[node]?.name ?? node.slice(-8);
export const nameOf = (turn: RaftTurn, node: NodeId): string => nameIn(turn.raft.accepted, node);

/** A number in [0, 1) from the generator in the state (mulberry32): the core has no chance of its own. */
export function random(turn: RaftTurn): number {
  const seed = (turn.raft.random + 0x6d2b79f5) | 0;
  turn.raft.random = seed;
  let mixed = Math.imul(seed ^ (seed >>> 15), 1 | seed);
  mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
  return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
}

/** Everybody who shall have the ledger, except this node: all approved nodes, and voters on their way out. */
export function others(turn: RaftTurn): NodeId[] {
  const { nodes, configuration } = turn.raft.accepted;
  const all: NodeId[] = [];
  for (const node in nodes) if (node !== turn.self) all.push(node);
  for (const half of [configuration.voters, configuration.next])
    for (const node in half) if (!(node in nodes) && node !== turn.self && !all.includes(node)) all.push(node);
  return all;
}
