import { readdirSync, realpathSync } from 'node:fs';
import { realpath, stat } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import { AutogitError } from '../../../protocol/errors.ts';
import { askDisk } from '../../machine/asked-disk.ts';
import { type Mount, mountOver } from '../mount-table.ts';
import { isFolder } from './backup-target.ts';

/**
 * What to know of the disk that backups of `data` would go to, as the end of a sentence. Said, not refused: better there than nowhere.
 * Throws `bad-flag` where it lies in the data.
 */
export async function targetDiskWords(target: string, data: string): Promise<string> {
  if (!isFolder(target)) return '';
  if (target === data || target.startsWith(`${data}/`))
    throw new AutogitError('bad-flag', `${target} lies in GitLab's own data`, {
      hint: 'name a folder on another disk',
    });
  const [there, own] = [await mountNear(target), await mountNear(data)];
  if (there !== undefined && /^(tmpfs|ramfs)$/.test(there.type))
    return '; it lies in memory and is gone after a restart: name a folder on a disk';
  return isSameDisk(there, own)
    ? "; it is the same disk as GitLab's data: if that dies both are gone, so name another one too"
    : '';
}

/** Of that folder, or the one above it in which it would be made. */
async function mountNear(path: string): Promise<Mount | undefined> {
  const isThere = await askDisk(path, () => stat(path).catch(() => null));
  if (isThere === null && path !== '/') return mountNear(dirname(path));
  return mountOver(await askDisk(path, () => realpath(path)));
}

/** Subvolumes of one btrfs and partitions of one disk look like others to whoever asks for a device's number. */
function isSameDisk(one: Mount | undefined, other: Mount | undefined): boolean {
  if (one === undefined || other === undefined) return false;
  if (one.device === other.device || one.source === other.source) return true;
  const disks = disksOf(other);
  return disksOf(one).some((disk) => disks.includes(disk));
}

const disksOf = ({ source }: Mount): string[] => {
  try {
    return source.startsWith('/dev/') ? disksBelow(basename(realpathSync(source))) : [];
  } catch {
    return []; // Of another mount namespace, or gone.
  }
};

/** Whole disks, by the kernel's names, on which that block device lies: `nvme0n1` of `nvme0n1p2`, of `dm-0` those of its parts. */
export function disksBelow(name: string, blocks = '/sys/class/block'): string[] {
  const folder = realpathSync(`${blocks}/${name}`);
  const entries = readdirSync(folder);
  if (entries.includes('partition')) return [basename(dirname(folder))];
  const parts = entries.includes('slaves') ? readdirSync(`${folder}/slaves`) : [];
  return parts.length === 0 ? [name] : parts.flatMap((part) => disksBelow(part, blocks));
}
