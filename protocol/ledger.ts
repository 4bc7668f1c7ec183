import { z } from 'zod';
import { AuditEntry } from './audit.ts';
import { BootId, ClassKey, JobId, NodeId, NodeName, Sentence, ShortId, StoreId, Tag, WallMs } from './ids.ts';
import { LedgerFault, Rescue, RunFault } from './job-fault.ts';
import { LedgerGitlab } from './ledger-gitlab.ts';
import { limits } from './limits.ts';
import { LedgerNotices } from './notices.ts';
import { Sealed } from './sealed.ts';
import { Stamp } from './stamp.ts';
import { sharedTimings } from './timings.ts';

/** One half of a configuration: weight 2 a voter, and 3 for at most one, the tie-breaker (SAFETY L4). */
export const Voters = z.record(NodeId, z.object({ store: StoreId, weight: z.int().min(2).max(3) }));
export type Voters = z.infer<typeof Voters>;

/** `next` is null in a simple configuration; in a joint one both halves need a majority of their own (SAFETY L2). */
export const Configuration = z.object({ voters: Voters, next: Voters.nullable() });
export type Configuration = z.infer<typeof Configuration>;

/** A recovery without quorum starts a new era; the higher counter wins (SAFETY L15). */
export const Era = z.object({ id: ShortId, counter: z.int().nonnegative().max(limits.counter) });
export type Era = z.infer<typeof Era>;

/** The last three digits of GitLab's epochs, after a recovery by force. */
export const highestSide = 999;

/** How the era of a ledger began: by force, on one node (SAFETY L15). */
const Recovery = z.looseObject({
  by: NodeId,
  at: WallMs,
  /** Stamp of the ledger that this era began with. What the former era decided after that ledger is lost. */
  from: z.object({ era: Era, stamp: Stamp }),
  /** The voters that a person had seen switched off. */
  off: z.array(NodeId).max(2 * limits.voters),
  /**
   * The machines of the former era that have not been heard in this one: one of them may lead there without knowing
   * (SAFETY J1). Absent: an older version recovered.
   */
  unseen: z.array(NodeId).max(limits.nodes).optional(),
  /** Of the last GitLab that was hosted by that ledger. Absent: there was none, or an older version recovered. */
  epoch: z.int().positive().max(limits.counter).optional(),
  /**
   * With what GitLab's epochs of this era end, another number on each machine: a person may have recovered on two that did not see each
   * other. Absent: an older version recovered.
   */
  side: z.int().positive().max(highestSide).optional(),
});

/**
 * What a node says that it can read. A new form of data is used when all nodes that must read it can. No more than 16: versions of
 * before read no longer list, and a ledger with one would stop them. One that every version of today has may give way to a new one,
 * and then whoever has that one has both: 'notices' stands where 'adopt' stood.
 */
export const abilities = [
  'envelopes',
  'disconnect',
  'hosting',
  'copies',
  'vault',
  'drill',
  'upgrade',
  'protect',
  'keep-vault',
  'notices',
  'move',
  'failover',
  'https',
  'ipv6',
  'forward',
  'adopt-data',
] as const;

export const LedgerNode = z.looseObject({
  name: NodeName,
  approvedAt: WallMs,
  /** Who let this node in, as a sentence for people. */
  because: Sentence,
  addresses: z.array(z.string().max(256)).max(limits.addresses),
  /** The store that this node named when it last introduced itself; its votes count for that store. */
  store: StoreId.nullable(),
  /** True for a node that votes and takes no jobs. */
  witness: z.boolean(),
  /** True while this machine is drained: it gets no new jobs, and does not vote. */
  drained: z.boolean(),
  /** True while the node is away after a polite leave (also shutdown and sleep): it is no voter until it is heard again. */
  left: z.boolean(),
  /** What this node's version can read, as it said itself; absent for older versions. */
  can: z.array(z.string().max(32)).max(64).optional(),
  /** Only while `left`: the node announced to be back within so many ms, and its runs are not lost before that (SAFETY J2). */
  backMs: z.number().nonnegative().optional(),
  /** ms from its last word to the first of another boot, the shortest that a leader has seen: so long its power may be away and back. */
  bootMs: z.number().nonnegative().max(limits.holdMs).optional(),
});
export type LedgerNode = z.infer<typeof LedgerNode>;

