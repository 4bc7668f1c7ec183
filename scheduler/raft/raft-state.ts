import type { AskedBy } from '../../protocol/audit.ts';
import type { Change } from '../../protocol/changes.ts';
import type { NodeId, StoreId } from '../../protocol/ids.ts';
import type { Era, Ledger } from '../../protocol/ledger.ts';
import type { Evidence } from '../../protocol/messages.ts';
import type { Stamp } from '../../protocol/stamp.ts';
import type { ProbeResult } from '../inputs.ts';

/** A copy that the step under way may still change. The compiler asks for every field, optional ones too. */
export type Mutable<T> = { -readonly [K in keyof T]-?: T[K] };

/** What this node knows of another one. Rumour and observation: nothing here is on disk. */
export interface Peer {
  /** As it last said itself: its store, its kernel's boot, and the boot before that. */
  readonly store: StoreId | null;
  readonly boot: string | null;
  readonly formerBoot: string | null;
  /** How often it came back to an earlier boot. */
  readonly returns: number;
  /** Two machines with one identity were seen: neither counts (SAFETY L9). */
  readonly cloned: boolean;
  readonly connected: boolean;
  /** `at` of its last own message, of its last gossiped report, and of the last stream opened. */
  readonly heardAt: number;
  readonly reportAt: number;
  /** As it last reported itself. */
  readonly well: boolean;
  readonly connectedAt: number;
  /** `at` when this node, leading, first counted on it. */
  readonly knownAt: number;
  /** The highest promise that it made to this node, with the store it made it on (SAFETY L9). */
  readonly promised: { readonly store: StoreId; readonly term: number; readonly stamp: Stamp } | null;
  /** A leader's view: newest stamp of the own term it has on disk, on which store, and when that round was sent (L12). */
  readonly acked: { readonly store: StoreId; readonly stamp: Stamp | null; readonly sentAt: number } | null;
  /** The ledger that is on its way to it, until it is acknowledged. */
  readonly ledgerSent: { readonly stamp: Stamp; readonly at: number } | null;
  /** The commit mark that it was last told. */
  readonly commitSent: Stamp | null;
  /** Its version commits by its own disk and its leader's. */
  readonly commitsAlone: boolean;
  /** A leader's view: what it was last told to be on this node's own disk. */
  readonly diskSent: Stamp | null;
  /** When this follower last gave it the committed ledger. */
  readonly relayedAt: number;
  /** Last look: its result, when, and since when looks say the same with nothing heard between them. */
  readonly probe: { readonly result: ProbeResult; readonly at: number; readonly since: number } | null;
  readonly probeAskedAt: number;
  readonly probeOpen: boolean;
  /** Evidence about it was wrong: not believed before this (SAFETY L11). */
  readonly evidenceOffUntil: number;
  readonly health: 'alive' | 'suspect' | 'lost';
  /** The highest term in which this node would have voted for it (SAFETY L17). */
  readonly preVoted: number;
  /** When its word of a higher term was last believed although it does not vote. */
  readonly higherTermHeardAt: number;
}

export interface Campaign {
  /** `pre`: would you vote for me? `vote`: terms rise and promises are made. */
  readonly kind: 'pre' | 'vote';
  readonly term: number;
  readonly evidence: Evidence;
  readonly against: NodeId | null;
  readonly votes: Readonly<Record<NodeId, StoreId>>;
  readonly refusals: Readonly<Record<NodeId, true>>;
  readonly until: number;
  /** What its voters want changed, once it leads. */
  readonly asked: readonly {
    readonly from: NodeId;
    readonly id: string;
    readonly change: Change;
    readonly by?: AskedBy | undefined;
  }[];
  /** The own vote counts when this persist is on disk (SAFETY L10); 0 for a pre-vote, which promises nothing. */
  readonly ownVoteSeq: number;
}

/** A document of the own term that is not committed yet; `seq` is the persist after which the leader counts itself. */
interface Proposed {
  readonly ledger: Ledger;
  readonly seq: number;
}

interface ProposedRequest {
  readonly id: string;
  /** null = asked by this node itself. */
  readonly from: NodeId | null;
  readonly stamp: Stamp;
  readonly because: string;
}

/** The leader takes no change any more, until all is committed and the heir has it; then the heir is asked to stand. */
export interface Handover {
  readonly since: number;
  readonly because: string;
  readonly to: NodeId | null;
  readonly askedAt: number;
}

