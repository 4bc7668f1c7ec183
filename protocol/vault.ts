import { z } from 'zod';
import { NodeId, Sentence, WallMs } from './ids.ts';
import { Sealed } from './sealed.ts';

/**
 * Where backups of the mesh's own GitLab go: a repository of restic's. It outlives a GitLab that was uninstalled, as the next
 * one may be made of it.
 */
export const LedgerVault = z.looseObject({
  /** As restic names it: a folder of the host's, or sftp:, s3:, rest:. Never with a password in it. Of a `keeper`: node:NAME. */
  target: z.string().regex(/^[^\p{C}]{1,1024}$/u),
  /** The machine of the mesh on which the repository lies, which alone thins it. Absent: it lies where `target` says. */
  keeper: NodeId.optional(),
  /** The repository's own id: another one in its place is not taken for it. */
  repository: z.string().regex(/^[0-9a-f]{16,64}$/),
  /** Its password, and what opens the target, for the voters. */
  secret: Sealed,
  everyMs: z.number().min(60_000).max(2_764_800_000),
  /** So many backups stay, one of each day, week and month. */
  keep: z.looseObject({
    daily: z.int().min(1).max(1000),
    weekly: z.int().nonnegative().max(1000),
    monthly: z.int().nonnegative().max(1000),
  }),
  since: WallMs,
  because: Sentence,
});
export type LedgerVault = z.infer<typeof LedgerVault>;
