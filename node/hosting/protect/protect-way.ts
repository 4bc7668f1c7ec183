import { dirname } from 'node:path';
import type { DeployCheck } from '../../../protocol/asks.ts';
import type { ProtectedWay } from '../../../protocol/protected-gitlab.ts';
import { asRootService } from '../../machine/as-service.ts';
import { showBytes } from '../../settings/quantities.ts';
import { checkOf } from '../deploy-check.ts';

/** What was found of a GitLab that runs here without the mesh, and of what its backups need. */
export interface ProtectFacts {
  container: {
    name: string;
    image: string;
    isRunning: boolean;
    status: string;
    hasObjectStorage: boolean;
    hasOtherDatabase: boolean;
    dataElsewhere: readonly string[];
  };
  /** Folders of this machine, as the engine mounts them; null: it has none, or none that is seen here. */
  config: string | null;
  data: string | null;
  /** Where its own gitlab-backup writes. */
  backups: string | null;
  /** Of the file system that the data lie on. */
  fileSystem: string;
  /** The subvolume that has the data in it, and a folder on the same file system for a snapshot of it. */
  subvolume: string | null;
  snapshots: string | null;
  /** Why a snapshot would not have all of the data. */
  hole: string | null;
  /** Folders in the container that are mounts of their own below its data. */
  inner: readonly string[];
  isRoot: boolean;
  hasRestic: boolean;
  hasBtrfs: boolean;
  /** What its own backup would have to read; null where it was not counted. */
  dataBytes: number | null;
  /** Where its own backup would lie. */
  freeBytes: number;
}

interface Chosen {
  way: ProtectedWay;
  /** Why this one, and what it costs. */
  because: string;
}
interface Refused {
  refused: string;
  fix: string;
}
type Choice = Chosen | Refused;

/** How it is backed up: by a snapshot where one can be had, else by its own means, else not at all. */
export function chooseWay(facts: ProtectFacts): Choice {
  const refused = whyNone(facts);
  if (refused !== null) return refused;
  const { data } = facts;
  const whyOwn = whyNoSnapshot(facts);
  if (whyOwn === null)
    return {
      way: 'snapshot',
      because: `${data} is on btrfs: each backup is of one instant, from a snapshot`,
    };
  if (facts.backups === null)
    return {
      refused: `${whyOwn}, and the folder of GitLab's own backups is not on this machine`,
      fix: 'mount a folder of this machine there: docs/protect-gitlab.md',
    };
  return {
    way: 'own',
    because: `${whyOwn}: GitLab's own gitlab-backup makes each one, with its configuration beside it; that takes a core while it runs and room for twice the data, is not of one instant, and leaves out queued work`,
  };
}

function whyNone({ container, config, data, isRoot, hasRestic }: ProtectFacts): Refused | null {
  if (data === null || config === null)
    return {
      refused: `container ${container.name} has no folder of this machine at ${data === null ? '/var/opt/gitlab' : '/etc/gitlab'}: what is in the container alone goes with it`,
      fix: 'give it volumes, as GitLab says for Docker; then again',
    };
  if (!isRoot)
    return {
      refused: "GitLab's data belong to its own users, and the agent here is not root",
      fix: `start its agent as root, as a service: ${asRootService()}`,
    };
  if (!hasRestic) return { refused: 'restic is not installed on this machine', fix: 'apt install restic, then again' };
  return null;
}

/** Null where one instant of all of the data can be had. */
function whyNoSnapshot(facts: ProtectFacts): string | null {
  const { data, fileSystem, inner, hole } = facts;
  if (fileSystem !== 'btrfs') return `${data} is on ${fileSystem}, which has no snapshots`;
  if (!facts.hasBtrfs) return `${data} is on btrfs, and btrfs-progs is not installed here`;
  if (inner.length > 0) return `${inner[0]} is a mount of its own in its container, and in no snapshot of ${data}`;
  const { hasOtherDatabase, dataElsewhere } = facts.container;
  if (hasOtherDatabase) return `its database is not among its data (postgresql['enable'] = false in gitlab.rb)`;
  if (dataElsewhere.length > 0)
    return `its gitlab.rb keeps data in ${dataElsewhere[0]} too, and that is in no snapshot of ${data}`;
  if (hole !== null) return hole;
  if (facts.subvolume === null) return `the subvolume that ${data} lies in is not to be seen here`;
  if (facts.snapshots === null)
    return `there is no folder beside ${data} on its file system in which a snapshot could lie`;
  return null;
}