export interface Leading {
  readonly round: number;
  /** When the last rounds were sent, oldest first: acknowledgements name their round (SAFETY L12). */
  readonly rounds: readonly { readonly round: number; readonly at: number }[];
  /** When everybody is to hear of this leader again, and whether there is something to say before. */
  readonly nextRoundAt: number;
  readonly hasNews: boolean;
  /** Something was committed: news for those only who cannot know it by themselves. */
  readonly hasProgress: boolean;
  readonly sinceAt: number;
  readonly proposed: readonly Proposed[];
  /** Stamp with which the configuration in force came; changes start only when it is committed in the own term (L3). */
  readonly configuredBy: Stamp;
  /** The ledger for which the voters were last thought about, and when. */
  readonly plannedFor: Ledger | null;
  readonly plannedAt: number;
  /** Changes that are answered when their stamp is committed (SAFETY L16). */
  readonly proposedRequests: readonly ProposedRequest[];
  /** Changes that were answered and cannot be asked again: the next document need not remember them. */
  readonly settled: readonly string[];
  readonly handover: Handover | null;
  /** When it last tried to hand over in vain, and to whom. */
  readonly handoverAt: number;
  readonly handoverTo: NodeId | null;
  /** A member wants this leader removed: it tries to hand over first, once. */
  readonly unwanted: 'asked' | 'tried' | null;
  /** The leader that evidence said to be gone, until it is seen whether that was true (SAFETY L11). */
  readonly overthrown: { readonly node: NodeId; readonly at: number } | null;
}

/** A change that this node asks of the leader until it is answered (SAFETY L16). */
export interface ClientRequest {
  readonly id: string;
  readonly change: Change;
  readonly by?: AskedBy | undefined;
  readonly askedAt: number;
  /** When and in which term it was last sent to a leader. */
  readonly sentAt: number;
  readonly sentTerm: number;
  /** False for the node's own doings (introduce, depart), which answer to nobody. */
  readonly local: boolean;
}

interface RolledBack {
  readonly because: string;
  /** The id that it will go by, once persist `seq` is on disk; null until the shell has drawn one. */
  readonly minted: { readonly store: StoreId; readonly seq: number } | null;
}

export interface RaftState {
  readonly term: number;
  readonly votedFor: NodeId | null;
  /** Newest stamp: decides votes, and its configuration is in force (SAFETY L1). May be ahead of the disk. */
  readonly accepted: Ledger;
  /** Decides everything else. */
  readonly committed: Ledger | null;
  /** Last number given to a persist, and the last that is on disk. */
  readonly seq: number;
  readonly diskSeq: number;
  /** Stamp of the accepted ledger on disk, and those on their way there. */
  readonly diskStamp: Stamp;
  readonly onTheirWay: readonly { readonly seq: number; readonly stamp: Stamp }[];
  readonly leader: { readonly node: NodeId; readonly term: number; readonly sinceAt: number } | null;
  /** What that leader said to be on its disk; means something in its term only. */
  readonly leaderDisk: { readonly node: NodeId; readonly store: StoreId; readonly stamp: Stamp } | null;
  /** `at` when this follower last had proof that the leader leads. */
  readonly contactAt: number;
  /** From when the election's timers count: the contact, shifted by this node's own lateness. */
  readonly timerAt: number;
  readonly backlogUntil: number;
  readonly wakeAt: number;
  readonly peers: Readonly<Record<NodeId, Peer>>;
  readonly campaign: Campaign | null;
  /** A candidacy by evidence that waits for its rank's turn. */
  readonly planned: { readonly at: number; readonly evidence: Evidence; readonly against: NodeId | null } | null;
  readonly notBefore: number;
  /** Pre-votes that wait for this node's own probe (SAFETY L11). */
  readonly waitingPreVotes: readonly { readonly node: NodeId; readonly term: number; readonly about: NodeId }[];
  readonly leading: Leading | null;
  /** `at` of the last 64 times at which another term's leader was heard of; the first after a start is none. */
  readonly leaderChanges: readonly number[];
  /** Of all its reigns: a follower of an older version answers a round of a former one by its number (SAFETY L12). */
  readonly lastRound: number;
  readonly clientRequests: readonly ClientRequest[];
  readonly nextRequest: number;
  readonly addresses: readonly string[] | null;
  readonly healthy: boolean;
  readonly introducedAt: number;
  /** The term in which it last said what its version can, and nothing else: an older leader does not keep that. */
  readonly introducedTerm: number;
  readonly leaving: { readonly since: number; readonly handedOverAt: number | null; readonly gone: boolean } | null;
  /** This store forgot what it promised: it promises nothing until it goes by another id (SAFETY L9). Null: it did not. */
  readonly rolledBack: RolledBack | null;
  /** A newer era than its own that this node has seen: it takes no part in the old one any more (SAFETY L15). */
  readonly newerEra: Era | null;
  /** The persist that brought this era to this disk. */
  readonly eraSeq: number;
  readonly random: number;
}

