import type { NodeId } from '../../protocol/ids.ts';
import type { Ledger, Run } from '../../protocol/ledger.ts';
import type { QueuedJob } from '../../protocol/queued-job.ts';
import type { GitlabSeen, Measured, ProtectedSeen, Report, StandbySeen } from '../../protocol/report.ts';
import type { Sealed } from '../../protocol/sealed.ts';
import type { Durable } from '../effects.ts';
import type { Claim } from './room.ts';
import { fullTrust, type OwnTrust } from './trust.ts';

/** Grants whose POST may have gone out: on disk before it does (SAFETY J3). */
export type Asking = Durable['asking'];

/** Room set aside on this node for a grant, until GitLab's answer is known. */
export interface Reservation {
  grant: string;
  class: string;
  runner: number | null;
  leader: NodeId;
  claim: Claim;
  /** `at` of receipt. */
  since: number;
}

/** What this node itself runs and was granted. */
export interface OwnState {
  runs: Readonly<Record<string, Run>>;
  reserved: Readonly<Record<string, Reservation>>;
  /** Ids of grants seen, newest last: each is used once (SAFETY J5). */
  usedGrants: readonly string[];
  /** Of asking, what a former agent process left. */
  leftOver: Asking;
  /** When, to which leader and in which term the runs were sent last (`own-runs`). */
  announcedAt: number;
  announcedTo: NodeId | null;
  announcedTerm: number;
  /** True from the moment a run changes until the leader has been sent all runs again. */
  hasUnannounced: boolean;
  /** Whether jobs fail because of this machine. */
  trust: OwnTrust;
}

/** A report with the time of its arrival; the boot time of this machine, and how far the other wall clock is off. */
interface HeardReport {
  report: Report;
  at: number;
  clockOffMs: number;
}

/** The runs that a node named in its last `own-runs`, with its boot id and the `at` of receipt. Kept by the leader. */
export interface AnnouncedRuns {
  boot: string;
  runs: readonly Run[];
  at: number;
}

/** A grant that the leader sent: room taken, until answered (and its run seen) or surely over. */
export interface OutGrant {
  grant: string;
  class: string;
  node: NodeId;
  claim: Claim;
  /** The waiting job it was made for; GitLab may answer with another of the class. null for standing grants. */
  job: number | null;
  state: 'out' | 'used';
  sentAt: number;
  /** `at` until which the room stays taken: TTL and drift and the node's own request (SAFETY J5). */
  until: number;
  because: string;
}

/** What the leader has tried for a class, beside what the ledger says of it. Lost with leadership, which does no harm. */
export interface ClassAttempts {
  /** Grants in a row that brought no job. */
  misses: number;
  missBecause: string;
  /** No grant before this `at`: back-off. */
  notBefore: number;
  /** `at` of the last empty answer: a queue read asked before it is too old to grant by. */
  emptyAt: number;
  nonce: string | null;
  /** What GitLab made for `nonce`, until the ledger has it: its token is shown only once. */
  made: { runner: number; token: Sealed } | null;
  createAskedAt: number;
  createTries: number;
  createNotBefore: number;
  createBecause: string | null;
  deleteAskedAt: number;
  retiringSince: number;
  usedWallMs: number;
  /** When to ask GitLab whether it still knows the runner; null: nothing says otherwise. */
  checkAt: number | null;
}

/** A machine that does not answer: its agent is `dead`, or all of it is `silent`; `since` which `at`. */
export interface Away {
  state: 'dead' | 'silent';
  since: number;
}

/** A job of GitLab's queue with the key of its class, worked out once: queues are long. */
export interface WaitingJob extends QueuedJob {
  class: string;
}

export interface QueueState {
  jobs: readonly WaitingJob[];
  complete: boolean;
  /** `at` at which the read that gave `jobs` was asked; -Infinity before the first. */
  freshAt: number;
  askedAt: number | null;
  /** Read again as soon as the one under way is answered. */
  again: string | null;
  nextAt: number;
  because: string;
  failures: number;
  failingSince: number | null;
  failedBecause: string | null;
  /** GitLab answers, and will not have our token: a person must give another. */
  isRefused: boolean;
}

/**
 * A job that GitLab says is running on one of our runners and that nobody owns (SAFETY J3). `asking`: grants that were
 * on their way when it was first seen: GitLab's answer to one of them may still bring it.
 */
export interface Stray {
  since: number;
  asking: readonly string[];
}

/** A lost run may still breathe: classes that share its tags get no grant until `until`, nor before GitLab knows (SAFETY J1). */
export interface Hold {
  class: string;
  /** `at` at which it was called lost, as far as this leader knows. */
  since: number;
  until: number;
}

