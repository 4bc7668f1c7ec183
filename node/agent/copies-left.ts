import { existsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { shellQuoted } from '../../gitlab-bridge/variables.ts';
import { AutogitError } from '../../protocol/errors.ts';
import type { Attention } from '../../protocol/status.ts';
import type { Hosting } from '../../scheduler/hosting/hosted-edits.ts';
import { leftData } from '../hosting/left-data.ts';
import { type PlaceClaim, readClaim } from '../hosting/place-records.ts';
import { copiesOf, imageOf, mountPointOf } from '../hosting/place-tree.ts';
import { copiesAt, copiesHere, fencedAt, isStillHosts } from '../hosting/replica/copies-note.ts';
import { showBytes } from '../settings/quantities.ts';

/**
 * What of a GitLab lies on this machine that nobody uses: copies of one that this mesh runs no more (uninstalled without its data, its
 * host forgotten), data of one that ended here, and what this machine served until another one took over. Nobody deletes them but a
 * person, who has to hear of them first. `known`: what it runs now.
 */
export function leftLines(home: string, known: Hosting | null): Attention[] {
  const noted = copiesHere(home).flatMap((data) => {
    const at = placeAt(home, data);
    return at === null ? [] : [{ data, ...at }];
  });
  const own = noted.flatMap((one): Attention[] => {
    if ('lines' in one) return one.lines;
    return one.data === known?.data ? fencedLines(one.path, fencedAt(home, one.data)) : copiesLeftLines(one.path);
  });
  const said = new Set(noted.flatMap((one) => ('path' in one ? [one.path] : [])));
  return [...dataLeftLines(home, known, said), ...own];
}

/** Null where no copies lie, but what it ran with. A damaged note says itself what is to be done with it. */
function placeAt(home: string, data: string): { path: string } | { lines: Attention[] } | null {
  try {
    return isStillHosts(home, data) ? null : copiesAt(home, data);
  } catch (error) {
    if (!(error instanceof AutogitError)) throw error;
    return { lines: [{ code: 'gitlab-copies-left', severity: 'warn', sentence: error.message, fix: error.hint }] };
  }
}

/** Data of a GitLab that ended here and that nobody deleted. That they stay was meant; how they go has to be known. `said`: places of which all is said. */
const dataLeftLines = (home: string, known: Hosting | null, said: ReadonlySet<string>): Attention[] =>
  leftData(home).flatMap(({ path, claim: { kind, data } }): Attention[] => {
    if (data === known?.data || said.has(path)) return [];
    const sentence = `the data of a GitLab that ended here lie in ${path}${sizeAt(path)}: gitlab deploy${path === join(home, 'gitlab') ? '' : ' --data'} takes them up again`;
    return [{ code: 'gitlab-data-left', severity: 'info', sentence, fix: deletion(path, kind) }];
  });

const sizeAt = (path: string): string => {
  const bytes = statSync(imageOf(path), { throwIfNoEntry: false })?.blocks;
  return bytes === undefined ? '' : `, ${showBytes(bytes * 512)}`;
};

/** What keeps a plain `rm` from it: the mount point of an image, and read-only snapshots. */
export function deletion(path: string, kind: string): string {
  const [folder, mounted] = [path, mountPointOf(path)].map(quotedWhereNeeded);
  const first =
    kind === 'image' ? `chattr -i ${mounted}; ` : kind === 'subvolume' ? subvolumesOf(folder as string) : '';
  return `sudo sh -c "${first}rm -r ${folder}"`;
}

const subvolumesOf = (folder: string): string => `btrfs subvolume delete ${folder}/copies/*/rounds/*/*; `;

function copiesLeftLines(path: string): Attention[] {
  const kind = kindAt(path);
  if (kind === null) return [];
  return [
    {
      code: 'gitlab-copies-left',
      severity: 'warn',
      sentence: `copies of a GitLab that this mesh runs no more lie in ${path}${sizeAt(path)}: all of it, its secrets too; they may be the last ones, and GitLab runs on them again by: gitlab adopt --data ${quotedWhereNeeded(path)}`,
      fix: deletion(path, kind),
    },
  ];
}

/** Kept beside the copies, as it may be more than the mesh went on with: a person looks at it, and deletes it. */
function fencedLines(path: string, fenced: readonly string[]): Attention[] {
  const kind = kindAt(path);
  const tree = kind === 'image' ? mountPointOf(path) : path;
  return fenced.flatMap((name): Attention[] => {
    // Of an image that is not mounted nothing is seen.
    const isThere = existsSync(join(tree, name));
    if (kind === null || (existsSync(copiesOf(tree)) && !isThere)) return [];
    const folder = quotedWhereNeeded(join(tree, name));
    return [
      {
        code: 'gitlab-fenced',
        severity: 'warn',
        sentence: `what this machine served of GitLab until another one took over is kept in ${folder}: what it took in its last seconds may be nowhere else`,
        fix: isThere
          ? `what is in it alone (then, for room, gitlab fenced drop ${name}): autogit-node gitlab diff ${name}`
          : 'it is looked at while this machine holds copies: autogit-node gitlab copies add NAME',
      },
    ];
  });
}

const quotedWhereNeeded = (path: string): string => (/^[\w./@:-]+$/.test(path) ? path : shellQuoted(path));

/** Null where there is nothing of ours, or it is not known what. */
const kindAt = (path: string): string | null => claimAt(path)?.kind ?? null;

export function claimAt(path: string): PlaceClaim | null {
  try {
    return readClaim(path);
  } catch {
    return null;
  }
}
