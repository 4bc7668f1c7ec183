import { z } from 'zod';
import { LeftSides, leftSidesMost, Sides } from './fenced.ts';
import { Leaving } from './gitlab-leaving.ts';
import { HostedAt, HostedFailover, HostedMove, MoveEnd } from './hosted-move.ts';
import { GitlabImageName, UpgradeEnd, UpgradeWish } from './hosted-upgrade.ts';
import { DataId, NodeId, Sentence, ShortId, WallMs } from './ids.ts';
import { limits } from './limits.ts';
import { ProtectedGitlab } from './protected-gitlab.ts';
import { RoundName } from './round-name.ts';
import { Sealed } from './sealed.ts';
import { LedgerVault } from './vault.ts';

/**
 * The copies of a hosted GitLab (SAFETY H10). `agreed`: machines that a person named to hold all of GitLab. `standbys`: who of
 * them gets rounds now, as the leader chose, with why.
 */
export const HostedCopies = z.looseObject({
  agreed: z.array(NodeId).max(limits.agreedCopies),
  standbys: z.array(z.looseObject({ node: NodeId, because: Sentence })).max(limits.standbys),
  /**
   * In sync: every acknowledged push is on the disk of each member. Each change raises `version` and names the one that it
   * starts from. `last`: who left an empty set last; null when nobody was in it since the epoch began. `boot`: of the host's
   * agent, committed before its first acknowledgement.
   */
  set: z.looseObject({
    version: z.int().nonnegative().max(limits.counter),
    members: z.array(NodeId).max(limits.standbys),
    last: z.array(NodeId).max(limits.standbys).nullable(),
    boot: ShortId.nullable(),
  }),
  /** The round with which each epoch of these data began, by the epoch's number. */
  bases: z.record(z.string().regex(/^[1-9]\d{0,15}$/), RoundName),
});
export type HostedCopies = z.infer<typeof HostedCopies>;

/** The certificate of a hosted GitLab's address. No node can read it but who may open `key`. */
export const HostedHttps = z.looseObject({
  /** Which one: of the SHA-256 of its text, with its key. */
  mark: z.string().regex(/^[0-9a-f]{16}$/),
  /** Certificate, chain and key (PEM), encrypted with a key of their own: base64 of nonce | ciphertext | tag (AES-256-GCM). */
  box: z.string().min(1).max(limits.certificateBoxChars),
  /** That key, in hex, for the voters and the host. */
  key: Sealed,
  /** The CA that the mesh believes for that address, as PEM. Absent: those that its machines believe anyway. */
  ca: z.string().max(limits.caChars).optional(),
  /** When it took the place of another one. Absent: it was deployed with, or an earlier version led. */
  since: WallMs.optional(),
});
export type HostedHttps = z.infer<typeof HostedHttps>;

/** A GitLab that the mesh runs itself, as it was asked for. */
export const HostedGitlab = z.looseObject({
  data: DataId,
  /** As it was asked, or upgraded to: a name with tag or digest. */
  image: GitlabImageName,
  preset: z.enum(['minimal', 'homelab', 'team', 'beast']),
  ...HostedAt.shape,
  port: z.int().min(1).max(65_535),
  sshPort: z.int().min(1).max(65_535).nullable(),
  /** Of https: whoever comes there by http is led to it. Absent: nobody listens for http. */
  httpPort: z.int().min(1).max(65_535).optional(),
  /** Its gate speaks TLS, with that certificate. Absent: http. */
  https: HostedHttps.optional(),
  /** Absent while nobody was asked to hold copies. */
  copies: HostedCopies.optional(),
  since: WallMs,
  because: Sentence,
  /** A person wants it gone. Jobs and runners are settled first; then, `drained`, the host ends it and says so (SAFETY H7). */
  ending: z
    .looseObject({
      since: WallMs,
      deleteData: z.boolean(),
      /** As for a disconnection: running jobs are given up; GitLab's answers are not waited for. */
      now: z.boolean(),
      force: z.boolean(),
      drained: z.boolean(),
    })
    .optional(),
  upgrade: UpgradeWish.optional(),
  upgraded: UpgradeEnd.optional(),
  move: HostedMove.optional(),
  moved: MoveEnd.optional(),
  failover: HostedFailover.optional(),
  sides: Sides.optional(),
});
export type HostedGitlab = z.infer<typeof HostedGitlab>;

/** The GitLab that the mesh takes its jobs from, its own or somebody's. */
export const LedgerGitlab = z.looseObject({
  mode: z.enum(['none', 'connected', 'hosted']),
  url: z.string().max(2048).nullable(),
  /** Admin token; null when only runner tokens were given. */
  token: Sealed.nullable(),
  host: NodeId.nullable(),
  epoch: z.int().nonnegative(),
  instance: z.string().max(128).nullable(),
  /** The admin token has no scope sudo, so no job is tried again that is another user's; absent: it has, or nobody knows. */
  lacksSudo: z.boolean().optional(),
  /** When the admin token ends, at the beginning of a day in UTC; absent: it has no end, or nobody has looked. */
  tokenEnds: WallMs.optional(),
  /**
   * The admin token that `token` stands for by now, until it has been ended at GitLab. `epoch`: machines removed until then knew it
   * or one before it.
   */
  over: z.looseObject({ token: Sealed, epoch: z.int().nonnegative() }).optional(),
  /** Absent unless it is being disconnected. */
  leaving: Leaving.optional(),
  /** Only in mode 'hosted': then url, token and instance are null until it stands. */
  hosted: HostedGitlab.optional(),
  /** Absent while nobody named a place for backups. */
  vault: LedgerVault.optional(),
  /** Absent while no GitLab that runs without the mesh is backed up by it. */
  protected: ProtectedGitlab.optional(),
  /** Absent while none of whose data is left two sides may have written. */
  leftSides: z.array(LeftSides).max(leftSidesMost).optional(),
});
