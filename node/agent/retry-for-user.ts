import type { GitlabAdmin } from '../../gitlab-bridge/gitlab-admin.ts';
import { AutogitError } from '../../protocol/errors.ts';

/**
 * GitLab gives another try to the user who asks for it: asked for by the administrator whose token this is, it would have that
 * administrator's rights, and a job that fails in the right way would get them. So it is asked for in the name of the job's
 * own user, and not at all where the token may not do that.
 */
export async function retryForItsUser(
  admin: GitlabAdmin,
  projectId: number,
  { job, user }: Awaited<ReturnType<GitlabAdmin['job']>>,
): Promise<{ made: boolean; next: number | null; because: string }> {
  if (user === null)
    return { made: false, next: null, because: 'GitLab names no user of it, in whose name it could be tried again' };
  const isOwn = (await admin.userId()) === user;
  try {
    const next = await (isOwn ? admin.retryJob(projectId, job) : admin.retryJob(projectId, job, user));
    return { made: true, next, because: `it is tried again as job ${next}` };
  } catch (error) {
    if (!(error instanceof AutogitError) || error.code !== 'gitlab-refused') throw error;
    // Somebody else may have been first.
    if ((await admin.job(projectId, job)).retried) return { made: true, next: null, because: 'it was tried again' };
    const why = isOwn
      ? error.message
      : `GitLab does not let the mesh's token ask for its user: the token needs scope sudo`;
    return { made: false, next: null, because: `it is not tried again: ${why}` };
  }
}
