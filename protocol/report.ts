import { z } from 'zod';
import { FencedName, FencedSeen, fencedMost } from './fenced.ts';
import {
  BootId,
  Bytes,
  ClassKey,
  DataId,
  JobId,
  NodeId,
  NodeName,
  Sentence,
  ShortId,
  StoreId,
  Tag,
  WallMs,
} from './ids.ts';
import { RunState } from './ledger.ts';
import { limits } from './limits.ts';
import { ProtectedWay } from './protected-gitlab.ts';
import { RoundName } from './round-name.ts';

export const Gpu = z.looseObject({
  uuid: z.string().min(1).max(128),
  vendor: z.enum(['nvidia', 'amd', 'intel']),
  model: z.string().max(128),
  memoryBytes: Bytes,
});
export type Gpu = z.infer<typeof Gpu>;

/** Name of the owner's program that uses a GPU: the last part of its path. */
const GpuUser = z.string().max(64);

export const GpuRoom = z.looseObject({
  uuid: z.string().min(1).max(128),
  memoryBytes: Bytes,
  busyPercent: z.number().min(0).max(100),
  /** True while a process that is no run of ours uses the GPU: the owner comes first. */
  foreign: z.boolean(),
  usedBy: GpuUser.optional(),
  problem: Sentence.optional(),
  /** The run or grant that has the GPU; absent when it is free. A GPU belongs to one run at a time, but for `shared`. */
  held: z.string().max(128).optional(),
  /** All who have it have said how much of its memory they need: of how many runs, and how much together. Another may come where the machine shares its GPUs. */
  shared: z.looseObject({ runs: z.int().positive(), bytes: Bytes }).optional(),
});
export type GpuRoom = z.infer<typeof GpuRoom>;

export const Capacity = z.looseObject({
  cpuMillis: z.number().nonnegative(),
  memoryBytes: Bytes,
  diskBytes: Bytes,
  gpus: z.array(Gpu).max(limits.gpus),
});
export type Capacity = z.infer<typeof Capacity>;

export const Room = z.looseObject({
  cpuMillis: z.number().nonnegative(),
  memoryBytes: Bytes,
  diskBytes: Bytes,
  gpus: z.array(GpuRoom).max(limits.gpus),
});
export type Room = z.infer<typeof Room>;

/** What the shell measures about its own machine (DESIGN §5); the core derives room from it and from what runs. */
export const Measured = z.looseObject({
  arch: z.string().max(32),
  os: z.string().max(64),
  capacity: Capacity,
  /** What is in use by anything, ours or not: memory and disk in bytes, CPU in thousandths of a core. */
  usedCpuMillis: z.number().nonnegative(),
  usedMemoryBytes: Bytes,
  usedDiskBytes: Bytes,
  /** Per GPU: bytes used, percent busy, and whether some of it is used by a process that is no run of ours. */
  gpus: z
    .array(
      z.looseObject({
        uuid: z.string().max(128),
        usedBytes: Bytes,
        busyPercent: z.number().min(0).max(100),
        foreign: z.boolean(),
        usedBy: GpuUser.optional(),
        /** Why this card cannot be used now, in the driver's words; `foreign` is true as well then, for nodes that do not know this field. */
        problem: Sentence.optional(),
      }),
    )
    .max(limits.gpus),
  /** What is wrong with GPUs here, in sentences; absent when all is well. A card that failed stays in `capacity`. */
  gpuProblems: z.array(Sentence).max(8).optional(),
  /**
   * Why this machine takes no jobs now, though it is willing: what is away or full (`about`, e.g. `git-away`). Absent when
   * all is well. `executors` is empty meanwhile, for nodes that do not know this field.
   */
  workProblems: z
    .array(z.looseObject({ about: z.string().max(32), sentence: Sentence }))
    .max(8)
    .optional(),
  labels: z.array(Tag).max(limits.labels),
  executors: z.array(z.string().max(32)).max(8),
  /** Two runs may have one of its GPUs, where both say how much of its memory they need; absent: none, or of an earlier version. */
  sharesGpus: z.literal(true).optional(),
  /** Runtimes of its engine by which jobs can be isolated more than by a container; absent: none, or of an earlier version. */
  runtimes: z.array(z.string().max(64)).max(16).optional(),
  maxRuns: z.int().positive().nullable(),
  /** It gives caches of its jobs to other machines; absent where it does not, and of earlier versions. */
  caches: z.literal(true).optional(),
  /** Memory that is never given to jobs. */
  reserveMemoryBytes: Bytes,
  owner: z.enum(['away', 'present', 'playing']),
  /** What plays, where `owner` says so, as a part of a sentence: a program's name, `GameMode: NAME`, `a full-screen window`. Absent of earlier versions. */
  plays: Sentence.optional(),
  /** What the owner switched off: nothing, new GPU work, or all new work; with the sentence that says so. */
  paused: z.enum(['no', 'gpu', 'all']),
  pausedBecause: Sentence.nullable(),
  /** False when this node answers but cannot work (disk full, store failing): it must not lead, nor get jobs. */
  healthy: z.boolean(),
  unhealthyBecause: Sentence.nullable(),
});
export type Measured = z.infer<typeof Measured>;

