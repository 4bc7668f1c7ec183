import { lstat, realpath, stat, statfs } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { execCleanly, findProgram } from '../../clean-spawn.ts';
import { type Disk, diskOf } from '../../disk-use.ts';
import { askDisk } from '../../machine/asked-disk.ts';
import type { OmnibusContainer } from '../../machine/omnibus-containers.ts';
import { mountOver, mountsOf } from '../mount-table.ts';
import { existingAt } from '../place-tree.ts';
import { systemTools, toolEnv } from '../system-tools.ts';
import type { ProtectFacts } from './protect-way.ts';

const configInside = '/etc/gitlab';
const dataInside = '/var/opt/gitlab';
/** A large GitLab on a slow disk; a person waits for it. */
const countMs = 20_000;
/** The number of the folder with which each subvolume of btrfs begins. */
const subvolumeInode = 256;

/** Where that folder of the container lies here: by the mount that goes furthest; null where there is none. */
export function outsideOf({ mounts }: Pick<OmnibusContainer, 'mounts'>, path: string): string | null {
  const over = mountOf({ mounts }, path);
  return over === undefined ? null : join(over.outside, relative(over.inside, path));
}

const mountOf = ({ mounts }: Pick<OmnibusContainer, 'mounts'>, path: string) =>
  mounts
    .filter(({ inside }) => path === inside || path.startsWith(`${inside}/`))
    .sort((a, b) => b.inside.length - a.inside.length)[0];

/**
 * The same, as it is on this machine, behind whatever links of its owner's lead there. A link that whoever is root in the
 * container made below the mount means another folder here than there: null.
 */
async function seenOf(one: Pick<OmnibusContainer, 'mounts'>, path: string): Promise<string | null> {
  const outside = outsideOf(one, path);
  const mount = mountOf(one, path)?.outside;
  if (outside === null || mount === undefined) return null;
  const [real, top] = [await realOf(outside), await realOf(mount)];
  if (real === null || top === null) return null;
  return real === top || real.startsWith(top === '/' ? '/' : `${top}/`) ? real : null;
}

/** Null where it is not there, or not to be seen. */
const realOf = (path: string): Promise<string | null> => askDisk(path, () => realpath(path).catch(() => null));

/** Folders of this machine that its own backup reads: its data, and what is mounted or kept beside them. */
export async function foldersToRead(one: OmnibusContainer, data: string): Promise<string[]> {
  const beside: string[] = [];
  for (const inside of [...innerMounts(one), ...one.dataElsewhere]) beside.push((await seenOf(one, inside)) ?? data);
  return [...new Set([data, ...beside])];
}

function innerMounts({ mounts, backupPath }: OmnibusContainer): string[] {
  const own = [configInside, dataInside, '/var/log/gitlab', backupPath];
  return mounts
    .map(({ inside }) => inside)
    .filter((inside) => inside.startsWith(`${dataInside}/`) && !own.includes(inside));
}

/** Looks, and changes nothing. Throws `backup` where a folder does not answer. `home`: of this agent. `counts`: also how much it is, which may take its time. */
export async function protectFacts(
  one: OmnibusContainer,
  { home, counts }: { home: string; counts: boolean },
): Promise<ProtectFacts> {
  const data = await seenOf(one, dataInside);
  const backups = await seenOf(one, one.backupPath);
  const hasBtrfs = findProgram('btrfs', toolEnv.PATH) !== null;
  const onBtrfs = data !== null && mountOver(data)?.type === 'btrfs' ? await subvolumeOf(data) : null;
  return {
    container: one,
    config: await seenOf(one, configInside),
    ...{ data, backups },
    fileSystem: (data === null ? undefined : mountOver(data)?.type) ?? 'none',
    subvolume: onBtrfs,
    snapshots: data === null || onBtrfs === null ? null : besideOf(data, home),
    hole: onBtrfs === null || !hasBtrfs ? null : await holeIn(data as string, onBtrfs),
    inner: innerMounts(one),
    isRoot: process.getuid?.() === 0,
    hasRestic: findProgram('restic', toolEnv.PATH) !== null,
    hasBtrfs,
    dataBytes: counts && data !== null ? await bytesOf(await foldersToRead(one, data), countMs) : null,
    freeBytes: data === null ? 0 : (await roomAt(backups ?? data)).freeBytes,
  };
}

/**
 * What lies in those folders, less GitLab's own backups in them; null where it takes longer to count. Also what is mounted in
 * them or a subvolume of its own: its own backup reads that too.
 */
