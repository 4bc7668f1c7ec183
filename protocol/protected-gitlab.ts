import { z } from 'zod';
import { DataId, NodeId, Sentence, WallMs } from './ids.ts';

/**
 * A GitLab that a machine of the mesh runs without the mesh, in a container of its own. Its backups are the mesh's, and nothing
 * else of it: it is not started, stopped or set by anybody here.
 */
export const ProtectedGitlab = z.looseObject({
  node: NodeId,
  /** Names its data in backups. */
  data: DataId,
  /** As the container was called then; it is found again by `folder`, whatever it is called and whenever it was made anew. */
  container: z
    .string()
    .max(128)
    .regex(/^[A-Za-z0-9][\w.-]*$/, 'a container is named by letters, digits, dots, hyphens and underscores'),
  /** Where that machine has its data, as the engine mounts them at /var/opt/gitlab. */
  folder: z
    .string()
    .max(1024)
    .regex(/^\/(?!.*(?:^|\/)\.\.?(?:\/|$))[^\p{C}]*$/u, "a folder is an absolute path without '.' and '..'"),
  /** Snapshots of it are kept beside its data, as a person agreed. */
  keeps: z.boolean().optional(),
  since: WallMs,
  because: Sentence,
});
export type ProtectedGitlab = z.infer<typeof ProtectedGitlab>;

/** `snapshot`: of the file system that its data lie on. `own`: GitLab's own gitlab-backup, and its configuration. */
export const ProtectedWay = z.enum(['snapshot', 'own']);
export type ProtectedWay = z.infer<typeof ProtectedWay>;
