import { asRootService } from '../machine/as-service.ts';
import { showBytes } from '../settings/quantities.ts';

/**
 * `subvolume`: on the owner's own btrfs. `image`: a file with btrfs in it. `folder`: no snapshots, so no copies to other
 * machines, now or later.
 */
type PlaceKind = 'subvolume' | 'image' | 'folder';

/** Where a hosted GitLab's data lie on its machine; as the ledger has it. */
export interface PlaceAt {
  kind: PlaceKind;
  path: string;
}

export interface PlaceChoice extends PlaceAt {
  /** The data that lie there already. */
  data: string | null;
  because: string;
}

interface PlaceRefused {
  refused: string;
  fix: string;
}

export interface PlaceFacts {
  path: string;
  /** What lies there: nothing, a place that the mesh made, or what is somebody's. */
  content: 'absent' | 'empty' | 'place' | 'foreign';
  /** Where it is a place of this mesh: what was made there. It is taken up again. */
  own: { kind: PlaceKind; data: string } | null;
  /** What this mesh had there is being deleted. */
  isGoing?: boolean;
  /** The kernel's name of the file system that it lies on, or would. */
  fileSystem: string;
  root: boolean;
  /** Programs that are not there, of `placePrograms`. */
  missing: readonly string[];
  totalBytes: number;
  freeBytes: number;
}

export const placePrograms = ['btrfs', 'mkfs.btrfs', 'losetup', 'mount', 'fallocate', 'flock'] as const;
/** Where these programs come from on Debian and its like. */
const installPrograms = 'sudo apt-get install btrfs-progs util-linux mount';

/** On these an image's room can be taken beforehand. */
const allocates = new Set(['ext4', 'xfs', 'f2fs']);
/** Not there after a restart, not this machine's, or without owners and modes. */
const unfit: readonly [RegExp, string][] = [
  [/^(tmpfs|ramfs)$/, 'lies in memory and is gone after a restart'],
  [/^(overlay|aufs|squashfs|iso9660)$/, 'is the layer of a container or cannot be written'],
  [/^(nfs|cifs|smb|9p|fuse|virtiofs|afs|ceph|glusterfs)/, 'lies on another machine or behind a program'],
  [
    /^(proc|sysfs|devtmpfs|devpts|cgroup2?|securityfs|debugfs|tracefs|configfs|bpf|mqueue|hugetlbfs|efivarfs|pstore)$/,
    "is no disk: what is there is the kernel's own",
  ],
  [/^(vfat|exfat|ntfs|hfs|msdos)/, 'keeps no owners and modes of files'],
];

/** What stays free for the machine's owner: a tenth, at least 2 and at most 50 GiB. */
export const ownersReserve = (totalBytes: number): number =>
  Math.min(50 * 2 ** 30, Math.max(2 * 2 ** 30, totalBytes / 10));

/** `needBytes`: what GitLab's data take at first. `hasSmaller`: a preset takes less. */
export function choosePlace(facts: PlaceFacts, needBytes: number, hasSmaller = false): PlaceChoice | PlaceRefused {
  const { path, fileSystem } = facts;
  if (facts.content === 'foreign')
    return { refused: `${path} holds files that are not the mesh's`, fix: `name an empty folder: --data DIR` };
  if (facts.content === 'place') return takenUp(facts);
  const why = unfit.find(([kind]) => kind.test(fileSystem))?.[1];
  if (why !== undefined)
    return {
      refused: `${path} is on ${fileSystem}, which ${why}`,
      fix: 'name a folder on a disk of the machine: --data DIR',
    };
  const reserve = ownersReserve(facts.totalBytes);
  if (facts.freeBytes - needBytes < reserve)
    return {
      refused: `GitLab needs ${showBytes(needBytes)} at ${path}, and ${showBytes(reserve)} stay for the machine's owner: ${showBytes(facts.freeBytes)} are free`,
      fix: `make room, ${hasSmaller ? 'take a smaller one (--preset minimal), ' : ''}or name a folder on another disk: --data DIR`,
    };
  return kindOf(facts);
}

/** What a GitLab of this mesh left that was uninstalled, or that never came up. */
function takenUp({ path, own, isGoing, root, missing }: PlaceFacts): PlaceChoice | PlaceRefused {
  if (isGoing)
    return {
      refused: `what the mesh had in ${path} is being deleted in this moment`,
      fix: 'wait some seconds, and type the same command again',
    };
  if (own === null)
    return {
      refused: `${path} holds the data of a GitLab of another mesh`,
      fix: `where that mesh is gone for good: autogit-node gitlab adopt --data ${path}`,
    };
  const { kind, data } = own;
  const lacks = kind === 'folder' ? [] : missing;
  if (lacks.length > 0)
    return { refused: `${lacks.join(', ')} not here, with which ${path} was made`, fix: installPrograms };
  if (kind !== 'folder' && !root) return { refused: `${path} was made by an agent as root`, fix: asRootService() };
  return { kind, path, data, because: `${path} holds the data of the GitLab that was here: they are taken up again` };
}

function kindOf({ path, fileSystem, root, missing }: PlaceFacts): PlaceChoice {
  const folder = (because: string): PlaceChoice => ({
    kind: 'folder',
    path,
    data: null,
    because: `${because}: a plain folder, which takes no snapshots, so GitLab cannot move by itself`,
  });
  if (!root) return folder('the agent is not root here');
  const lacks = (...names: string[]): string[] => names.filter((name) => missing.includes(name));
  if (fileSystem === 'btrfs') {
    if (lacks('btrfs').length > 0) return folder(`the program btrfs is not here (${installPrograms})`);
    return { kind: 'subvolume', path, data: null, because: `${path} is on btrfs: subvolumes there` };
  }
  if (!allocates.has(fileSystem)) return folder(`${fileSystem} cannot take an image's room beforehand`);
  const [first, ...more] = lacks(...placePrograms);
  if (first !== undefined)
    return folder(`${[first, ...more].join(', ')} ${more.length > 0 ? 'are' : 'is'} not here (${installPrograms})`);
  return {
    kind: 'image',
    path,
    data: null,
    because: `${path} is on ${fileSystem}: an image with btrfs, its room taken beforehand`,
  };
}
