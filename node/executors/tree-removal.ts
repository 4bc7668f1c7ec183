import { existsSync, lstatSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { AutogitError } from '../../protocol/errors.ts';
import type { Child } from '../starter/far-child.ts';
import { spawnAside } from '../starter/starter.ts';

/** What a child of the agent's that works on a tree gets of it. */
export const aside = () => ({ stdio: 'ignore', cwd: '/', env: { PATH: process.env.PATH } }) as const;

/** What is mounted in the tree stays, where rm can tell (busybox cannot). */
const removal = 'one=--one-file-system; rm -f $one 2>/dev/null || one=; rm -rf $one -- "$1"';

/**
 * rm -rf of what a run left; folders that a job made read-only are opened first. What belongs to another user is removed
 * by that user, who can reach no more by it than before: whoever swaps a folder for a link while root walks through
 * would else have root delete at the link's other end. What then is left goes by rm, which follows no link.
 */
export async function removeTree(path: string): Promise<void> {
  const owners = process.getuid?.() === 0 ? jobPlaces(path) : [];
  if (owners.length === 0) return removeOwn(path);
  for (const { place, uid, gid } of owners) {
    const script = `chmod -R u+rwX -- "$1"; ${removal}`;
    await exitOf(spawnAside('/bin/sh', ['-c', script, 'sh', place], { ...aside(), uid, gid }));
  }
  await exitOf(spawnAside('/bin/sh', ['-c', removal, 'sh', path], aside()));
  if (lstatSync(path, { throwIfNoEntry: false }))
    throw new AutogitError('executor-failed', `cannot remove ${path}`, { hint: `look at it: ls -la ${path}` });
}

/** The folder, or those in a folder of ours, that belong to a job's user. Their parents are ours or sticky: no link stands in for them. */
function jobPlaces(path: string): { place: string; uid: number; gid: number }[] {
  const isOurs = lstatSync(path, { throwIfNoEntry: false })?.uid === 0;
  return (isOurs ? [path, join(path, 'builds'), join(path, 'home')] : [path]).flatMap((place) => {
    const found = existsSync(place) ? lstatSync(place, { throwIfNoEntry: false }) : undefined;
    return found?.isDirectory() && found.uid !== 0 ? [{ place, uid: found.uid, gid: found.gid }] : [];
  });
}

async function removeOwn(path: string): Promise<void> {
  try {
    await rm(path, { recursive: true, force: true, maxRetries: 3 });
  } catch {
    await exitOf(spawnAside('chmod', ['-R', 'u+rwX', path], aside()));
    await rm(path, { recursive: true, force: true, maxRetries: 3 });
  }
}

export const exitOf = (child: Child): Promise<number> =>
  new Promise((done) => {
    child.once('error', () => done(127));
    child.once('close', (code) => done(code ?? 128));
  });