export async function bytesOf(folders: readonly string[], timeout: number): Promise<number | null> {
  const until = performance.now() + timeout;
  let sum = 0;
  for (const folder of folders) {
    const left = Math.ceil(until - performance.now());
    const bytes = left > 0 ? await bytesIn(folder, left) : null;
    if (bytes === null) return null;
    sum += bytes;
  }
  return sum;
}

/** By the shell: where a child is started in a folder that hangs the agent waits for it, and nobody else is served. */
const counting = 'cd "$1" && exec du -s --block-size=1 --exclude=./backups --exclude=./.snapshots .';

async function bytesIn(folder: string, timeout: number): Promise<number | null> {
  try {
    const { stdout } = await execCleanly('sh', ['-c', counting, 'sh', folder], { env: toolEnv, timeout });
    return Number(/^\d+/.exec(stdout)?.[0] ?? 0);
  } catch (error) {
    // What goes away while it is counted is an error of its own, and the sum is told all the same.
    const told = /^(\d+)\t\.$/m.exec(String((error as { stdout?: unknown }).stdout ?? ''))?.[1];
    return told === undefined ? null : Number(told);
  }
}

/** At least as much as lies in those folders: all that is used where they lie. */
export async function bytesAtMost(folders: readonly string[]): Promise<number> {
  const disks = new Map(folders.map((folder) => [mountOver(folder)?.device, folder]));
  let sum = 0;
  for (const folder of disks.values()) {
    const { totalBytes, freeBytes } = await roomAt(folder);
    sum += totalBytes - freeBytes;
  }
  return sum;
}

/** Of the disk that this folder, which is there, lies on. */
export const roomAt = async (folder: string): Promise<Disk> => diskOf(await askDisk(folder, () => statfs(folder)));

/** The subvolume that a folder lies in, as far as it is to be seen from here. */
async function subvolumeOf(folder: string): Promise<string | null> {
  const top = mountOver(folder)?.point ?? folder;
  for (let path = folder; ; path = dirname(path)) {
    if ((await askDisk(path, () => stat(path))).ino === subvolumeInode) return path;
    if (path === top || path === '/') return null;
  }
}

/** On the same file system, and not in the data themselves: the agent's home, else the folder above. */
function besideOf(data: string, home: string): string | null {
  const device = mountOver(data)?.device;
  const beside = dirname(data);
  const isOnIt = (path: string): boolean => mountOver(path)?.device === device;
  if (isOnIt(existingAt(home)) && !home.startsWith(`${data}/`)) return join(home, 'gitlab-protect', 'snapshot');
  return beside !== data && isOnIt(beside) && mountOver(data)?.point !== data ? join(beside, '.autogit-protect') : null;
}

/** What people put on another disk by a link. */
const linkedMost = [
  ...['git-data', 'git-data/repositories', 'gitlab-rails', 'gitlab-rails/shared', 'gitlab-rails/uploads'],
  ...['postgresql', 'postgresql/data'],
];
const isLink = (path: string): Promise<boolean> =>
  askDisk(path, () =>
    lstat(path).then(
      (there) => there.isSymbolicLink(),
      () => false,
    ),
  );

/** A snapshot ends at each subvolume within the data, and at each mount over them. */
async function holeIn(data: string, subvolume: string): Promise<string | null> {
  for (const name of linkedMost) {
    const link = join(data, name);
    if (await isLink(link)) return `${link} is a link, and what it leads to is in no snapshot`;
  }
  const mount = mountsOf('self').find(({ point }) => point.startsWith(`${data}/`));
  if (mount) return `${mount.point} is a mount of its own (${mount.source}), and in no snapshot`;
  const [own = ''] = (await systemTools.run('btrfs', ['subvolume', 'show', subvolume])).split('\n');
  const top = /^(\/|<FS_TREE>)$/.test(own.trim()) ? '' : `${own.trim()}/`;
  const below = relative(subvolume, data);
  const within = `${top}${below === '' ? '' : `${below}/`}`;
  const listed = await systemTools.run('btrfs', ['subvolume', 'list', '-o', subvolume]);
  const paths = listed.split('\n').flatMap((line) => /\bpath (.+)$/.exec(line)?.[1] ?? []);
  const nested = paths.find((path) => path.startsWith(within));
  return nested === undefined ? null : `${nested} is a subvolume of its own within ${data}, and in no snapshot`;
}
