import { z } from 'zod';
import { ClassKey, JobId, NodeId, Sentence, WallMs } from './ids.ts';

/**
 * What failed a run that is not its job's own doing. machine: its engine, disk or power. environment: what the job's place is
 * made of there. network: the way from there to what the job needs.
 * owner: the machine is well, its owner wanted it, or what the job had of it.
 */
export type FaultKind = 'machine' | 'environment' | 'network' | 'owner';

/**
 * `kind`: a FaultKind, or one of a later version. `begun`: a step of the job's script had begun, so it is not known what it did.
 * `server`: what did not answer, where the job named it: it may answer nobody.
 */
export const RunFault = z.looseObject({
  kind: z.string().min(1).max(16),
  begun: z.boolean(),
  server: z.string().max(255).optional(),
});
export type RunFault = z.infer<typeof RunFault>;

/**
 * A run that failed so, as the mesh remembers it for an hour, under the run's id. `wanted` is committed before GitLab is asked
 * for another try, so that a next leader ends what this one began (SAFETY J10).
 */
export const LedgerFault = z.looseObject({
  job: JobId,
  projectId: z.int().nonnegative(),
  name: z.string().max(255),
  ref: z.string().max(255),
  class: ClassKey,
  node: NodeId,
  fault: RunFault,
  at: WallMs,
  retry: z.enum(['wanted', 'made', 'none']),
  /** Why it is tried again, or is not; and how that ended. */
  because: Sentence,
});
export type LedgerFault = z.infer<typeof LedgerFault>;

/**
 * A job that GitLab gave away and that reached no machine (SAFETY J3): it is canceled there and tried again. Committed
 * before GitLab is asked, so that a next leader ends what this one began. `retry`: false where a person had canceled it.
 */
export const Rescue = z.looseObject({
  projectId: z.int().nonnegative(),
  since: WallMs,
  retry: z.boolean(),
  because: Sentence,
});
export type Rescue = z.infer<typeof Rescue>;
