import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { placeProblem } from './place-problem.ts';
import { readSmallFile } from './small-file.ts';
import { replaceFile, type SystemTools } from './system-tools.ts';

/** Whose data: the mesh's id, the deploy's, and the epoch of their host. */
export interface DataOwner {
  mesh: string;
  data: string;
  epoch: number;
}

const claimFile = 'autogit-place.json';
export const markerFile = 'autogit-data.json';

/**
 * Beside the data, on the owner's file system: what the mesh makes or made of this folder. Written before anything else, so
 * that a folder half made is told from somebody's own files, and one half removed from one that stands.
 */
const PlaceClaim = z.looseObject({
  mesh: z.string(),
  data: z.string(),
  kind: z.enum(['subvolume', 'image', 'folder']),
  state: z.enum(['making', 'made', 'removing']),
  /** The UUID of the image's file system. */
  fsid: z.string().nullable(),
  /** From before the image is mounted until it is really unmounted. */
  isMounted: z.boolean().optional(),
  /** For what it was opened last: the data, or copies of them. Absent where an agent of before did. */
  role: z.enum(['host', 'standby']).optional(),
  /** What stays free on the disk for the machine's owner when an image grows. */
  reserveBytes: z.number().nonnegative(),
  /** Of a closed image: GitLab's own note in the data (null: it never worked with them), and by which image it ran last. */
  version: z.string().max(64).nullish(),
  image: z.string().max(512).optional(),
});
export type PlaceClaim = z.infer<typeof PlaceClaim>;

/**
 * In the data themselves, where GitLab's container sees it too: an empty folder in their place, of a mount that is not
 * there, carries none (SAFETY H10: it is served only if its epoch equals the ledger's).
 */
const Marker = z.looseObject({ mesh: z.string(), data: z.string(), epoch: z.int().positive() });

const codeOf = (error: unknown): string | undefined => (error as NodeJS.ErrnoException).code;

/** Null when there is none. */
export function readClaim(path: string): PlaceClaim | null {
  let text: string;
  try {
    text = readSmallFile(join(path, claimFile));
  } catch (error) {
    if (codeOf(error) === 'ENOENT' || codeOf(error) === 'ENOTDIR') return null;
    throw placeProblem(
      codeOf(error) === 'ENOTPLAIN'
        ? `${join(path, claimFile)} is no plain file: no mesh made that`
        : `${join(path, claimFile)} cannot be read: ${codeOf(error)}`,
      `look at it: ls -la ${path}`,
      error,
    );
  }
  try {
    return PlaceClaim.parse(JSON.parse(text));
  } catch (error) {
    throw placeProblem(
      `${join(path, claimFile)} is damaged: what lies there is not known`,
      `bring it back from a copy, or move the folder away: cat ${join(path, claimFile)}`,
      error,
    );
  }
}

export const writeClaim = (path: string, claim: PlaceClaim, tools: SystemTools): Promise<void> =>
  replaceFile(join(path, claimFile), JSON.stringify(claim), tools);

export const claimPath = (path: string): string => join(path, claimFile);

/** What a folder holds; `lost+found` is every new disk's. */
export function contentOf(path: string): 'absent' | 'empty' | 'place' | 'foreign' {
  let names: string[];
  try {
    names = readdirSync(path);
  } catch (error) {
    // A file in the folder's place is somebody's.
    return codeOf(error) === 'ENOENT' ? 'absent' : 'foreign';
  }
  if (names.includes(claimFile)) return 'place';
  // A claim that was being written when the power went.
  return names.every((name) => name === 'lost+found' || name === `${claimFile}.new`) ? 'empty' : 'foreign';
}

export const writeMarker = (data: string, owner: DataOwner, tools: SystemTools): Promise<void> =>
  replaceFile(join(data, markerFile), JSON.stringify(owner), tools);

/** Whoever's; null where there is none, or it makes no sense. Not through a link: what another machine sent may lead anywhere. */
export function markerIn(data: string): DataOwner | null {
  try {
    return Marker.parse(JSON.parse(readSmallFile(join(data, markerFile))));
  } catch {
    return null;
  }
}

/** Of these data; null where there is no such marker. */
export function markedEpoch(data: string, { mesh, data: id }: Pick<DataOwner, 'mesh' | 'data'>): number | null {
  const marker = markerIn(data);
  return marker?.mesh === mesh && marker.data === id ? marker.epoch : null;
}

/** Throws unless that folder carries exactly this marker. `where`: how the folder is called to a person. */
export function checkMarker(data: string, owner: DataOwner, where: string): void {
  const look = `look at it, and start nothing on it: ls -la ${where}`;
  let text: string;
  try {
    text = readSmallFile(join(data, markerFile));
  } catch (error) {
    if (codeOf(error) === 'ENOTPLAIN') throw placeProblem(`the marker in ${where} is no plain file`, look, error);
    if (codeOf(error) !== 'ENOENT')
      throw placeProblem(
        `the marker in ${where} cannot be read: ${codeOf(error)}`,
        'look at the disk: dmesg | tail',
        error,
      );
    const isEmpty = contentOf(data) === 'empty' || contentOf(data) === 'absent';
    throw placeProblem(
      isEmpty ? `${where} is empty: GitLab's data are not there` : `${where} carries no marker of the mesh`,
      isEmpty ? `see whether its disk is mounted: findmnt -T ${where}` : look,
    );
  }
  let marker: DataOwner;
  try {
    marker = Marker.parse(JSON.parse(text));
  } catch (error) {
    throw placeProblem(`the marker in ${where} is damaged`, look, error);
  }
  if (marker.mesh !== owner.mesh) throw placeProblem(`${where} holds the data of another mesh`, look);
  if (marker.data !== owner.data)
    throw placeProblem(`${where} holds the data of another GitLab of this mesh (${marker.data})`, look);
  if (marker.epoch !== owner.epoch)
    throw placeProblem(
      `${where} holds the data of epoch ${marker.epoch}, and the mesh serves epoch ${owner.epoch}: they are not the newest`,
      look,
    );
}