export interface LeadState {
  term: number;
  /** `at` since which this leader may act. */
  since: number;
  queue: QueueState;
  grants: Readonly<Record<string, OutGrant>>;
  /** Unanswered grants of machines that fell silent: they book nothing, but what they asked GitLab may still be answered. */
  adrift: Readonly<Record<string, OutGrant>>;
  classes: Readonly<Record<string, ClassAttempts>>;
  /** Nodes that refused a grant, and until when they are left alone. */
  refused: Readonly<Record<NodeId, { until: number; because: string }>>;
  /** Lost runs being failed at GitLab. */
  failing: Readonly<Record<string, { askedAt: number; nextAt: number; tries: number }>>;
  /** Jobs that GitLab shows as waiting and did not give: how often in a row, and until which `at` nothing is reserved for them. */
  phantoms: Readonly<Record<number, { misses: number; until: number }>>;
  /** By run: other tries that GitLab is asked for. */
  retrying: Readonly<Record<string, { nextAt: number; tries: number }>>;
  /** Nodes that do not answer: since when, counted once; a repeated probe does not start it anew. */
  away: Readonly<Record<NodeId, Away>>;
  /** Runs of the ledger that their node, alive and of the same boot, no longer names: since when. */
  missing: Readonly<Record<string, number>>;
  /** By run. */
  holds: Readonly<Record<string, Hold>>;
  /** Machines of the former era that have announced their runs to this leader: since when. */
  comingOver: Readonly<Record<NodeId, number>>;
  strays: Readonly<Record<number, Stray>>;
  /** Rescues of the ledger that GitLab was asked for: when to ask again. */
  rescuing: Readonly<Record<string, { nextAt: number; because: string }>>;
  comparedAt: number;
  /** Standbys of the mesh's GitLab that cannot take a round: since when. */
  unfit: Readonly<Record<NodeId, number>>;
  /** GitLab is being disconnected: when it is asked to delete the runners, and why it did not. */
  disconnect: { nextAt: number; tries: number; because: string | null };
}

export interface JobsState {
  asking: Asking;
  /** Of this agent process: wall clock and `at` of its first step. */
  since: { wallMs: number; at: number } | null;
  counter: number;
  /** Numbers of `persist` effects; far from those of the other half of the core. */
  seq: number;
  highestTerm: number;
  measured: { measured: Measured; addresses: string[]; version: string } | null;
  /** What this machine last said of the GitLab that it hosts. */
  gitlabSeen: GitlabSeen | null;
  /** Of one that it runs without the mesh, and whose backups are the mesh's. */
  protectedSeen: ProtectedSeen | null;
  /** And what it last said of the copies that it holds, and its owner of holding any. */
  standbySeen: StandbySeen | null;
  copiesSaid: 'never' | null;
  /** Memory in use when nothing of ours ran: what others need. */
  othersBytes: number | null;
  own: OwnState;
  /** Of the own report. `madeOf`: what the last one was made of, by identity; `isNews`: it has not been said yet. */
  gossip: { seq: number; at: number; key: string; toSay: boolean; madeOf: readonly unknown[]; isNews: boolean };
  /** Own report included, always fresh. */
  reports: Readonly<Record<NodeId, HeardReport>>;
  /** By node. Begun anew with each leadership of this node. */
  announced: Readonly<Record<NodeId, AnnouncedRuns>>;
  lead: LeadState | null;
  seen: { ledger: Ledger | null; committed: Ledger | null; leader: NodeId | null; term: number; mayAct: boolean };
  wakeAt: number;
}

/** The state with which an agent process starts; `asking` comes from disk. */
export const emptyJobs = (asking: Asking): JobsState => ({
  asking,
  since: null,
  counter: 0,
  seq: 1,
  highestTerm: 0,
  measured: null,
  gitlabSeen: null,
  protectedSeen: null,
  standbySeen: null,
  copiesSaid: null,
  othersBytes: null,
  own: {
    runs: {},
    reserved: {},
    usedGrants: asking.map((entry) => entry.grant),
    leftOver: asking,
    announcedAt: Number.NEGATIVE_INFINITY,
    announcedTo: null,
    announcedTerm: -1,
    hasUnannounced: false,
    trust: fullTrust,
  },
  gossip: { seq: 0, at: Number.NEGATIVE_INFINITY, key: '', toSay: false, madeOf: [], isNews: false },
  reports: {},
  announced: {},
  lead: null,
  seen: { ledger: null, committed: null, leader: null, term: -1, mayAct: false },
  wakeAt: Number.NEGATIVE_INFINITY,
});

export const noDisconnect: LeadState['disconnect'] = { nextAt: Number.NEGATIVE_INFINITY, tries: 0, because: null };

export const emptyLead = (term: number, at: number): LeadState => ({
  term,
  since: at,
  queue: {
    jobs: [],
    complete: true,
    freshAt: Number.NEGATIVE_INFINITY,
    askedAt: null,
    again: null,
    nextAt: at,
    because: 'this node leads now',
    failures: 0,
    failingSince: null,
    failedBecause: null,
    isRefused: false,
  },
  grants: {},
  adrift: {},
  classes: {},
  refused: {},
  failing: {},
  retrying: {},
  phantoms: {},
  away: {},
  missing: {},
  holds: {},
  comingOver: {},
  strays: {},
  rescuing: {},
  comparedAt: at,
  unfit: {},
  disconnect: noDisconnect,
});

const never = Number.NEGATIVE_INFINITY;
export const noAttempts: ClassAttempts = {
  misses: 0,
  missBecause: '',
  notBefore: never,
  emptyAt: never,
  nonce: null,
  made: null,
  createAskedAt: never,
  createTries: 0,
  createNotBefore: never,
  createBecause: null,
  deleteAskedAt: never,
  retiringSince: never,
  usedWallMs: 0,
  checkAt: null,
};

/** A record without one key. */
export function without<T>(record: Readonly<Record<string, T>>, key: string): Record<string, T> {
  const { [key]: _gone, ...rest } = record;
  return rest;
}

/** A run that takes room: its script may go on. A finished one only waits for GitLab to hear of it. */
export const isBusy = (run: Run): boolean => run.state === 'taken' || run.state === 'running';
/** A run that is not over: GitLab has no result of it yet. */
export const isOpen = (run: Run): boolean => isBusy(run) || run.state === 'finished';
/** A lost run of which GitLab is not known to know. */
export const isUntold = (run: Run): boolean => run.state === 'lost' && run.failedAtGitlab !== true;
