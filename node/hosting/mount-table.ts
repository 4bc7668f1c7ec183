import { readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs';
import { sentenceOf } from '../../protocol/errors.ts';

/** One line of a mountinfo. */
export interface Mount {
  /** The folder within the file system that is mounted. */
  root: string;
  point: string;
  source: string;
  /** The kernel's name of the file system's kind: `ext4`. */
  type: string;
  /** "major:minor", one for all mounts of a file system. */
  device: string;
  /** Nothing can be written through it, or an error of its disk made the whole file system so. */
  isReadOnly: boolean;
  /** No program runs from it, as where only copies lie. */
  isNoExec: boolean;
}

const plain = (text: string): string =>
  text.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));

const has = (options: string | undefined, one: string): boolean => options?.split(',').includes(one) === true;

export function mountsIn(mountinfo: string): Mount[] {
  return mountinfo.split('\n').flatMap((line) => {
    const [before = '', after = ''] = line.split(' - ');
    const [, , device, root, point, options] = before.split(' ');
    const [type, source, ofAll] = after.split(' ');
    if (device === undefined || root === undefined || point === undefined) return [];
    if (type === undefined || source === undefined) return [];
    const [isReadOnly, isNoExec] = [has(options, 'ro') || has(ofAll, 'ro'), has(options, 'noexec')];
    return [{ root: plain(root), point: plain(point), source: plain(source), type, device, isReadOnly, isNoExec }];
  });
}

/** The mounts as that process sees them; empty when it is gone, or may not be looked at. */
export function mountsOf(pid: number | 'self'): Mount[] {
  try {
    return mountsIn(readFileSync(`/proc/${pid}/mountinfo`, 'utf8'));
  } catch {
    return [];
  }
}

const within = (folder: string, path: string): boolean =>
  path === folder || path.startsWith(folder === '/' ? '/' : `${folder}/`);

/** The mount that a path lies in: of those at the same place the last one covers the others. */
export const mountOver = (path: string, mounts: readonly Mount[] = mountsOf('self')): Mount | undefined =>
  mounts
    .filter(({ point }) => within(point, path))
    .reduce<Mount | undefined>((best, one) => (best && best.point.length > one.point.length ? best : one), undefined);

interface Holder {
  pid: number;
  command: string;
  mount: Mount;
}

/** Every mount that any process sees and that is asked for, in whatever mount namespace; one process for each namespace. */
function holders(isHeld: (mount: Mount) => boolean): Holder[] {
  const seen = new Set<string>();
  return readdirSync('/proc').flatMap((entry) => {
    const pid = Number(entry);
    if (!Number.isInteger(pid)) return [];
    try {
      const namespace = readlinkSync(`/proc/${pid}/ns/mnt`);
      if (seen.has(namespace)) return [];
      seen.add(namespace);
    } catch {
      // Not ours to look at, or gone: its mounts say which.
    }
    const mounts = mountsOf(pid).filter(isHeld);
    if (mounts.length === 0) return [];
    try {
      const command = readFileSync(`/proc/${pid}/comm`, 'utf8').trim();
      return mounts.map((mount) => ({ pid, command, mount }));
    } catch {
      return []; // It has ended meanwhile.
    }
  });
}

export const holdersOf = (source: string): Holder[] => holders((mount) => mount.source === source);

/** Where a path lies within its file system, whatever part of that is mounted; null where no mount is seen. */
export function insideOf(path: string): { device: string; path: string } | null {
  const over = mountOver(path);
  if (!over) return null;
  const below = path.slice(over.point === '/' ? 0 : over.point.length);
  return { device: over.device, path: `${over.root === '/' ? '' : over.root}${below}` || '/' };
}

/** Who has that folder, or one in it, mounted somewhere by itself, as a container has it. */
export function holdersBelow(folder: string): Holder[] {
  const inside = insideOf(folder);
  if (!inside) return [];
  const isThere = ({ device, root }: Mount): boolean => device === inside.device && within(inside.path, root);
  return holders((mount) => mount.root !== '/' && isThere(mount));
}

export const sayHolder = ({ pid, command, mount }: Holder): string => `process ${pid} (${command}) at ${mount.point}`;

/** It has ended, or ends at this moment: of what it sees nothing can be told. */
export const isEnding = (pid: number): boolean =>
  statSync(`/proc/${pid}/root/`, { throwIfNoEntry: false }) === undefined;

/**
 * Whether that process (an engine, or what it started) sees the very file system that we see at `point`. A service with any
 * hardening has mounts of its own: it would see an empty folder there, and begin a new GitLab over the old one.
 */
export function isSeenBy(pid: number, point: string): boolean {
  try {
    return (
      statSync(`/proc/${pid}/root${point}`).dev === statSync(point).dev &&
      mountsOf(pid).some((one) => one.point === point)
    );
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
    throw new Error(`process ${pid} cannot be looked at: ${sentenceOf(error)}`, { cause: error });
  }
}