/**
 * Where snapshots of it can be kept, for weeks: only of a subvolume that has GitLab's data and nothing else of its owner's, whose
 * deleted files they would hold.
 */
export function whereKept(facts: ProtectFacts): { folder: string } | { because: string; fix: string | null } {
  const { data, config, subvolume, snapshots } = facts;
  const isOne = whyNone(facts) === null && whyNoSnapshot(facts) === null;
  if (!isOne || data === null || subvolume === null || snapshots === null)
    return { because: 'none can be had', fix: null };
  const isOwn = subvolume === data || (subvolume === dirname(data) && config?.startsWith(`${subvolume}/`) === true);
  if (isOwn) return { folder: `${snapshots}-kept` };
  return {
    because: `${data} is no subvolume of its own but lies in ${subvolume}, and they would hold whatever is deleted in that`,
    fix: `with GitLab stopped: mv ${data} ${data}.old; btrfs subvolume create ${data}; cp -a --reflink ${data}.old/. ${data}`,
  };
}

export const keptWords = (folder: string): string =>
  `a snapshot each ten minutes is kept in ${folder}: of an hour all, of a day one an hour, of two weeks one a day; all of them go before the machine's owner has less room than a tenth of that disk (2 to 50 GiB)`;

const spareBytes = 1 << 30;

/**
 * How GitLab's own backup is made: by copies first, which changes while it runs do not disturb, where there is room for two;
 * else in one go. `refused`: there is no room.
 */
export function ownStrategy(dataBytes: number, freeBytes: number): { words: string[] } | { refused: string } {
  const needs = (copies: number): number => dataBytes * copies + spareBytes;
  if (freeBytes >= needs(2)) return { words: ['STRATEGY=copy'] };
  if (freeBytes >= needs(1)) return { words: [] };
  return {
    refused: `GitLab's own backup needs ${showBytes(needs(1))} where it writes, and ${showBytes(freeBytes)} are free`,
  };
}

/** What a person is shown before anything is begun. */
export function protectLines(facts: ProtectFacts, choice: Choice): DeployCheck[] {
  const { container, config, data } = facts;
  const state = container.isRunning ? 'runs' : `is ${container.status}: no backup is made until it runs`;
  const lines = [
    checkOf(container.isRunning ? 'ok' : 'warn', 'container', `${container.name} (${container.image}) ${state}`),
  ];
  if ('refused' in choice) return [...lines, checkOf('fail', 'way', choice.refused, choice.fix)];
  lines.push(checkOf('ok', 'data', `${data} and ${config}`), checkOf('ok', 'way', choice.because));
  if (choice.way === 'own') lines.push(roomLine(facts));
  else {
    const kept = whereKept(facts);
    lines.push(
      'folder' in kept
        ? checkOf('ok', 'history', keptWords(kept.folder))
        : checkOf('warn', 'history', `no snapshots are kept: ${kept.because}`, kept.fix),
    );
  }
  if (container.hasObjectStorage)
    lines.push(
      checkOf('warn', 'objects', 'what lies in its object storage is in no backup', 'back that storage up where it is'),
    );
  return lines;
}

function roomLine({ dataBytes, freeBytes, backups }: ProtectFacts): DeployCheck {
  if (dataBytes === null)
    return checkOf('warn', 'room', `how much it is was not counted in time; it is looked at before each backup`);
  const strategy = ownStrategy(dataBytes, freeBytes);
  const figures = `${showBytes(dataBytes)} of data, ${showBytes(freeBytes)} free at ${backups}`;
  if ('refused' in strategy) return checkOf('fail', 'room', strategy.refused, `make room at ${backups}`);
  return strategy.words.length > 0
    ? checkOf('ok', 'room', figures)
    : checkOf('warn', 'room', `${figures}: what changes while it is read may make one fail; it is tried again then`);
}

/** The image with which such a backup can be taken up again: a tag like `latest` is another version by then. */
export function imageToRestore(image: string, version: string | null): string {
  if (version === null) return image;
  const [plain = ''] = version.split('-');
  const isNamed = image.includes(`:${plain}`) && /^[A-Za-z0-9][\w.:/@-]*$/.test(image);
  if (isNamed || !/^\d+\.\d+\.\d+$/.test(plain)) return image;
  return version.includes('-ee') ? `gitlab/gitlab-ee:${plain}-ee.0` : `gitlab/gitlab-ce:${plain}-ce.0`;
}