/** The rounds of a hosted GitLab as its host sees them: what would be lost if it died now. */
export const CopiesSeen = z.looseObject({
  newest: RoundName.nullable(),
  /** Whether an acknowledged push is on another machine, and until when (by the host's wall clock) all else is. */
  arePushesSafe: z.boolean(),
  safeUntil: WallMs.nullable(),
  standbys: z
    .array(
      z.looseObject({
        node: NodeId,
        round: RoundName.nullable(),
        /** When the host took that round. */
        takenAt: WallMs.nullable(),
        state: z.enum(['in-sync', 'catching-up', 'behind', 'away', 'full', 'refused']),
        because: Sentence,
        /** Of a whole copy under way. */
        progress: z.looseObject({ doneBytes: Bytes, totalBytes: Bytes.nullable() }).nullable(),
      }),
    )
    .max(limits.standbys),
  /** Why these data cannot be protected at all. */
  problem: Sentence.nullable(),
});
export type CopiesSeen = z.infer<typeof CopiesSeen>;

/** One thing that a drill looked at. */
export const DrillStep = z.looseObject({
  step: z.string().max(32),
  state: z.enum(['ok', 'warn', 'fail']),
  ms: z.number().nonnegative(),
  sentence: Sentence,
});
export type DrillStep = z.infer<typeof DrillStep>;

/** How a drill ended that came to a verdict: GitLab works from that round, or what of it does not. */
export const DrillVerdict = z.looseObject({
  at: WallMs,
  /** Null: from the living data of its host. */
  round: RoundName.nullable(),
  isProven: z.boolean(),
  because: Sentence,
  steps: z.array(DrillStep).max(16),
});
export type DrillVerdict = z.infer<typeof DrillVerdict>;

/** What a machine says of its drills: GitLab tried from what lies there, without network. */
export const DrillSeen = z.looseObject({
  last: DrillVerdict.nullable(),
  /** The newest that proved it. */
  proven: z.looseObject({ at: WallMs, round: RoundName.nullable() }).nullable(),
  doing: z.looseObject({ phase: z.string().max(200), steps: z.array(DrillStep).max(16) }).nullable(),
  /** The last that was ended before it had a verdict, and why. */
  ended: z.looseObject({ at: WallMs, because: Sentence }).nullable(),
  /** Why one that is due does not begin. */
  waits: Sentence.nullable(),
});
export type DrillSeen = z.infer<typeof DrillSeen>;

