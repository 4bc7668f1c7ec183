import { existsSync, statfsSync, statSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { execCleanly, findProgram } from '../../clean-spawn.ts';
import { diskOf } from '../../disk-use.ts';
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
  const over = mounts
    .filter(({ inside }) => path === inside || path.startsWith(`${inside}/`))
    .sort((a, b) => b.inside.length - a.inside.length)[0];
  return over === undefined ? null : join(over.outside, relative(over.inside, path));
}

const seen = (path: string | null): string | null => (path !== null && existsSync(path) ? path : null);

/** Looks, and changes nothing. `home`: of this agent. `counts`: also how much it is, which may take its time. */
export async function protectFacts(
  one: OmnibusContainer,
  { home, counts }: { home: string; counts: boolean },
): Promise<ProtectFacts> {
  const data = seen(outsideOf(one, dataInside));
  const backups = seen(outsideOf(one, one.backupPath));
  const own = ['/etc/gitlab', dataInside, '/var/log/gitlab', one.backupPath];
  const hasBtrfs = findProgram('btrfs', toolEnv.PATH) !== null;
  const onBtrfs = data !== null && mountOver(data)?.type === 'btrfs' ? subvolumeOf(data) : null;
  return {
    container: one,
    config: seen(outsideOf(one, configInside)),
    ...{ data, backups },
    fileSystem: (data === null ? undefined : mountOver(data)?.type) ?? 'none',
    subvolume: onBtrfs,
    snapshots: data === null || onBtrfs === null ? null : besideOf(data, home),
    hole: onBtrfs === null || !hasBtrfs ? null : await holeIn(data as string, onBtrfs),
    inner: one.mounts
      .map(({ inside }) => inside)
      .filter((inside) => inside.startsWith(`${dataInside}/`) && !own.includes(inside)),
    isRoot: process.getuid?.() === 0,
    hasRestic: findProgram('restic', toolEnv.PATH) !== null,
    hasBtrfs,
    dataBytes: counts && data !== null ? await bytesOf(data, countMs) : null,
    freeBytes: data === null ? 0 : diskOf(statfsSync(existingAt(backups ?? data))).freeBytes,
  };
}

/** What lies there, less what its own backups take; null where that takes longer. */
export async function bytesOf(data: string, timeout: number): Promise<number | null> {
  const words = ['-s', '-x', '--block-size=1', '--exclude=./backups', '.'];
  try {
    const { stdout } = await execCleanly('du', words, { env: toolEnv, cwd: data, timeout });
    return Number(/^\d+/.exec(stdout)?.[0] ?? 0);
  } catch (error) {
    // What goes away while it is counted is an error of its own, and the sum is told all the same.
    const told = /^(\d+)\t\.$/m.exec(String((error as { stdout?: unknown }).stdout ?? ''))?.[1];
    return told === undefined ? null : Number(told);
  }
}

/** The subvolume that a folder lies in, as far as it is to be seen from here. */
function subvolumeOf(folder: string): string | null {
  const top = mountOver(folder)?.point ?? folder;
  for (let path = folder; ; path = dirname(path)) {
    if (statSync(path).ino === subvolumeInode) return path;
    if (path === top || path === '/') return null;
  }
}

/** On the same file system, and not in the data themselves: the agent's home, else the folder above. */
function besideOf(data: string, home: string): string | null {
  const device = mountOver(data)?.device;
  const beside = dirname(data);
  const isOnIt = (path: string): boolean => mountOver(existingAt(path))?.device === device;
  if (isOnIt(home) && !home.startsWith(`${data}/`)) return join(home, 'gitlab-protect', 'snapshot');
  return beside !== data && isOnIt(beside) && mountOver(data)?.point !== data ? join(beside, '.autogit-protect') : null;
}

/** A snapshot ends at each subvolume within the data, and at each mount over them. */
async function holeIn(data: string, subvolume: string): Promise<string | null> {
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