export const unknownPeer: Peer = {
  store: null,
  boot: null,
  formerBoot: null,
  returns: 0,
  cloned: false,
  connected: false,
  heardAt: Number.NEGATIVE_INFINITY,
  reportAt: Number.NEGATIVE_INFINITY,
  well: true,
  connectedAt: Number.NEGATIVE_INFINITY,
  knownAt: Number.NEGATIVE_INFINITY,
  promised: null,
  acked: null,
  ledgerSent: null,
  commitSent: null,
  commitsAlone: false,
  diskSent: null,
  relayedAt: Number.NEGATIVE_INFINITY,
  probe: null,
  probeAskedAt: Number.NEGATIVE_INFINITY,
  probeOpen: false,
  evidenceOffUntil: Number.NEGATIVE_INFINITY,
  health: 'alive',
  preVoted: 0,
  higherTermHeardAt: Number.NEGATIVE_INFINITY,
};

/*
 * Copies, field by field: V8 makes one of an object of so many fields in a sixth of the time that a spread takes, and each
 * step makes several.
 */

export const copyOfPeer = (peer: Peer): Mutable<Peer> => ({
  store: peer.store,
  boot: peer.boot,
  formerBoot: peer.formerBoot,
  returns: peer.returns,
  cloned: peer.cloned,
  connected: peer.connected,
  heardAt: peer.heardAt,
  reportAt: peer.reportAt,
  well: peer.well,
  connectedAt: peer.connectedAt,
  knownAt: peer.knownAt,
  promised: peer.promised,
  acked: peer.acked,
  ledgerSent: peer.ledgerSent,
  commitSent: peer.commitSent,
  commitsAlone: peer.commitsAlone,
  diskSent: peer.diskSent,
  relayedAt: peer.relayedAt,
  probe: peer.probe,
  probeAskedAt: peer.probeAskedAt,
  probeOpen: peer.probeOpen,
  evidenceOffUntil: peer.evidenceOffUntil,
  health: peer.health,
  preVoted: peer.preVoted,
  higherTermHeardAt: peer.higherTermHeardAt,
});

/** What a leader heard of a node's disk and told it: void in the next reign. */
export const nothingTold = { acked: null, ledgerSent: null, commitSent: null, diskSent: null } as const;

export const copyOfRaft = (raft: RaftState): Mutable<RaftState> => ({
  term: raft.term,
  votedFor: raft.votedFor,
  accepted: raft.accepted,
  committed: raft.committed,
  seq: raft.seq,
  diskSeq: raft.diskSeq,
  diskStamp: raft.diskStamp,
  onTheirWay: raft.onTheirWay,
  leader: raft.leader,
  leaderDisk: raft.leaderDisk,
  contactAt: raft.contactAt,
  timerAt: raft.timerAt,
  backlogUntil: raft.backlogUntil,
  wakeAt: raft.wakeAt,
  peers: raft.peers,
  campaign: raft.campaign,
  planned: raft.planned,
  notBefore: raft.notBefore,
  waitingPreVotes: raft.waitingPreVotes,
  leading: raft.leading,
  leaderChanges: raft.leaderChanges,
  lastRound: raft.lastRound,
  clientRequests: raft.clientRequests,
  nextRequest: raft.nextRequest,
  addresses: raft.addresses,
  healthy: raft.healthy,
  introducedAt: raft.introducedAt,
  introducedTerm: raft.introducedTerm,
  leaving: raft.leaving,
  rolledBack: raft.rolledBack,
  newerEra: raft.newerEra,
  eraSeq: raft.eraSeq,
  random: raft.random,
});
