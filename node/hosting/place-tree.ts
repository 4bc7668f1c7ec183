import { existsSync, realpathSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import type { PlaceAt } from './place-choice.ts';

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

/** Rounds that another machine gave back, until they are put back or given up. */
export const broughtOf = (tree: string): string => join(tree, 'brought');

/** Without links, as the kernel names it where something is mounted there; what is not there yet below what is. */
export function realFolder(path: string): string {
  try {
    return realpathSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT' || dirname(path) === path) throw error;
    return join(realFolder(dirname(path)), basename(path));
  }
}

/** That path, or the folder above it in which it would be made. */
export const existingAt = (path: string): string => (existsSync(path) ? path : existingAt(dirname(path)));
