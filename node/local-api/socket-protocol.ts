import { z } from 'zod';
import {
  AdoptFound,
  AdoptionState,
  AdoptWish,
  BackupId,
  BackupRow,
  ComparedId,
  DeployCheck,
  DeployWish,
  LeftFound,
  LeftWish,
  ProjectName,
} from '../../protocol/asks.ts';
import { Change } from '../../protocol/changes.ts';
import { FencedName } from '../../protocol/fenced.ts';
import { GitlabImageName } from '../../protocol/hosted-upgrade.ts';
import { JobId, Sentence } from '../../protocol/ids.ts';
import { JobWish } from '../../protocol/job-asks.ts';
import { HostedGitlab } from '../../protocol/ledger-gitlab.ts';
import { limits } from '../../protocol/limits.ts';
import { LeaderLossSeen } from '../../protocol/loss-seen.ts';
import { NoticeName, QuietHours } from '../../protocol/notices.ts';
import { ProtectedGitlab, ProtectedWay } from '../../protocol/protected-gitlab.ts';
import { LedgerVault } from '../../protocol/vault.ts';
import { pageLimits } from '../page/page-limits.ts';
import { roles } from '../page/page-types.ts';
import { ways } from '../settings/give-way.ts';

const dayMs = 86_400_000;

/** A person at this machine may ask for these; the others are the agents' own. */
const personal = [
  'approve',
  'ignore',
  'forget',
  'drain',
  'set',
  'pair',
  'start-gitlab-at',
  'clear-gitlab-flag',
  'quiet-hours',
] as const;
const what = z.enum(['gpu', 'all']);
const secret = z.string().min(1).max(4096);

/** `on`: a machine's name; null: this one. */
const machineName = z.string().min(1).max(64);

/** `on`: the machine that was named to a person as the one that keeps it. */
export const FencedRequest = z.strictObject({ name: FencedName, on: machineName.optional() });
export type FencedRequest = z.infer<typeof FencedRequest>;
/** PEM. */
const pem = z.string().max(64 << 10);
const GivenTls = z.strictObject({ certificate: pem, key: pem, ca: pem.optional() });

/** `copies`: machines that shall hold some; absent: the two that can. */
const DeployRequest = DeployWish.extend({
  on: machineName.nullable(),
  copies: z.array(machineName).max(limits.agreedCopies).optional(),
  /** In the place of `hostname`. */
  ipv6: HostedGitlab.shape.ipv6,
  /** For https. */
  tls: GivenTls.optional(),
});
export type DeployRequest = z.infer<typeof DeployRequest>;

/** `container` null: the only one there. */
const ProtectionRequest = z.strictObject({
  on: machineName.nullable(),
  container: ProtectedGitlab.shape.container.nullable(),
});
export type ProtectionRequest = z.infer<typeof ProtectionRequest>;

const AdoptRequest = AdoptWish.extend({ on: machineName.nullable() });
export type AdoptRequest = z.infer<typeof AdoptRequest>;

const RegainRequest = LeftWish.extend({ on: machineName.nullable() });
export type RegainRequest = z.infer<typeof RegainRequest>;

/** `target` null: backups go nowhere any more. */
const VaultRequest = z.strictObject({
  target: LedgerVault.shape.target.nullable(),
  password: z.string().min(16).max(256),
  isNew: z.boolean(),
  credentials: z.record(z.string().regex(/^[A-Z][A-Z0-9_]{1,63}$/), z.string().max(4096)),
  everyMs: LedgerVault.shape.everyMs,
  keep: LedgerVault.shape.keep,
});
export type VaultRequest = z.infer<typeof VaultRequest>;

/** `project`: that one alone, beside the present one. */
const RestoreRequest = z.strictObject({ backup: BackupId, project: ProjectName.optional() });
export type RestoreRequest = z.infer<typeof RestoreRequest>;
/** `rehearse`: each image of the way is tried on a clone first. */
const UpgradeRequest = z.strictObject({ image: GitlabImageName, rehearse: z.boolean() });
export type UpgradeRequest = z.infer<typeof UpgradeRequest>;

