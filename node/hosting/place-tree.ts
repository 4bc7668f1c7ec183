import { existsSync, realpathSync, statSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import type { PlaceAt } from './place-choice.ts';
import { placeProblem } from './place-problem.ts';

/**
 * `live`: what one snapshot holds, configuration, database, repositories, queues. `bulk`: what may follow behind it. `logs`
 * are of no copy.
 */
export const subvolumes = ['live', 'bulk', 'logs'] as const;

export const imageOf = (path: string): string => join(path, 'gitlab.img');
export const mountPointOf = (path: string): string => join(path, 'mounted');
/** The folder that has the subvolumes. */
export const treeOf = ({ kind, path }: PlaceAt): string => (kind === 'image' ? mountPointOf(path) : path);

/** Where the rounds of a place lie, beside its living data: `hot` and `bulk`. */
export const copiesOf = (tree: string): string => join(tree, 'copies');

/** GitLab's data went to another machine, and what is here are copies of them. Of an image that is not mounted nothing can be seen. */
export const holdsCopiesOnly = (tree: string): boolean => !existsSync(join(tree, 'live')) && existsSync(copiesOf(tree));

/** What there is to say of such a place, and the fix. */
export const onlyCopies = (path: string): [sentence: string, fix: string] => [
  `${path} holds copies of GitLab, and not the data with which it ran last: it went to another machine`,
  `run it on the data that it has there: autogit-node gitlab deploy --on NODE --data DIR; where that machine is gone for good, on these copies: autogit-node gitlab adopt --data ${path}`,
];

/** Rounds that another machine gave back, until they are put back or given up. */
export const broughtOf = (tree: string): string => join(tree, 'brought');

/** Without links, as the kernel names it where something is mounted there; what is not there yet below what is. Throws `data-place` of a file. */
export function realFolder(path: string): string {
  let found: string;
  try {
    found = realpathSync(path);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    // Below a file nothing can be: that is asked of what is above, and told of it.
    if ((code !== 'ENOENT' && code !== 'ENOTDIR') || dirname(path) === path) throw error;
    return join(realFolder(dirname(path)), basename(path));
  }
  if (statSync(found).isDirectory()) return found;
  throw placeProblem(`${path} is a file, and GitLab's data lie in a folder`, 'name the folder: --data DIR');
}

/** That path, or the folder above it in which it would be made. */
export const existingAt = (path: string): string => (existsSync(path) ? path : existingAt(dirname(path)));
