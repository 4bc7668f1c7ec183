import { join, relative } from 'node:path';
import type { OmnibusContainer } from '../../machine/omnibus-containers.ts';
import { type DataFolders, insideContainer } from '../data-place.ts';

/** A folder of that container: where it has it, and where it lies on this machine. */
export interface FolderToCopy {
  inside: string;
  outside: string;
}

const tops = [insideContainer.config, insideContainer.data, insideContainer.logs];
const isBelow = (top: string, path: string): boolean => path === top || path.startsWith(`${top}/`);

/** Mounts that hold what GitLab is; whatever lies below another one comes after it. */
export const foldersOf = ({ mounts }: Pick<OmnibusContainer, 'mounts'>): FolderToCopy[] =>
  mounts
    .filter(({ inside }) => tops.some((top) => isBelow(top, inside)))
    .map(({ inside, outside }) => ({ inside, outside }))
    .sort((a, b) => a.inside.length - b.inside.length || (a.inside < b.inside ? -1 : 1));

/** All else that it has of this machine. */
export const besidesOf = ({ mounts }: Pick<OmnibusContainer, 'mounts'>): string[] =>
  mounts.map(({ inside }) => inside).filter((inside) => !tops.some((top) => isBelow(top, inside)));

/** Where in the place lies what GitLab's container has at that path: by the folder of the place that goes furthest. */
export function targetOf(inside: string, folders: DataFolders): string {
  const names = (Object.keys(insideContainer) as (keyof DataFolders)[])
    .filter((name) => isBelow(insideContainer[name], inside))
    .sort((a, b) => insideContainer[b].length - insideContainer[a].length);
  const name = names[0] as keyof DataFolders;
  return join(folders[name], relative(insideContainer[name], inside));
}

/** Folders of the place that begin somewhere below that path: what lies there is copied by itself. */
export const holesBelow = (inside: string): string[] =>
  Object.values(insideContainer).filter((path) => path !== inside && isBelow(inside, path));