/** GitLab, booted beside the grace of its silent host. `since`: by its own wall clock; both null while it boots none, `waits` says why it would not. */
export const BesideSeen = z.looseObject({
  round: RoundName.nullable(),
  since: WallMs.nullable(),
  /** It works, and would serve at once. */
  isUp: z.boolean(),
  waits: Sentence.nullable(),
});
export type BesideSeen = z.infer<typeof BesideSeen>;

/** What a machine says of holding copies of a GitLab that another one runs. */
export const StandbySeen = z.looseObject({
  data: DataId,
  /** Its newest whole round, with when it was taken, by the host's wall clock. */
  newest: z.looseObject({ round: RoundName, takenAt: WallMs }).nullable(),
  freeBytes: Bytes,
  /** Why it holds none, or no newer one. */
  problem: Sentence.nullable(),
  /** Absent of an earlier version. */
  drill: DrillSeen.optional(),
  /** Absent where it keeps nothing that it served. */
  fenced: z.array(FencedSeen).max(fencedMost).optional(),
  /** What the ledger calls not looked at, and is here no more: a person deleted it. Absent: nothing. */
  unkept: z.array(FencedName).max(fencedMost).optional(),
  beside: BesideSeen.optional(),
});
export type StandbySeen = z.infer<typeof StandbySeen>;

/** What the host of the mesh's GitLab says of its backups. */
export const VaultSeen = z.looseObject({
  last: z.looseObject({ id: z.string().max(64), at: WallMs }).nullable(),
  /** When a part of the repository was read back whole. */
  checkedAt: WallMs.nullable(),
  doing: z
    .looseObject({
      what: z.enum(['backup', 'check', 'restore']),
      phase: z.string().max(200),
      percent: z.number().min(0).max(100).nullable(),
    })
    .nullable(),
  /** Why the last one failed, or why there can be none. */
  problem: Sentence.nullable(),
  /** What the machine that keeps them says of them; absent where none does, and until it was asked. */
  kept: Sentence.optional(),
  /** How the last restore ended that was asked of this agent. */
  restored: z.looseObject({ backup: z.string().max(64), isDone: z.boolean(), because: Sentence }).nullable(),
});
export type VaultSeen = z.infer<typeof VaultSeen>;

/** What it says of an upgrade that it is at, and of the last rehearsal that was asked of its agent. */
export const UpgradeSeen = z.looseObject({
  doing: z
    .looseObject({
      what: z.enum(['upgrade', 'rehearsal']),
      to: z.string().max(64),
      phase: z.string().max(200),
      percent: z.number().min(0).max(100).nullable(),
    })
    .nullable(),
  rehearsed: z
    .looseObject({ image: z.string().max(512), isDone: z.boolean(), because: Sentence, tookMs: z.number().nullable() })
    .nullable(),
});
export type UpgradeSeen = z.infer<typeof UpgradeSeen>;

/** How far a planned move is, at the machine that hosts now: `phase` in words. */
export const MoveSeen = z.looseObject({
  phase: z.string().max(200),
  percent: z.number().min(0).max(100).nullable(),
});
export type MoveSeen = z.infer<typeof MoveSeen>;

