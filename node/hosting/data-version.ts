import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { DeployCheck } from '../../protocol/asks.ts';
import { checkOf } from './deploy-check.ts';
import { type PlaceClaim, readClaim } from './place-records.ts';
import { holdsCopiesOnly, onlyCopies, treeOf } from './place-tree.ts';
import { versionIn } from './vault/kept-rounds.ts';

/** GitLab's data, and with which GitLab they were written. */
interface WrittenBy {
  path: string;
  /** As GitLab says it: `19.4.1`, `19.4.1-ee`. */
  version: string;
  /** By which it ran last; null where nobody knows. */
  image: string | null;
}

const taggedIn = (image: string): string | undefined => /:(\d+\.\d+\.\d+)/.exec(image)?.[1];
const plainOf = (version: string): string | undefined => /^\d+\.\d+\.\d+/.exec(version)?.[0];

/** The image of exactly that version: the one by which it ran, else as GitLab names its own. */
export function imageOfData({ version, image }: Pick<WrittenBy, 'version' | 'image'>): string {
  const plain = plainOf(version) ?? version;
  if (image !== null && (taggedIn(image) ?? plain) === plain) return image;
  const edition = /-ee\b/.test(version) ? 'ee' : 'ce';
  return `gitlab/gitlab-${edition}:${plain}-${edition}.0`;
}

/** GitLab takes data of exactly its own version. `fix`: what helps where `image` is another one. */
export function versionLine(of: WrittenBy, image: string, fix: (right: string) => string): DeployCheck {
  const [tagged, plain] = [taggedIn(image), plainOf(of.version)];
  if (tagged !== undefined && plain !== undefined && tagged !== plain)
    return checkOf(
      'fail',
      'version',
      `${of.path} is of GitLab ${of.version}, and ${image} is another one: it takes data of exactly its own version`,
      fix(imageOfData(of)),
    );
  const isSure = tagged !== undefined || image === of.image;
  return isSure
    ? checkOf('ok', 'version', `GitLab ${of.version}, by ${image}`)
    : checkOf(
        'warn',
        'version',
        `${of.path} is of GitLab ${of.version}, and ${image} does not say which it is: it takes data of exactly its own version`,
        fix(imageOfData(of)),
      );
}

const own = (image: string): string =>
  `theirs: --image ${image}; a newer one once it serves: autogit-node gitlab upgrade; or a new GitLab beside them: --data DIR`;

/**
 * Of data that an uninstalled GitLab of this mesh left, and on which `image` shall run; nothing where GitLab never worked with them. A
 * machine from which it had moved away has copies only: they would never serve.
 */
export function leftVersionLines(at: Pick<PlaceClaim, 'kind'> & { path: string }, image: string): DeployCheck[] {
  const claim = readClaim(at.path);
  const tree = treeOf(at);
  const live = join(tree, 'live');
  if (holdsCopiesOnly(tree) || (claim?.role === 'standby' && !existsSync(live)))
    return [checkOf('fail', 'place', ...onlyCopies(at.path))];
  // Where it is open, or needs no mount, what lies there says so itself.
  const version = existsSync(live) ? versionIn(live) : claim?.version;
  if (version === null) return [];
  if (version === undefined)
    return [
      checkOf(
        'warn',
        'version',
        `${at.path} does not say of which GitLab version it is, and another one than that may ruin it; ${image} shall run on it`,
        'the version that ran there: --image IMAGE',
      ),
    ];
  return [versionLine({ path: at.path, version, image: claim?.image ?? null }, image, own)];
}
