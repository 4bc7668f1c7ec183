import type { Readable } from 'node:stream';
import { plain } from './git-command.ts';
import { bringLfs, usesLfs } from './git-lfs.ts';
import type { ModuleAddress } from './submodule-plan.ts';

/** A repository in the tree of a job, with its commit. */
export interface LaidRepository {
  mirror: string;
  sha: string;
  address: ModuleAddress;
  /** In the job's tree; empty for the project itself. */
  path: string;
}

/**
 * What is to be put over a job's tree: the files that its repositories have in Git LFS, a tar each, and what is to be said of them.
 * Another server's stay pointers, as the job's token is not for it. Throws SourcesFailure.
 */
export async function lfsFiles(
  repositories: readonly LaidRepository[],
  { named, token, signal }: { named: string; token: string; signal: AbortSignal },
): Promise<{ lfs: Readable[]; said: string[] }> {
  const lfs: Readable[] = [];
  const said: string[] = [];
  for (const { mirror, sha, address, path } of repositories) {
    const uses = await usesLfs(mirror, sha, signal);
    const which = path === '' ? 'the commit' : `submodule ${plain(path)}`;
    if (typeof uses === 'string') said.push(`Whether ${which} has files in Git LFS is not known: ${plain(uses)}`);
    if (uses !== true) continue;
    if (!address.isOwn) {
      said.push(`The Git LFS files of ${which} stay pointers: they are another server's`);
      continue;
    }
    const prefix = path === '' ? '' : `${path}/`;
    const found = await bringLfs({ mirror, sha, address: address.url, prefix, named, token, signal });
    if (found === null) continue;
    lfs.push(found.tar);
    said.push(found.sentence);
  }
  return { lfs, said };
}