/** What the host of the mesh's GitLab says of it, with the cause in words. */
export const GitlabSeen = z.looseObject({
  data: DataId,
  epoch: z.int().positive(),
  state: z.enum(['deploying', 'healthy', 'degraded', 'failed', 'repairing']),
  because: Sentence,
  since: WallMs,
  version: z.string().max(64).nullable(),
  /** How far a long step is: `phase` in words. */
  progress: z.looseObject({ phase: z.string().max(200), percent: z.number().min(0).max(100).nullable() }).nullable(),
  /** Absent while nobody holds copies of it, and of an earlier version. */
  copies: CopiesSeen.optional(),
  /** Absent while there is no place for backups. */
  vault: VaultSeen.optional(),
  /** How often work that GitLab has queued is on its own disk; absent while it was not looked at, and of an earlier version. */
  queued: z.looseObject({ each: z.enum(['second', 'minute']), because: Sentence }).optional(),
  /** Of the list of users and groups: what GitLab does not take, and what it has in another way. Absent: nothing of either. */
  people: z.looseObject({ problems: z.array(Sentence).max(8), differences: z.array(Sentence).max(8) }).optional(),
  /** That the certificate of its address ends soon, or has ended; absent: there is time, or none is needed. */
  certificate: Sentence.optional(),
  /** Why no push waits for a copy, whatever copies there are; absent: each does, or of an earlier version. */
  unheld: Sentence.optional(),
  /** Absent while a person asked for none on the host itself. */
  drill: DrillSeen.optional(),
  /** Absent while none was asked for. */
  upgrade: UpgradeSeen.optional(),
  /** Absent while it moves nowhere. */
  move: MoveSeen.optional(),
  /** What it served in an epoch before, and keeps; absent: nothing. */
  fenced: z.array(FencedSeen).max(fencedMost).optional(),
  /** What the ledger calls not looked at, and is here no more: a person deleted it. Absent: nothing. */
  unkept: z.array(FencedName).max(fencedMost).optional(),
});
export type GitlabSeen = z.infer<typeof GitlabSeen>;

/** What a machine says of a GitLab that runs there without the mesh, and whose backups are the mesh's. */
export const ProtectedSeen = z.looseObject({
  data: DataId,
  /** Exact, as its container has it; null while nobody knows it. */
  version: z.string().max(64).nullable(),
  /** How its backups are made; null while it is not known. */
  way: ProtectedWay.nullable(),
  /** Why in this way, and what that costs. */
  because: Sentence,
  /** Why none can be made now: its container is gone, or has stopped. */
  missing: Sentence.nullable(),
  vault: VaultSeen,
  /** Snapshots beside its data, where they are kept. `problem`: why none is made now. */
  kept: z
    .object({
      folder: z.string().max(1024),
      snapshots: z.int().nonnegative(),
      oldest: WallMs.nullable(),
      newest: WallMs.nullable(),
      problem: Sentence.nullable(),
    })
    .optional(),
});
export type ProtectedSeen = z.infer<typeof ProtectedSeen>;

/** What a node gossips about itself. May be lost, is never trusted from a non-member (DESIGN §5). */
export const Report = z.looseObject({
  v: z.literal(1),
  node: NodeId,
  name: NodeName,
  boot: BootId,
  store: StoreId,
  /** Rises with every report of one agent process; an older one is dropped. */
  seq: z.int().nonnegative(),
  /** When this agent process started, so that a restarted agent's seq 0 beats the old process's. */
  since: WallMs,
  wallMs: WallMs,
  version: z.string().max(64),
  addresses: z.array(z.string().max(256)).max(limits.addresses),
  measured: Measured,
  room: Room,
  runs: z.array(z.object({ run: ShortId, job: JobId, class: ClassKey, state: RunState })).max(limits.runsInFlight),
  /** Grants that hold room here but have no job yet (SAFETY J5: a new leader starts from these). */
  reserved: z.array(z.object({ grant: ShortId, class: ClassKey })).max(limits.runsInFlight),
  /** Only from the leader: what it knows of GitLab's queue, so that every node can show it. */
  queue: z
    .looseObject({
      waiting: z.int().nonnegative(),
      gitlab: z.enum(['healthy', 'degraded', 'failed']),
      because: Sentence.nullable(),
      /** GitLab answers, and refuses the mesh's token. */
      refused: z.boolean().optional(),
    })
    .optional(),
  /** Only from the host of the mesh's GitLab. */
  gitlab: GitlabSeen.optional(),
  /** Only from the machine of a GitLab that runs without the mesh and is backed up by it. */
  protected: ProtectedSeen.optional(),
  /** Only from a machine that holds copies of it, or shall. */
  standby: StandbySeen.optional(),
  /** What the owner of this machine says of copies on it; absent: a person at any machine may name it. */
  copies: z.enum(['never']).optional(),
});
export type Report = z.infer<typeof Report>;