const PageRole = z.enum(roles);
export type PageRole = z.infer<typeof PageRole>;
/** `isArgument`: the address stood in a command line, where others may read it. */
const NoticeTargetRequest = z.strictObject({
  kind: z.string().min(1).max(32),
  name: NoticeName.nullable(),
  url: z.string().max(2048).nullable(),
  secret: z.string().max(1024).nullable(),
  /** Of mail. */
  to: z.string().max(254).optional(),
  from: z.string().max(254).optional(),
  isArgument: z.boolean(),
});
export type NoticeTargetRequest = z.infer<typeof NoticeTargetRequest>;

/** What each path of a POST takes. Anything else is refused at the door. */
export const bodies = {
  change: z.strictObject({
    change: Change.refine((change) => (personal as readonly string[]).includes(change.kind), {
      message: 'this change is not for people to ask',
    }),
  }),
  invite: z.strictObject({
    ttlMs: z.int().min(limits.inviteLeastMs).max(limits.inviteMostMs),
  }),
  gitlabConnect: z.strictObject({
    url: z.url({ protocol: /^https?$/ }).max(2048),
    token: secret.nullable(),
    runnerTokens: z
      .array(
        z.strictObject({ tags: z.array(z.string().min(1).max(limits.tagChars)).max(limits.tagsPerJob), token: secret }),
      )
      .max(limits.classes),
  }),
  gitlabDisconnect: z.strictObject({ now: z.boolean(), force: z.boolean() }),
  gitlabDeploy: DeployRequest,
  gitlabCertificate: z.strictObject({ given: GivenTls.nullable() }),
  gitlabCopies: z.strictObject({}),
  gitlabCopyPlan: z.strictObject({ node: machineName }),
  gitlabAgree: z.strictObject({ node: machineName, agreed: z.boolean() }),
  gitlabUninstall: z.strictObject({ deleteData: z.boolean(), now: z.boolean(), force: z.boolean() }),
  gitlabVault: VaultRequest,
  gitlabProtection: ProtectionRequest,
  gitlabProtect: ProtectionRequest,
  gitlabUnprotect: z.strictObject({}),
  gitlabAdopt: AdoptRequest,
  gitlabAdoption: z.strictObject({ on: machineName.nullable() }),
  gitlabRegain: RegainRequest,
  gitlabBackup: z.strictObject({}),
  gitlabBackups: z.strictObject({}),
  gitlabCompare: z.strictObject({ with: ComparedId, from: z.int().nonnegative() }),
  gitlabBringFenced: FencedRequest.extend({ project: ProjectName }),
  gitlabDropFenced: FencedRequest,
  gitlabRestore: RestoreRequest,
  gitlabDrill: z.strictObject({ on: machineName.nullable() }),
  gitlabUpgrade: UpgradeRequest,
  gitlabMove: z.strictObject({ node: machineName }),
  gitlabMoveCancel: z.strictObject({ node: machineName.nullable() }),
  gitlabRehearse: z.strictObject({ image: GitlabImageName }),
  gitlabRecoveryKey: z.strictObject({}),
  gitlabPassword: z.strictObject({
    seen: z.string().max(128).optional(),
    /** A new one for that user of GitLab's. */
    user: z.string().min(1).max(255).optional(),
  }),
  reconcile: z.strictObject({}),
  /** `project`: its path at GitLab; null: all. */
  clearCaches: z.strictObject({ project: z.string().min(1).max(512).nullable() }),
  webhookTest: z.strictObject({}),
  notifyAdd: NoticeTargetRequest,
  notifyRemove: z.strictObject({ name: NoticeName }),
  notifyTest: z.strictObject({ name: NoticeName.nullable() }),
  pause: z.strictObject({
    what,
    forMs: z
      .int()
      .min(1000)
      .max(365 * dayMs)
      .nullable(),
    /** What runs makes way too, as its owner has set it or as it is said. Absent where it does not: an agent of before refuses a word that it does not know. */
    now: z.union([z.literal(true), z.enum(ways)]).optional(),
  }),
  pausePlan: z.strictObject({ what, now: z.union([z.literal(true), z.enum(ways)]) }),
  resume: z.strictObject({ what }),
  recover: z.strictObject({ off: z.array(z.string().min(1).max(64)).max(limits.nodes) }),
  wish: JobWish,
  leave: z.strictObject({}),
  rehearsalPlan: z.strictObject({ what: z.enum(['leader-loss', 'host-loss']) }),
  rehearseLeaderLoss: z.strictObject({}),
  rehearsal: z.strictObject({}),
  /** `forMs` null: as long as is usual. */
  pageLink: z.strictObject({
    role: PageRole,
    forMs: z.int().min(pageLimits.sessionLeastMs).max(pageLimits.sessionMostMs).nullable(),
  }),
  /** `name` null: one is made. */
  pageKey: z.strictObject({
    role: PageRole,
    name: z.string().regex(pageLimits.keyName).nullable(),
  }),
  pageKeyRemove: z.strictObject({ name: z.string().min(1).max(40) }),
} as const;

