import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { type PlaceClaim, readClaim } from './place-records.ts';

/** Folders (absolute) of data that were kept when their GitLab ended here. */
const Left = z.array(z.string().startsWith('/').max(4096)).max(16);
const most = 16;

export const leftFile = (home: string): string => join(home, 'gitlab-left.json');

/** Those that are there still, with what they say of themselves: a person may have deleted some, or deployed on them again. */
export function leftData(home: string): { path: string; claim: PlaceClaim }[] {
  return notedIn(home).flatMap((path) => {
    const claim = claimAt(path);
    return claim === null ? [] : [{ path, claim }];
  });
}

/** What the file says with that folder too, and without those that are gone; the oldest goes where there are too many. */
export const withLeft = (home: string, path: string): string =>
  JSON.stringify(
    [...leftData(home).map((one) => one.path), path].filter((one, at, all) => all.indexOf(one) === at).slice(-most),
  );

function notedIn(home: string): string[] {
  try {
    return Left.parse(JSON.parse(readFileSync(leftFile(home), 'utf8')));
  } catch {
    return []; // None was left, or nobody can tell: the folders themselves are what counts.
  }
}

function claimAt(path: string): PlaceClaim | null {
  try {
    return readClaim(path);
  } catch {
    return null;
  }
}
