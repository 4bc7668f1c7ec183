import { z } from 'zod';
import { WallMs } from './ids.ts';

/**
 * A person wants GitLab disconnected: no job is taken any more, those that run end first, then the mesh's runners are
 * deleted there, then all of it is forgotten.
 */
export const Leaving = z.looseObject({
  since: WallMs,
  /** True when running jobs are given up instead of waited for. */
  now: z.boolean(),
  /** True when GitLab's answers are not waited for. */
  force: z.boolean(),
  /** The end of the sealed token that was in use when it was said: it does not count for a GitLab that was connected later. */
  of: z.string().max(16),
});
export type Leaving = z.infer<typeof Leaving>;
