import { z } from 'zod';
import { HostedAt } from './hosted-move.ts';
import { GitlabImageName } from './hosted-upgrade.ts';
import { ClassKey, DataId, NodeId, NodeName, Sentence, ShortId, StoreId, WallMs } from './ids.ts';
import { OpenApproval } from './ledger.ts';
import { HostedGitlab, HostedHttps } from './ledger-gitlab.ts';
import { limits } from './limits.ts';
import { NoticeMemory, NoticeName, NoticeTarget, QuietHours } from './notices.ts';
import { ProtectedGitlab } from './protected-gitlab.ts';
import { RoundName } from './round-name.ts';
import { Sealed } from './sealed.ts';
import { LedgerVault } from './vault.ts';

const ofSet = {
  data: DataId,
  epoch: z.int().positive().max(limits.counter),
  from: z.int().nonnegative().max(limits.counter),
};

/**
 * A change of the ledger that a person, or a node on a newcomer's behalf, asks for. It may be asked of any member and
 * travels to the leader, which applies it and answers when it is committed.
 */
export const Change = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('open-approval'), node: NodeId, approval: OpenApproval }),
  z.object({ kind: z.literal('close-approval'), node: NodeId }),
  /** `because` names the person or rule that approved. `words`, when given, must be the words that both screens show. */
  z.object({
    kind: z.literal('approve'),
    node: z.string().max(64).nullable(),
    words: z.string().max(128).nullable(),
    because: Sentence,
  }),
  z.object({ kind: z.literal('approve-invited'), node: NodeId, approval: OpenApproval, invite: ShortId }),
  z.object({ kind: z.literal('approve-paired'), node: NodeId, approval: OpenApproval }),
  z.object({ kind: z.literal('ignore'), node: z.string().max(64) }),
  /** `by`: who did it, as a sentence for people, also those at the removed machine. */
  z.object({ kind: z.literal('forget'), node: z.string().max(64), by: Sentence.optional() }),
  z.object({ kind: z.literal('make-invite'), invite: ShortId, code: Sealed, expiresAt: WallMs, by: NodeId }),
  z.object({ kind: z.literal('pair'), until: WallMs }),
  z.object({
    kind: z.literal('introduce'),
    node: NodeId,
    name: NodeName,
    store: StoreId,
    addresses: z.array(z.string().max(256)).max(limits.addresses),
    witness: z.boolean(),
    can: z.array(z.string().max(32)).max(64).optional(),
  }),
  /** `backMs`: the node means to be back within that time, so its runs wait for it (SAFETY J2). */
  z.object({ kind: z.literal('depart'), node: NodeId, backMs: z.number().nonnegative().max(limits.holdMs).optional() }),
  z.object({ kind: z.literal('drain'), node: z.string().max(64), drained: z.boolean() }),
  z.object({
    kind: z.literal('set'),
    key: z.enum(['retryLost', 'defaultArch', 'graceMs', 'silentMs', 'inSyncGraceMs', 'failover']),
    value: z.union([z.boolean(), z.string().max(256), z.number()]),
  }),
  z.object({
    kind: z.literal('connect-gitlab'),
    url: z.string().max(2048),
    token: Sealed.nullable(),
    instance: z.string().max(128).nullable(),
    /** The admin token has no scope sudo; absent: it has, or GitLab did not tell. */
    lacksSudo: z.boolean().optional(),
    runnerTokens: z
      .array(z.object({ tags: z.array(z.string().max(limits.tagChars)).max(limits.tagsPerJob), token: Sealed }))
      .max(limits.classes),
  }),
  z.object({ kind: z.literal('disconnect-gitlab'), now: z.boolean(), force: z.boolean() }),
  /** The mesh shall run a GitLab on `host`. `because` names who asked. */
  z.object({
    kind: z.literal('deploy-gitlab'),
    host: NodeId,
    hosted: z.object(
      HostedGitlab.omit({
        ...{ since: true, because: true, ending: true, copies: true, upgrade: true, upgraded: true },
        ...{ move: true, moved: true, failover: true, sides: true },
      }).shape,
    ),
    /** Who may hold copies of it. */
    agreed: z.array(NodeId).max(limits.agreedCopies).optional(),
    /** The highest epoch that its data name, which are of a mesh that is gone: this one is above it. */
    above: z
      .int()
      .nonnegative()
      .max(2 ** 48)
      .optional(),
    because: Sentence,
  }),
  /** A person lets a machine hold copies of the hosted GitLab, or takes that back. `because` names who said it. */
  z.object({ kind: z.literal('agree-copies'), data: DataId, node: NodeId, agreed: z.boolean(), because: Sentence }),
  /**
   * The host's three words on its in-sync set (SAFETY H10); each starts from version `from` of it, and fails if that has moved.
   * `copies-begin`: its agent started, or the epoch began; before this is committed no push is acknowledged.
   */
  z.object({ kind: z.literal('copies-begin'), ...ofSet, boot: ShortId, base: RoundName.nullable() }),
  z.object({ kind: z.literal('copy-enters'), ...ofSet, node: NodeId }),
  z.object({
    kind: z.literal('copies-leave'),
    ...ofSet,
    nodes: z.array(NodeId).max(limits.standbys),
    because: Sentence,
  }),
  /** The host's word that the GitLab of that data and epoch works, and how it is reached. */
  z.object({
    kind: z.literal('gitlab-stands'),
    data: DataId,
    epoch: z.int().positive().max(limits.counter),
    url: z.string().max(2048),
    token: Sealed,
    instance: z.string().max(128).nullable(),
  }),
  /**
   * `now`: running jobs are given up; `force`: GitLab's answers are not waited for. `epoch`: of the one that was meant, as
   * what is asked may happen late, when another stands already.
   */
  z.object({
    kind: z.literal('uninstall-gitlab'),
    epoch: z.int().positive().max(limits.counter).optional(),
    deleteData: z.boolean(),
    now: z.boolean().optional(),
    force: z.boolean().optional(),
  }),
  /** Another certificate for the address of the hosted GitLab, from now on. */
  z.object({ kind: z.literal('gitlab-certificate'), data: DataId, https: z.object(HostedHttps.shape) }),
  /** The host's word that its gate is closed for that epoch and the container gone (SAFETY H7). */
  z.object({ kind: z.literal('gitlab-ended'), data: DataId, epoch: z.int().positive().max(limits.counter) }),
  /** Where backups of the mesh's GitLab go; null: nowhere any more, and what is there stays. `because` names who asked. */
  z.object({
    kind: z.literal('set-vault'),
    vault: z.object(LedgerVault.omit({ since: true, because: true }).shape).nullable(),
    because: Sentence,
  }),
  /** A GitLab that runs without the mesh is backed up from now on; null: none any more, and what is there stays. */
  z.object({
    kind: z.literal('protect-gitlab'),
    protected: z.object(ProtectedGitlab.omit({ since: true, because: true }).shape).nullable(),
    because: Sentence,
  }),
  /**
   * The host's word that its gate is closed for that epoch, and that other data lie in the place of these: the next epoch begins
   * with them (SAFETY H7).
   */
  z.object({
    kind: z.literal('gitlab-restored'),
    data: DataId,
    epoch: z.int().positive().max(limits.counter),
    /** Of which these data are, where it is another one: they are of before an upgrade. */
    image: GitlabImageName.optional(),
    /** It marks its data for whatever epoch the ledger makes of it; absent: of an earlier version, which knows of the next number only. */
    marksAnew: z.boolean().optional(),
    /** Also where the mesh was recovered by force on several sides (scheduler/hosting/epochs.ts). Absent: an earlier version. */
    countsSides: z.boolean().optional(),
    because: Sentence,
  }),
  /** A person wants a newer GitLab: the last image of the way to it. `from`: the version that runs. `rehearse`: each on a clone first. */
  z.object({
    kind: z.literal('upgrade-gitlab'),
    data: DataId,
    epoch: z.int().positive().max(limits.counter),
    image: GitlabImageName,
    from: z.string().max(64),
    rehearse: z.boolean(),
    because: Sentence,
  }),
  /**
   * The host's word that its gate is closed for that epoch, and that what GitLab had is kept: the next epoch of these data begins
   * with that image, of the way or of before it (SAFETY H7).
   */
  z.object({
    kind: z.literal('gitlab-upgraded'),
    data: DataId,
    epoch: z.int().positive().max(limits.counter),
    image: GitlabImageName,
    /** It marks its data for whatever epoch the ledger makes of it; absent: of an earlier version, which knows of the next number only. */
    marksAnew: z.boolean().optional(),
    /** Also where the mesh was recovered by force on several sides (scheduler/hosting/epochs.ts). Absent: an earlier version. */
    countsSides: z.boolean().optional(),
    because: Sentence,
  }),
  /** The host's word on how the upgrade that was wished ended. */
  z.object({
    kind: z.literal('gitlab-upgrade-ended'),
    data: DataId,
    epoch: z.int().positive().max(limits.counter),
    isDone: z.boolean(),
    because: Sentence,
  }),
  /** A person wants the mesh's GitLab on that machine, which said where its data would lie and how it is reached. */
  z.object({
    kind: z.literal('move-gitlab'),
    data: DataId,
    epoch: z.int().positive().max(limits.counter),
    to: NodeId,
    there: HostedAt,
    because: Sentence,
  }),
  /**
   * The host's word that its gate is closed for that epoch, that GitLab has ended, and that `base`, the round taken after that, is on
   * the disk of the machine to which it moves: that one hosts from now on, in the next epoch (SAFETY H7, H10).
   */
  z.object({
    kind: z.literal('gitlab-moved'),
    data: DataId,
    epoch: z.int().positive().max(limits.counter),
    base: RoundName,
  }),
  /** The new host's word that GitLab works there: before this is committed its gate lets nobody in, afterwards there is no way back by itself. */
  z.object({ kind: z.literal('gitlab-move-stands'), data: DataId, epoch: z.int().positive().max(limits.counter) }),
  /**
   * The host's word that the move is given up. `isClosed`: its gate is closed for that epoch, or was never open in it: the next one
   * begins where GitLab was before. Else nothing was begun, and it serves on.
   */
  z.object({
    kind: z.literal('gitlab-move-ends'),
    data: DataId,
    epoch: z.int().positive().max(limits.counter),
    isClosed: z.boolean(),
    /** It marks its data as this version counts the epochs of several sides. Absent: an earlier version. */
    countsSides: z.boolean().optional(),
    because: Sentence,
  }),
  /** A person has looked at why GitLab moved so often: it may move by itself again. */
  z.object({ kind: z.literal('clear-gitlab-flag'), data: DataId }),
  /**
   * Its host is silent, and a person has GitLab go on at `to`, from the newest round that lies there, though the mesh would not by
   * itself; null: not any more. Nothing happens before the host's gate is surely shut.
   */
  z.object({
    kind: z.literal('start-gitlab-at'),
    data: DataId,
    epoch: z.int().positive().max(limits.counter),
    /** By name or id. */
    to: z.string().max(64).nullable(),
    because: Sentence,
  }),
  /**
   * Whom the mesh tells that something is wrong; null: not any more. `file`: as the autogit.yml of that machine has it, which changes
   * nothing of what a person said.
   */
  z.object({
    kind: z.literal('notice-target'),
    name: NoticeName,
    target: z.object(NoticeTarget.omit({ since: true, because: true, file: true }).shape).nullable(),
    file: NodeId.optional(),
    because: Sentence,
  }),
  /** When nobody is woken; null: never. */
  z.object({ kind: z.literal('quiet-hours'), quiet: z.object(QuietHours.shape).nullable() }),
  /** The leader's word on what was told, and what is to be: it starts from version `from` of that, and fails if it has moved. */
  z.object({
    kind: z.literal('notices-told'),
    from: z.int().nonnegative().max(limits.counter),
    memory: NoticeMemory,
  }),
  /** A voter writes secrets sealed anew: GitLab's token for those who vote now, or changed secrets that a removed machine knew. */
  z.object({
    kind: z.literal('reseal'),
    /** `epoch` null: it is the same, for other readers. `over`: the one of before, which is to be ended at GitLab. */
    token: z
      .object({ was: Sealed, now: Sealed, epoch: z.int().nonnegative().nullable(), over: Sealed.optional() })
      .optional(),
    over: z.object({ was: Sealed, now: Sealed }).optional(),
    /** GitLab has ended the token of before. */
    ended: z.object({ of: Sealed }).optional(),
    key: z.object({ epoch: z.int().positive(), sealed: z.record(NodeId, Sealed) }).optional(),
    vault: z.object({ was: Sealed, now: Sealed }).optional(),
    certificate: z.object({ was: Sealed, now: Sealed }).optional(),
    /** Of each that is told when something is wrong, by its name. */
    notices: z.record(NoticeName, z.object({ was: Sealed, now: Sealed })).optional(),
    /** GitLab said when its token ends; null: never. */
    ends: z.object({ of: Sealed, at: WallMs.nullable() }).optional(),
    runner: z.object({ class: ClassKey, was: Sealed, now: Sealed, epoch: z.int().nonnegative() }).optional(),
  }),
]);
export type Change = z.infer<typeof Change>;

/** How a change ended. `unknown`: the leader changed meanwhile; ask again with the same id (SAFETY L16). */
export const ChangeOutcome = z.object({ state: z.enum(['done', 'refused', 'unknown']), because: Sentence });
export type ChangeOutcome = z.infer<typeof ChangeOutcome>;
