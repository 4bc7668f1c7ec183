import { z } from 'zod';
import { Sentence, WallMs } from './ids.ts';

export const GitlabImageName = z
  .string()
  .max(512)
  .regex(/^[A-Za-z0-9][\w.:/@-]*$/, 'an image is named like gitlab/gitlab-ce:17.5.1-ce.0');

const named = {
  /** The last one of the way. */
  image: GitlabImageName,
  /** The version from which it goes, as GitLab said it. */
  from: z.string().max(64),
  because: Sentence,
};

/** A person wants a newer GitLab. `rehearse`: each image of the way is tried on a clone first. */
export const UpgradeWish = z.looseObject({ ...named, rehearse: z.boolean(), since: WallMs });
export type UpgradeWish = z.infer<typeof UpgradeWish>;

/** How the last upgrade ended. */
export const UpgradeEnd = z.looseObject({ ...named, isDone: z.boolean(), at: WallMs });
