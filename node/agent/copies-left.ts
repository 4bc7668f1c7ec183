import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { shellQuoted } from '../../gitlab-bridge/variables.ts';
import type { Attention } from '../../protocol/status.ts';
import type { Hosting } from '../../scheduler/hosting/hosted-edits.ts';
import { leftData } from '../hosting/left-data.ts';
import { readClaim } from '../hosting/place-records.ts';
import { imageOf, mountPointOf } from '../hosting/place-tree.ts';
import { copiesFolder } from '../hosting/replica/copies-place.ts';
import { showBytes } from '../settings/quantities.ts';

/**
 * Copies of a GitLab that this mesh runs no more (uninstalled without its data, its host forgotten): nobody deletes them but a
 * person, who has to hear of them first. `known`: what it runs now.
 */
export function leftLines(home: string, known: Hosting | null): Attention[] {
  return [...dataLeftLines(home, known), ...copiesLeftLines(home, known)];
}

/** Data of a GitLab that ended here and that nobody deleted. That they stay was meant; how they go has to be known. */
const dataLeftLines = (home: string, known: Hosting | null): Attention[] =>
  leftData(home).flatMap(({ path, claim: { kind, data } }): Attention[] => {
    if (data === known?.data) return [];
    const sentence = `the data of a GitLab that ended here lie in ${path}${sizeAt(path)}: gitlab deploy${path === join(home, 'gitlab') ? '' : ' --data'} takes them up again`;
    return [{ code: 'gitlab-data-left', severity: 'info', sentence, fix: deletion(path, kind) }];
  });

const sizeAt = (path: string): string => {
  const bytes = statSync(imageOf(path), { throwIfNoEntry: false })?.blocks;
  return bytes === undefined ? '' : `, ${showBytes(bytes * 512)}`;
};

/** What keeps a plain `rm` from it: the mount point of an image, and read-only snapshots. */
function deletion(path: string, kind: string): string {
  const [folder, mounted] = [path, mountPointOf(path)].map(quotedWhereNeeded);
  const first =
    kind === 'image' ? `chattr -i ${mounted}; ` : kind === 'subvolume' ? subvolumesOf(folder as string) : '';
  return `sudo sh -c "${first}rm -r ${folder}"`;
}

const subvolumesOf = (folder: string): string => `btrfs subvolume delete ${folder}/copies/*/rounds/*/*; `;

function copiesLeftLines(home: string, known: Hosting | null): Attention[] {
  return foldersIn(copiesFolder(home, '')).flatMap((data): Attention[] => {
    const path = copiesFolder(home, data);
    const kind = data === known?.data ? null : kindAt(path);
    if (kind === null) return [];
    return [
      {
        code: 'gitlab-copies-left',
        severity: 'warn',
        sentence: `copies of a GitLab that this mesh runs no more lie in ${path}${sizeAt(path)}: all of it, its secrets too; they may be the last ones`,
        fix: deletion(path, kind),
      },
    ];
  });
}

const quotedWhereNeeded = (path: string): string => (/^[\w./@:-]+$/.test(path) ? path : shellQuoted(path));

function foldersIn(path: string): string[] {
  try {
    const entries = readdirSync(path, { withFileTypes: true });
    return entries.filter((entry) => entry.isDirectory()).map(({ name }) => name);
  } catch {
    return []; // None was ever held here.
  }
}

/** Null where there is nothing of ours, or it is not known what. */
function kindAt(path: string): string | null {
  try {
    return readClaim(path)?.kind ?? null;
  } catch {
    return null;
  }
}