export const PhaseAnswer = z.discriminatedUnion('phase', [
  z.object({ phase: z.literal('waiting'), words: z.string().nullable(), mesh: z.string().nullable() }),
  z.object({ phase: z.literal('joined') }),
]);
export type PhaseAnswer = z.infer<typeof PhaseAnswer>;

/** Every refusal and failure of the socket. */
export const Failure = z.object({
  error: z.object({ code: z.string(), message: Sentence, hint: Sentence }),
});
export type Failure = z.infer<typeof Failure>;

/** What becomes of each job that runs here. */
export const PausePlan = z.object({
  jobs: z.array(z.object({ job: JobId, way: z.enum(ways) })).max(limits.runsInFlight),
});
export type PausePlan = z.infer<typeof PausePlan>;

export const RecoveryAnswer = z.object({ refused: Sentence.nullable(), off: z.array(z.string()) });
export type RecoveryAnswer = z.infer<typeof RecoveryAnswer>;
export const WishAnswer = z.object({ said: Sentence, next: JobId.nullable() });
/** What a deployment found and will do; a line `fail` says that it would be refused. */
export const DeployPlan = z.object({
  host: z.string(),
  url: z.string(),
  folder: z.string(),
  /** Machines that will hold copies. */
  copies: z.array(z.string()),
  lines: z.array(DeployCheck).max(64),
});
export type DeployPlan = z.infer<typeof DeployPlan>;
/** Null: it was shown before, or GitLab is not that far. */
export const PasswordAnswer = z.object({ password: z.string().nullable() });
/** Machines that a person named for copies of GitLab. */
export const CopiesAnswer = z.object({ agreed: z.array(z.string()) });
export const CertificateAnswer = z.object({
  url: z.string(),
  issuer: z.string(),
  /** Wall time, ms. */
  endsAt: z.number(),
  words: z.string(),
});
export type CertificateAnswer = z.infer<typeof CertificateAnswer>;
export const CopyPlan = z.object({ node: z.string(), lines: z.array(DeployCheck).max(64) });
export type CopyPlan = z.infer<typeof CopyPlan>;
/** `target`: where backups go already. `found`: the container that is meant. */
export const ProtectPlan = z.object({
  host: z.string(),
  target: z.string().nullable(),
  found: z
    .object({ container: z.string(), folder: z.string(), way: ProtectedWay, keeps: z.boolean().optional() })
    .nullable(),
  lines: z.array(DeployCheck).max(64),
});
export type ProtectPlan = z.infer<typeof ProtectPlan>;
/** What was found of a GitLab that shall be the mesh's; a line `fail` says that it would be refused. */
export const AdoptPlan = z.object({
  host: z.string(),
  url: z.string().nullable(),
  found: AdoptFound.nullable(),
  lines: z.array(DeployCheck).max(64),
});
export type AdoptPlan = z.infer<typeof AdoptPlan>;

