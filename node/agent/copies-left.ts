import { readdirSync, statSync } from 'node:fs';
import { shellQuoted } from '../../gitlab-bridge/variables.ts';
import type { Attention } from '../../protocol/status.ts';
import type { Hosting } from '../../scheduler/hosting/hosted-edits.ts';
import { readClaim } from '../hosting/place-records.ts';
import { imageOf, mountPointOf } from '../hosting/place-tree.ts';
import { copiesFolder } from '../hosting/replica/copies-place.ts';
import { showBytes } from '../settings/quantities.ts';

/**
 * Copies of a GitLab that this mesh runs no more (uninstalled without its data, its host forgotten): nobody deletes them but a
 * person, who has to hear of them first. `known`: what it runs now.
 */
export function copiesLeftLines(home: string, known: Hosting | null): Attention[] {
  return foldersIn(copiesFolder(home, '')).flatMap((data): Attention[] => {
    const path = copiesFolder(home, data);
    const kind = data === known?.data ? null : kindAt(path);
    if (kind === null) return [];
    const bytes = statSync(imageOf(path), { throwIfNoEntry: false })?.blocks;
    const size = bytes === undefined ? '' : `, ${showBytes(bytes * 512)}`;
    const [folder, mounted] = [path, mountPointOf(path)].map(quotedWhereNeeded);
    // What keeps a plain `rm` from it: the mount point of an image, and read-only snapshots.
    const first = kind === 'image' ? `chattr -i ${mounted}` : `btrfs subvolume delete ${folder}/copies/*/rounds/*/*`;
    return [
      {
        code: 'gitlab-copies-left',
        severity: 'warn',
        sentence: `copies of a GitLab that this mesh runs no more lie in ${path}${size}: all of it, its secrets too; they may be the last ones`,
        fix: `sudo sh -c "${first}; rm -r ${folder}"`,
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