/** A machine that waits for a person (DESIGN §4). */
export const OpenApproval = z.looseObject({
  name: NodeName,
  address: z.string().max(256),
  words: z.string().max(128),
  since: WallMs,
  /** The member that the newcomer talks to. */
  via: NodeId,
  store: StoreId,
  addresses: z.array(z.string().max(256)).max(limits.addresses),
  witness: z.boolean(),
  ignored: z.boolean(),
});
export type OpenApproval = z.infer<typeof OpenApproval>;

/** A one-time invite. The code is sealed so that every member can check a newcomer's proof of it. */
const Invite = z.looseObject({ code: Sealed, expiresAt: WallMs, by: NodeId });

/** The GitLab runner of one class (SAFETY J7): creating -> ready -> retiring -> gone. */
export const LedgerClass = z.looseObject({
  tags: z.array(Tag).max(limits.tagsPerJob),
  state: z.enum(['creating', 'ready', 'retiring']),
  /** Stands in the runner's description, so that a runner can be found and deleted after a crash between creating and committing. */
  nonce: ShortId,
  runner: z.int().positive().nullable(),
  token: Sealed.nullable(),
  lastUsedAt: WallMs,
  /** True for a class whose token the user gave (`--runner-token-env`): it is never created or deleted by us. */
  given: z.boolean(),
  /** How many machines had been removed when this runner's token was made: machines that were removed later know the token. */
  epoch: z.int().nonnegative().optional(),
  /** Why GitLab does not take this runner's token any more. A new runner is being made, or, where the user gave the token, needed. */
  lost: Sentence.optional(),
});
export type LedgerClass = z.infer<typeof LedgerClass>;

/**
 * taken: GitLab gave it, the script has not begun. running. finished: the result is known, GitLab may not have it yet.
 * delivered: GitLab has it. lost: the leader failed it, its node was gone. discarded: GitLab disowned it (403).
 */
export const RunState = z.enum(['taken', 'running', 'finished', 'delivered', 'lost', 'discarded']);
export type RunState = z.infer<typeof RunState>;

export const RunResult = z.object({
  state: z.enum(['success', 'failed', 'canceled']),
  exitCode: z.int().nullable(),
  /** GitLab's failure_reason, when failed. */
  reason: z.string().max(64).nullable(),
  because: Sentence,
});
export type RunResult = z.infer<typeof RunResult>;

/** One run, as its node persists it, tells it to the leader, and as the ledger keeps it. */
export const Run = z.looseObject({
  /** Hash of (instance uuid, epoch, job id, token): GitLab's ids alone come again after a restore (SAFETY J8). */
  run: ShortId,
  job: JobId,
  projectId: z.int().nonnegative(),
  project: z.string().max(512),
  name: z.string().max(255),
  ref: z.string().max(255),
  /** GitLab's number of the pipeline that the job is of; absent where GitLab did not tell, and from earlier versions. */
  pipeline: z.int().positive().optional(),
  tags: z.array(Tag).max(limits.tagsPerJob),
  class: ClassKey,
  grant: ShortId,
  node: NodeId,
  token: Sealed,
  executor: z.string().max(32),
  state: RunState,
  frozen: z.boolean(),
  takenAt: WallMs,
  startedAt: WallMs.nullable(),
  finishedAt: WallMs.nullable(),
  result: RunResult.nullable(),
  /** Uuids of the GPUs that the run has. */
  gpus: z.array(z.string().max(128)).max(limits.gpus),
  because: Sentence,
  /** Boot id of the node's machine when the leader first heard of the run; set by the leader. When the machine has another one, the run is lost. */
  boot: BootId.optional(),
  /** Set by the leader once GitLab knows that a lost run is lost, so that a next leader need not say it again. */
  failedAtGitlab: z.boolean().optional(),
  /** Set by the leader when the job is being canceled at GitLab. The run's node then asks GitLab at once. */
  canceling: z.boolean().optional(),
  /** That it stands still for the owner of its machine, since when and what that frees; absent: it does not. */
  held: Sentence.optional(),
  /** Only of one that failed by no doing of its own; absent from earlier versions, whose jobs are not told apart. */
  fault: RunFault.optional(),
});
export type Run = z.infer<typeof Run>;

