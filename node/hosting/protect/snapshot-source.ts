import { lstatSync } from 'node:fs';
import { lstat, rmdir } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { AutogitError } from '../../../protocol/errors.ts';
import { askDisk } from '../../machine/asked-disk.ts';
import { makeFolder } from '../../store/home.ts';
import { systemTools } from '../system-tools.ts';
import type { BackupSource, TakenSource } from '../vault/backup-run.ts';
import { type About, aboutFile } from '../vault/vault-tree.ts';
import type { KeptSnapshot } from './kept-snapshots.ts';

interface Parts {
  config: string;
  data: string;
  subvolume: string;
  /** Where the snapshot lies while it is there. */
  snapshot: string;
  /** Of this agent's home: a folder in which restic finds everything where it lies in a GitLab that a mesh hosts. */
  tree: string;
}

/** The rest of a command runs with pairs of folders mounted over others, in a mount namespace that ends with it. */
const mounted = 'set -e; while [ "$1" != -- ]; do mount --bind "$1" "$2"; shift 2; done; shift; exec "$@"';

export const withMounts = (pairs: readonly (readonly [from: string, over: string])[]): string[] => [
  ...['unshare', '--mount', '--propagation', 'private', '--', 'sh', '-c', mounted, 'sh'],
  ...pairs.flat(),
  '--',
];

/** A snapshot of that subvolume has that path in it. */
export const isWithin = (subvolume: string, path: string): boolean =>
  path === subvolume || path.startsWith(subvolume === '/' ? '/' : `${subvolume}/`);

/**
 * Which folder goes where, so that such a backup is as one of a GitLab that a mesh hosts and can be restored into one: artifacts
 * and the like lie in `bulk`. Files of GitLab's own backups are left out. `has`: whether a path is there.
 */
export function treeMounts(
  { config, data, subvolume, snapshot, tree }: Parts,
  has: (path: string) => boolean,
): [from: string, over: string][] {
  const within = (path: string): string => join(snapshot, relative(subvolume, path));
  const then = within(data);
  const live = join(tree, 'live');
  const empty = join(tree, 'empty');
  const shared = 'gitlab-rails/shared';
  return [
    // Configuration elsewhere is read as it is: a file of it is replaced whole, or by a person.
    [isWithin(subvolume, config) ? within(config) : config, join(live, 'config')],
    [then, join(live, 'data')],
    ...(has(join(then, shared))
      ? ([
          [join(then, shared), join(tree, 'bulk')],
          [empty, join(live, 'data', shared)],
        ] as [string, string][])
      : []),
    ...(has(join(then, 'backups')) ? ([[empty, join(live, 'data', 'backups')]] as [string, string][]) : []),
  ];
}

/** A folder with no link on the way there: one of the container's means another folder on this machine, or leads out. */
export function isPlainIn(top: string, path: string): boolean {
  const isFolder = (at: string): boolean => lstatSync(at, { throwIfNoEntry: false })?.isDirectory() === true;
  return isFolder(path) && (path === top || isPlainIn(top, dirname(path)));
}

/** One instant of all of its data, read-only, gone again afterwards. */
export function snapshotSource(parts: Parts, about: About): BackupSource {
  const { subvolume, snapshot } = parts;
  return {
    async take() {
      await dropSnapshot(snapshot);
      makeFolder(dirname(snapshot), 0o700);
      // The owner's file system is mounted without `flushoncommit`: what was renamed a moment ago would be there without its bytes.
      await systemTools.run('sync', ['-f', subvolume]);
      await systemTools.run('btrfs', ['subvolume', 'snapshot', '-r', subvolume, snapshot]);
      return takenTree(parts, about);
    },
    drop: () => dropSnapshot(snapshot),
  };
}

/** The same from one that stays. */
export function keptSource(
  { config, data, subvolume }: Pick<Parts, 'config' | 'data' | 'subvolume'>,
  { about, snapshot, config: copied }: KeptSnapshot,
  tree: string,
): Promise<TakenSource> {
  const then = isWithin(subvolume, config) ? config : copied;
  return takenTree({ config: then, data, subvolume, snapshot, tree }, about);
}

/** What restic reads: `tree`, with the folders of that snapshot over its own. */
async function takenTree(parts: Parts, about: About): Promise<TakenSource> {
  const { snapshot, tree } = parts;
  for (const name of ['live/config', 'live/data', 'bulk', 'empty']) makeFolder(join(tree, name), 0o700);
  await systemTools.write(join(tree, aboutFile), JSON.stringify(about));
  return {
    folder: tree,
    around: withMounts(treeMounts(parts, (path) => isPlainIn(snapshot, path))),
    paths: ['live', 'bulk', aboutFile],
  };
}

/** What an agent that was killed has left too. */
export async function dropSnapshot(snapshot: string): Promise<void> {
  const there = await askDisk(snapshot, () => lstat(snapshot).catch(() => null));
  if (there === null) return;
  // btrfs follows a link, and would delete whatever subvolume it names; the folder beside the data may be somebody's.
  if (!there.isDirectory())
    throw new AutogitError('backup', `${snapshot} is no snapshot of the mesh's`, {
      hint: `look at it: ls -l ${snapshot}`,
    });
  await systemTools.run('btrfs', ['subvolume', 'delete', '--commit-after', snapshot]);
  const beside = dirname(snapshot);
  // Not where somebody has put something there.
  await askDisk(beside, () => rmdir(beside).catch(() => undefined));
}
