import { z } from 'zod';
import { Comparison } from './differences.ts';
import { FencedName } from './fenced.ts';
import { GitlabImageName } from './hosted-upgrade.ts';
import { Bytes, DataId, NodeId, NodeName, Sentence, ShortId, WallMs } from './ids.ts';
import { JobAnswer, JobAsk } from './job-asks.ts';
import { HostedGitlab } from './ledger-gitlab.ts';
import { limits } from './limits.ts';
import { LeaderLossSeen, SilentMs } from './loss-seen.ts';
import { KnownAct } from './notices.ts';
import { ProtectedGitlab, ProtectedWay } from './protected-gitlab.ts';
import { LedgerVault } from './vault.ts';

/** A GitLab that a person wants; null: as the machine chooses that shall run it. */
export const DeployWish = z.strictObject({
  image: HostedGitlab.shape.image,
  preset: HostedGitlab.shape.preset,
  port: HostedGitlab.shape.port,
  sshPort: HostedGitlab.shape.sshPort,
  httpPort: HostedGitlab.shape.httpPort,
  hostname: HostedGitlab.shape.hostname.nullable(),
  data: HostedGitlab.shape.place.shape.path.nullable(),
});
export type DeployWish = z.infer<typeof DeployWish>;

/** A GitLab in a container there that shall be the mesh's. `container` null: the only one there; all else as in `DeployWish`. */
export const AdoptWish = z.strictObject({
  container: ProtectedGitlab.shape.container.nullable(),
  preset: HostedGitlab.shape.preset,
  hostname: DeployWish.shape.hostname,
  data: DeployWish.shape.data,
});
export type AdoptWish = z.infer<typeof AdoptWish>;

/** GitLab's data of a mesh that is gone, in `data`. `image` null: as their version says. */
export const LeftWish = DeployWish.extend({
  image: DeployWish.shape.image.nullable(),
  data: HostedGitlab.shape.place.shape.path,
});

/** What lies there. `round`: the newest; of copies GitLab begins with that. `at`: as far as is told when GitLab last wrote; 0 where it is not. */
export const LeftFound = z.object({
  path: LeftWish.shape.data,
  mesh: z.string().max(128),
  data: DataId,
  what: z.enum(['host', 'copies']),
  epoch: z.int().positive(),
  round: z.string().max(64).nullable(),
  at: z.number().nonnegative(),
  version: z.string().max(64).nullable(),
  image: HostedGitlab.shape.image,
});
export type LeftFound = z.infer<typeof LeftFound>;

/** What would be taken over. `awayMs`: for how long GitLab is away; null: not known. */
export const AdoptFound = z.object({
  container: z.string().max(128),
  image: z.string().max(512),
  hostname: HostedGitlab.shape.hostname,
  port: HostedGitlab.shape.port,
  folder: z.string().max(1024),
  awayMs: z.number().nonnegative().nullable(),
});

/** `returned`: the old container was brought back, and why. `phase` is for people, `problem` why it does not go on. */
export const AdoptionState = z.object({
  state: z.enum(['none', 'under-way', 'served', 'returned']),
  phase: Sentence,
  percent: z.number().min(0).max(100).nullable(),
  because: Sentence,
  problem: Sentence.nullable(),
});

/** One thing that was looked at before GitLab is deployed: `fail` refuses it, and `fix` says what helps. */
export const DeployCheck = z.object({
  state: z.enum(['ok', 'warn', 'fail']),
  what: z.string().max(32),
  sentence: Sentence,
  fix: Sentence.nullable(),
});
export type DeployCheck = z.infer<typeof DeployCheck>;

/** A backup as restic names it, the data of an epoch that a restore has replaced, or a round (round-name.ts). */
export const BackupId = z.string().regex(/^([0-9a-f]{6,64}|replaced-[1-9]\d{0,15}|round(-(0|[1-9]\d{0,11})){3})$/);

/** A path with namespace as GitLab has them, or an id. */
export const ProjectName = z.string().regex(/^(?!.*\/\/)[A-Za-z0-9_][\w./-]{0,500}$/);

/** What GitLab can be compared with. */
export const ComparedId = z.union([BackupId, FencedName]);