/** `isPlace` false: nothing there was made by a mesh. `found` null: it cannot be taken over. */
export const RegainPlan = z.object({
  host: z.string(),
  isPlace: z.boolean(),
  found: LeftFound.nullable(),
  url: z.string().nullable(),
  lines: z.array(DeployCheck).max(64),
});
export type RegainPlan = z.infer<typeof RegainPlan>;
export const AdoptionAnswer = AdoptionState.extend({ host: z.string() });
export type AdoptionSeen = z.infer<typeof AdoptionAnswer>;
export const BackupsAnswer = z.object({ rows: z.array(BackupRow), problem: Sentence.nullable() });
export type BackupList = z.infer<typeof BackupsAnswer>;
export const DrillAnswer = z.object({ node: z.string(), said: z.string() });
/** What an upgrade found and will do; a line `fail` says that it would be refused. */
export const UpgradePlan = z.object({
  host: z.string(),
  from: z.string().nullable(),
  steps: z.array(z.string()),
  awayMs: z.number(),
  lines: z.array(DeployCheck).max(64),
});
export type UpgradePlan = z.infer<typeof UpgradePlan>;
/** What a move found and will do; a line `fail` says that it would be refused. `url`: where GitLab is then. */
export const MovePlan = z.object({
  host: z.string(),
  to: z.string(),
  url: z.string(),
  /** It is another address than now. */
  isOtherUrl: z.boolean(),
  /** How long nobody is served, as far as the last start tells; null where nobody knows. */
  awayMs: z.number().nullable(),
  lines: z.array(DeployCheck).max(64),
});
export type MovePlan = z.infer<typeof MovePlan>;
/** What a rehearsal would do, and what speaks against it: a line `fail` says that it is refused. */
export const RehearsalPlan = z.object({
  /** The machine whose loss it is. */
  whose: z.string().nullable(),
  /** Of GitLab's host: where it would go on, and after so long a silence, ms. */
  to: z.string().nullable(),
  graceMs: z.number().nullable(),
  /** ms of silence after which it is booted there; null: not before it goes on there. */
  besideMs: z.number().nullable(),
  lines: z.array(DeployCheck).max(64),
});
export type RehearsalPlan = z.infer<typeof RehearsalPlan>;
/** Null while nobody who could tell can be asked. */
export const RehearsalAnswer = z.object({ seen: LeaderLossSeen.nullable() });
export const RecoveryKeyAnswer = z.object({ key: z.string() });
/** What a machine keeps of its jobs' caches. Bytes, and wall ms. */
export const CachesAnswer = z.object({
  limitBytes: z.number(),
  count: z.int(),
  bytes: z.number(),
  /** The last used first; at most a thousand. */
  rows: z.array(
    z.object({
      project: z.string(),
      key: z.string(),
      sizeBytes: z.number(),
      savedAt: z.number(),
      usedAt: z.number(),
    }),
  ),
});
export type CachesAnswer = z.infer<typeof CachesAnswer>;
/** `urls`: by each address of it, the likeliest first. `beyond`: it is reached from other machines, by plain http. */
export const PageLink = z.object({
  urls: z.array(z.string()).min(1),
  role: PageRole,
  goodUntil: z.number(),
  forMs: z.number(),
  beyond: z.boolean(),
});
export type PageLink = z.infer<typeof PageLink>;
export const PageKeyAnswer = z.object({ key: z.string(), name: z.string(), url: z.string() });
/** `usedAt`: since the agent began. */
const PageAccessRow = z.object({
  name: z.string(),
  kind: z.enum(['session', 'key']),
  role: PageRole,
  madeAt: z.number(),
  until: z.number().nullable(),
  usedAt: z.number().nullable(),
});
export type PageAccessRow = z.infer<typeof PageAccessRow>;
export const PageKeysAnswer = z.object({ rows: z.array(PageAccessRow) });
export const SaidAnswer = z.object({ said: Sentence });
export const DoorsTested = z.object({
  rows: z.array(z.object({ node: z.string(), url: z.string().nullable(), ok: z.boolean(), said: Sentence })),
});
/** Whom the mesh tells, without any secret; wall ms. `waiting`: notices that it has not got yet; `failing`: since when it cannot be told; `heard`: since when something reaches it, null where nothing has. */
export const NoticesAnswer = z.object({
  rows: z.array(
    z.object({
      ...{ name: z.string(), kind: z.string(), shown: z.string(), since: z.number(), because: z.string() },
      waiting: z.number(),
      failing: z.object({ since: z.number(), because: z.string() }).nullable(),
      heard: z.number().nullable(),
    }),
  ),
  quiet: QuietHours.nullable(),
});
export type NoticesAnswer = z.infer<typeof NoticesAnswer>;
export const NoticesTested = z.object({
  rows: z.array(z.object({ name: z.string(), kind: z.string(), shown: z.string(), ok: z.boolean(), said: Sentence })),
});
export const InviteAnswer = z.object({ code: z.string(), expiresAt: z.number() });
export type InviteAnswer = z.infer<typeof InviteAnswer>;