export const MeshSettings = z.looseObject({
  /** Ask GitLab to retry a job whose machine was lost, also when its `retry:` does not say so. */
  retryLost: z.boolean(),
  /** What a job without an arch tag means. */
  defaultArch: z.string().max(32),
  /** ms; how long GitLab's host may be away before GitLab moves where no machine is in sync, or none was heard before a power cut. */
  graceMs: z.number().nonnegative(),
  /** ms; the same where one is in sync; absent = `inSyncGraceMs`, and never more than `graceMs`. */
  inSyncGraceMs: z.number().nonnegative().optional(),
  /** False: GitLab moves when a person says so only. Absent = `movesByItself`. */
  failover: z.boolean().optional(),
  /** ms; a machine that does not answer at all keeps its jobs at least so long (SAFETY J1); absent = `silentMs.least`. */
  silentMs: z.number().nonnegative().optional(),
});
export type MeshSettings = z.infer<typeof MeshSettings>;
/** Below `least` a run could go on beside its retry: it is frozen after 2 s, by a watchdog that looks five times a second. */
export const silentMs = { least: sharedTimings.standsStillMs, most: 600_000 } as const;
export const inSyncGraceMs = 45_000;
/** Whether GitLab goes on elsewhere by itself; where it is not said otherwise. */
export const movesByItself = true;
export const defaultSettings: MeshSettings = { retryLost: false, defaultArch: 'amd64', graceMs: 120_000 };

/** Answer to a request by id, remembered so that "unknown" can be asked again (SAFETY L16). */
const RememberedRequest = z.object({ id: ShortId, because: Sentence });

/**
 * What was changed since machines were removed. `wanted` counts removals; `admin` is the count at which GitLab's token was
 * new; `keys` are the mesh keys since, newest last, each sealed for every member (node/secrets/envelope.ts).
 */
export const LedgerSecrets = z.looseObject({
  wanted: z.int().nonnegative(),
  admin: z.int().nonnegative(),
  keys: z.array(z.looseObject({ epoch: z.int().nonnegative(), sealed: z.record(NodeId, Sealed) })).max(3),
  /** The removals that `wanted` counts, as they stand in `forgotten`: an older leader removes and counts nothing. */
  counted: z.record(NodeId, WallMs).optional(),
});
export type LedgerSecrets = z.infer<typeof LedgerSecrets>;

/** What a person did that everybody should see for a while: a machine removed, a GitLab connected. */
export const Act = z.looseObject({ kind: z.string().max(32), at: WallMs, sentence: Sentence });
export type Act = z.infer<typeof Act>;

/**
 * The small replicated state: one document, replaced whole. Unknown fields are kept when it is passed on, so that a
 * newer version's data survives an older node (DESIGN §11).
 */
export const Ledger = z.looseObject({
  schema: z.int().positive(),
  era: Era,
  /** Absent while nobody ever recovered this mesh by force. */
  recovery: Recovery.optional(),
  stamp: Stamp,
  mesh: z.looseObject({ id: ShortId, name: z.string().min(1).max(limits.nameChars) }),
  configuration: Configuration,
  nodes: z.record(NodeId, LedgerNode),
  forgotten: z.record(NodeId, WallMs),
  /** Who removed each machine, where that was said. */
  forgottenBy: z.record(NodeId, Sentence).optional(),
  /** Absent while no machine was ever removed. */
  secrets: LedgerSecrets.optional(),
  /** The newest ones, the oldest of them first. */
  acts: z.array(Act).max(limits.acts).optional(),
  /** Who did what: the newest, as the voters write it down. Absent while nobody did anything, or of a mesh of before. */
  audit: z.array(AuditEntry).max(limits.audited).optional(),
  approvals: z.record(NodeId, OpenApproval),
  invites: z.record(ShortId, Invite),
  /** Until when machines of the same LAN are let in without a question; 0 = closed. */
  pairUntil: WallMs,
  settings: MeshSettings,
  gitlab: LedgerGitlab,
  classes: z.record(ClassKey, LedgerClass),
  runs: z.record(ShortId, Run),
  /** Whom the mesh tells that something is wrong, and what was told; absent while nobody is told. */
  notices: LedgerNotices.optional(),
  /** Rescues under the job's id; absent where there never was one. */
  rescues: z.record(z.string().regex(/^\d{1,16}$/), Rescue).optional(),
  /** Runs that failed by no doing of their own in the last hour; absent where there was none. */
  faults: z.record(ShortId, LedgerFault).optional(),
  /** Jobs finished on one UTC day (YYYY-MM-DD). */
  tally: z.looseObject({ day: z.string().max(10), done: z.int().nonnegative(), failed: z.int().nonnegative() }),
  requests: z.array(RememberedRequest).max(limits.rememberedRequests),
});
export type Ledger = z.infer<typeof Ledger>;
export const ledgerSchema = 1;