/** One that GitLab can be made of again. */
export const BackupRow = z.object({
  id: BackupId,
  at: WallMs,
  /** GitLab's exact version, without which it is not taken; null where nobody knows it. */
  version: z.string().max(64).nullable(),
  epoch: z.int().nonnegative(),
  /** Of the GitLab that runs now, and not of another one that this mesh had. */
  isOwn: z.boolean(),
  because: Sentence,
  /** Of a round: the machines that are known to hold it, the host's own name first where it does. Absent of all else. */
  on: z
    .array(NodeName)
    .max(limits.standbys + 1)
    .optional(),
});
export type BackupRow = z.infer<typeof BackupRow>;

/** How a machine calls the folder of a project's caches, and a cache in it: a sum. */
const CacheSum = z.string().regex(/^[0-9a-f]{40}$/);

/** Questions between members that need no ledger change; one request and one answer on a stream of their own. */
export const Ask = z.discriminatedUnion('kind', [
  ...JobAsk.options,
  /** To a machine that shall run GitLab: whether it can, and where its data would lie. Changes nothing. */
  z.object({ kind: z.literal('check-deploy'), wish: DeployWish }),
  /** To the host of the mesh's GitLab: look at it now, and mend what is wrong. */
  z.object({ kind: z.literal('look-at-gitlab') }),
  /** To the same: root's first password, until it is said that a person has `seen` it, by what was seen. */
  z.object({ kind: z.literal('root-password'), seen: z.string().max(128).optional() }),
  /** To the same: another password for that user of GitLab; answered as `root-password`. */
  z.object({ kind: z.literal('new-password'), user: z.string().min(1).max(255) }),
  /** To a machine that may hold copies of a hosted GitLab: whether it can, and in words where they would lie. `bytes`: what they may become. `door`: one to try shall be opened. Changes nothing. */
  z.object({ kind: z.literal('check-copies'), data: DataId, bytes: Bytes, door: z.boolean().optional() }),
  /** From the host to a standby: a connection of its own for rounds (node/hosting/wire). */
  z.object({ kind: z.literal('open-copy-door'), data: DataId, epoch: z.int().positive() }),
  /** To a machine that says that it gives caches of jobs: whether it keeps one since `than`. `zstd`: who asks can read one packed so. */
  z.object({ kind: z.literal('find-cache'), owner: CacheSum, key: CacheSum, than: WallMs, zstd: z.boolean() }),
  /** To the same: a connection of its own on which it gives that one; answered as `open-copy-door`. */
  z.object({ kind: z.literal('open-cache-door'), owner: CacheSum, key: CacheSum }),
  /** From a member to the host of the mesh's GitLab: where its gate takes what comes to GitLab's ports on that member (node/hosting/forward). */
  z.object({ kind: z.literal('open-forward-door') }),
  /**
   * From the machine that makes backups of GitLab to the one that keeps them: a connection of its own for restic. `begin`: only to
   * see whether a repository is there, or to make one.
   */
  z.object({ kind: z.literal('open-vault-door'), purpose: z.enum(['begin', 'use']) }),
  /**
   * To the host of the mesh's GitLab: backups shall go there. It looks whether they can, makes the repository, and asks the mesh.
   * `password`: of one that is there, or for a new one. `credentials`: variables that open the target.
   */
  z.object({
    kind: z.literal('begin-vault'),
    target: LedgerVault.shape.target,
    password: z.string().min(16).max(256),
    isNew: z.boolean(),
    credentials: z.record(z.string().regex(/^[A-Z][A-Z0-9_]{1,63}$/), z.string().max(4096)),
    everyMs: LedgerVault.shape.everyMs,
    keep: LedgerVault.shape.keep,
  }),
  /** To the same: one backup now, beside those that are due. */
  z.object({ kind: z.literal('backup-now') }),
  /** To the same: which backups there are. `rounds`: rounds too, by names that an earlier version takes for no backup's. */
  z.object({ kind: z.literal('backups'), rounds: z.boolean().optional() }),
  /** To the same: GitLab as it was in that backup. What is now is kept beside it. */
  z.object({ kind: z.literal('restore-gitlab'), backup: BackupId }),
  /** To the same: what is not as it was then; from that row on. `with`: also `fenced-EPOCH`. */
  z.object({ kind: z.literal('compare-gitlab'), with: ComparedId, from: z.int().nonnegative() }),
  /**
   * To the same: one project as it was then, beside the present one. `project`: its path with namespace, or the id of one that is gone.
   */
  z.object({ kind: z.literal('restore-project'), backup: BackupId, project: ProjectName }),
  /** To a machine that keeps what it served in an epoch before: what of it is not as in what serves now; from that row on. */
  z.object({ kind: z.literal('compare-fenced'), with: FencedName, from: z.int().nonnegative() }),
  /** To the same: one project of it beside the present one. How it ends stands in its report. */
  z.object({ kind: z.literal('bring-fenced'), name: FencedName, project: ProjectName }),
  /** To the same: it is deleted for good, as a person said. */
  z.object({ kind: z.literal('drop-fenced'), name: FencedName }),
  /** To a machine that has GitLab's data, as its host or as a copy: try them now. How it ends stands in its report. */
  z.object({ kind: z.literal('drill-gitlab'), data: DataId }),
  /** To the same: whether GitLab there can become that image, and by way of which. Changes nothing. */
  z.object({ kind: z.literal('check-upgrade'), image: GitlabImageName, rehearse: z.boolean() }),
  /** To the same: it is tried on a clone, beside what serves, and nothing is changed. */
  z.object({ kind: z.literal('rehearse-upgrade'), image: GitlabImageName }),
  /** To a machine on which a GitLab runs without the mesh: whether its backups can be the mesh's. Changes nothing. */
  z.object({ kind: z.literal('check-protect'), container: ProtectedGitlab.shape.container.nullable() }),
  /** To the host of the mesh's GitLab, and to the machine to which it shall move: what speaks against that. Changes nothing. */
  z.object({ kind: z.literal('check-move'), data: DataId, to: NodeId }),
  /** To the machine to which it moves: whether it could start it now. */
  z.object({ kind: z.literal('move-ready'), data: DataId, epoch: z.int().positive() }),
  /** To the host of the mesh's GitLab: a person wants that move no more. Answered as `said` while its gate is open for all. */
  z.object({ kind: z.literal('cancel-move'), data: DataId, to: NodeId }),
  /** To a machine on which a GitLab runs without the mesh: whether it can become the mesh's. Changes nothing. */
  z.object({ kind: z.literal('check-adopt'), wish: AdoptWish }),
  /** To the same: begin it. How far it is, is asked by `adoption`. */
  z.object({ kind: z.literal('begin-adopt'), wish: AdoptWish }),
  z.object({ kind: z.literal('adoption') }),
  /** To a machine with GitLab's data of a mesh that is gone: what they are, and whether GitLab can run on them there. */
  z.object({ kind: z.literal('check-left'), wish: LeftWish }),
  /** To the same: they are this mesh's from now on, if they are still what was found. */
  z.object({
    kind: z.literal('take-left'),
    path: LeftWish.shape.data,
    mesh: LeftFound.shape.mesh,
    data: DataId,
    epoch: LeftFound.shape.epoch,
  }),
  /** From the leader to a machine: a link that is a button of a notice about it, where others reach its page. */
  z.object({ kind: z.literal('notice-link'), act: KnownAct }),
  /** To any member: the end of its agent's own log. */
  z.object({ kind: z.literal('log'), lines: z.int().positive().max(1000) }),
  /** To a machine that votes and does not lead: have the one that leads fall silent, and watch. How far it is, is asked by `rehearsal`. */
  z.object({ kind: z.literal('rehearse-leader-loss'), leader: NodeId }),
  /** From that one to the leader of that term: stop leading, and be as one that is dead for so long. Answered before it is. */
  z.object({ kind: z.literal('fall-silent'), term: z.int().positive(), forMs: SilentMs }),
  z.object({ kind: z.literal('rehearsal') }),
]);
export type Ask = z.infer<typeof Ask>;

