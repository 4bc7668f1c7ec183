import { chmodSync, existsSync, lstatSync, mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { AutogitError } from '../../../protocol/errors.ts';
import { makeFolder } from '../../store/home.ts';
import { asAfterPowerCut } from '../after-power-cut.ts';
import type { SystemTools } from '../system-tools.ts';

/** What a clone's container gets of the machine. */
export interface CloneFolders {
  config: string;
  data: string;
  bulk: string;
  logs: string;
  /** Empty, but of one that may serve. */
  hooks: string;
}

/** Snapshots of one instant. `bulk` null: there is none of then, and the clone begins with an empty one. */
export interface CloneSource {
  hot: string;
  bulk: string | null;
}

/** In the data place, beside what it was made of. */
export const cloneFolder = (tree: string): string => join(tree, 'clone');

/**
 * Writable snapshots of what `source` names, each a subvolume; what a clone of before left there goes. `hooks`: of one that may serve,
 * which writes its logs where a GitLab that serves from there has them.
 */
export async function makeCloneTree(
  tree: string,
  source: CloneSource,
  tools: SystemTools,
  hooks: string | null = null,
): Promise<CloneFolders> {
  // A round came from another machine: a link in the place of a folder would have the container write wherever it leads.
  for (const folder of [source.hot, join(source.hot, 'config'), join(source.hot, 'data'), source.bulk ?? source.hot])
    if (lstatSync(folder, { throwIfNoEntry: false })?.isDirectory() !== true)
      throw new AutogitError('clone', `${folder} is no folder: these are not the data of a GitLab`, {
        hint: `look at it, and start nothing on it: ls -la ${source.hot}`,
      });
  await dropCloneTree(tree, tools);
  const at = cloneFolder(tree);
  makeFolder(at, 0o700);
  const [live, bulk] = [join(at, 'live'), join(at, 'bulk')];
  // Of living data: what was renamed a moment ago has its bytes.
  await tools.run('btrfs', ['filesystem', 'sync', tree]);
  await tools.run('btrfs', ['subvolume', 'snapshot', source.hot, live]);
  await tools.run('btrfs', ['subvolume', ...(source.bulk === null ? ['create'] : ['snapshot', source.bulk]), bulk]);
  const folders = {
    ...{ config: join(live, 'config'), data: join(live, 'data'), bulk },
    ...{ logs: join(hooks === null ? at : tree, 'logs'), hooks: hooks ?? join(at, 'hooks') },
  };
  if (hooks !== null && !existsSync(folders.logs)) await tools.run('btrfs', ['subvolume', 'create', folders.logs]);
  for (const folder of [folders.logs, folders.hooks]) {
    if (hooks === null) mkdirSync(folder);
    // Whatever this agent's umask: GitLab's own users pass through it.
    chmodSync(folder, 0o755);
  }
  await asAfterPowerCut(folders.data, tools);
  return folders;
}

/** All that a clone wrote goes with it. Nothing where there is none. */
export async function dropCloneTree(tree: string, tools: SystemTools): Promise<void> {
  const at = cloneFolder(tree);
  if (!existsSync(at)) return;
  const subvolumes = readdirSync(at)
    .filter((name) => name === 'live' || name === 'bulk')
    .map((name) => join(at, name));
  if (subvolumes.length > 0) await tools.run('btrfs', ['subvolume', 'delete', '--commit-after', ...subvolumes]);
  await tools.run('rm', ['-rf', '--one-file-system', '--', at]);
}