/** `key`: 32 bytes in base64, for one connection to `port` within a short time. */
const CopyDoor = z.object({ port: z.int().min(1).max(65_535), id: ShortId, key: z.string().length(44) });

export const Answer = z.discriminatedUnion('kind', [
  ...JobAnswer.options,
  z.object({ kind: z.literal('log'), text: z.string() }),
  z.object({
    kind: z.literal('deploy-checked'),
    checks: z.array(DeployCheck).max(64),
    /** Null where nothing is fit. `data`: what lies there already and is taken up again. */
    place: HostedGitlab.shape.place.extend({ data: DataId.nullable() }).nullable(),
    /** By which others reach this machine. */
    address: HostedGitlab.shape.hostname,
    /** Where it has none of IPv4 but its own. */
    ipv6: HostedGitlab.shape.ipv6,
    /** The mesh's own name, to which it would answer on the LAN; absent: it would not, or is of an earlier version. */
    name: HostedGitlab.shape.hostname.optional(),
  }),
  /** `found`: the container that is meant, where one is. */
  z.object({
    kind: z.literal('protect-checked'),
    checks: z.array(DeployCheck).max(64),
    found: z
      .object({
        container: ProtectedGitlab.shape.container,
        folder: ProtectedGitlab.shape.folder,
        way: ProtectedWay,
        /** Snapshots of it can be kept beside its data. */
        keeps: z.boolean().optional(),
      })
      .nullable(),
  }),
  /** `found`: null where something speaks against it. */
  z.object({
    kind: z.literal('adopt-checked'),
    checks: z.array(DeployCheck).max(64),
    found: AdoptFound.nullable(),
  }),
  AdoptionState.extend({ kind: z.literal('adoption') }),
  LeaderLossSeen.extend({ kind: z.literal('rehearsal') }),
  /** `isPlace` false: nothing there was made by a mesh. `found` null: it cannot be taken. `address`, `ipv6`: as of `deploy-checked`. */
  z.object({
    kind: z.literal('left-checked'),
    isPlace: z.boolean(),
    checks: z.array(DeployCheck).max(64),
    found: LeftFound.nullable(),
    address: HostedGitlab.shape.hostname,
    ipv6: HostedGitlab.shape.ipv6,
  }),
  /** `door`: to be tried; one of an earlier version opens none. */
  z.object({
    kind: z.literal('copies-checked'),
    checks: z.array(DeployCheck).max(64),
    door: CopyDoor.optional(),
  }),
  z.object({ kind: z.literal('copy-door'), ...CopyDoor.shape }),
  /** `savedAt`: by the clock of the machine that kept it first. */
  z.object({ kind: z.literal('cache-found'), cache: z.object({ savedAt: WallMs, bytes: Bytes }).nullable() }),
  /** `key`: 32 bytes in base64, that member's own, until the gate has another secret. */
  z.object({ kind: z.literal('forward-door'), port: CopyDoor.shape.port, key: CopyDoor.shape.key }),
  /** `kept`: how they are thinned there, and how much room there is. */
  z.object({ kind: z.literal('vault-door'), ...CopyDoor.shape, kept: Sentence }),
  z.object({
    kind: z.literal('upgrade-checked'),
    checks: z.array(DeployCheck).max(64),
    /** The version that runs; null where it is not known. */
    from: z.string().max(64).nullable(),
    /** Every version on the way, the wanted one last; empty where it is refused. */
    steps: z.array(z.string().max(64)).max(64),
    /** How long GitLab will be away each time, as far as its last boot tells. */
    awayMs: z.number().nonnegative(),
  }),
  /** `place`, `address`: of the machine to which it shall move. `awayMs`: of the host, how long GitLab takes to start. Each null at the other one. */
  z.object({
    kind: z.literal('move-checked'),
    checks: z.array(DeployCheck).max(64),
    place: HostedGitlab.shape.place.nullable(),
    address: HostedGitlab.shape.hostname.nullable(),
    ipv6: HostedGitlab.shape.ipv6,
    awayMs: z.number().nonnegative().nullable(),
  }),
  /** `waits`: what it does meanwhile; null where it is ready. `fails`: why it will never be. */
  z.object({
    kind: z.literal('move-target'),
    waits: Sentence.nullable(),
    percent: z.number().min(0).max(100).nullable(),
    fails: Sentence.nullable(),
  }),
  z.object({ kind: z.literal('said'), because: Sentence }),
  /** Null: nobody reaches its page from outside, or it cannot do that. */
  z.object({
    kind: z.literal('notice-link'),
    url: z
      .url({ protocol: /^https?$/ })
      .max(2048)
      .nullable(),
  }),
  Comparison.extend({ kind: z.literal('compared') }),
  /** `problem`: why the place of the backups could not be asked. */
  z.object({ kind: z.literal('backups'), rows: z.array(BackupRow).max(500), problem: Sentence.nullable() }),
  /** Null where it was given before, or there is none yet. */
  z.object({ kind: z.literal('root-password'), password: z.string().max(128).nullable() }),
]);
export type Answer = z.infer<typeof Answer>;
