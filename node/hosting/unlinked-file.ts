import { constants } from 'node:fs';
import { type FileHandle, open, readlink, realpath } from 'node:fs/promises';
import { join } from 'node:path';
import { AutogitError } from '../../protocol/errors.ts';
import { shown } from '../foreign-text.ts';

const nobodys = new Set(['ENOENT', 'ENOTDIR', 'ELOOP', 'ENXIO']);

/**
 * A plain file below `root`, open; null where there is none, or a link leads to it. Whoever is root in a container puts links in the
 * place of any file or folder of its data, and here they would lead to those of this machine. `path`: relative, without dots.
 */
export async function openUnlinked(root: string, path: string, flags: number): Promise<FileHandle | null> {
  // A pipe would not be opened before somebody writes into it.
  const how = flags | constants.O_NOFOLLOW | constants.O_NONBLOCK;
  const file = await open(join(root, path), how).catch((error: NodeJS.ErrnoException) => {
    if (nobodys.has(error.code ?? '')) return null;
    throw error;
  });
  if (file === null) return null;
  try {
    // Of what is open already: nobody can change by which way that was reached.
    const at = await readlink(`/proc/self/fd/${file.fd}`);
    if (at === join(await realpath(root), path) && (await file.stat()).isFile()) return file;
  } catch (error) {
    await file.close();
    throw error;
  }
  await file.close();
  return null;
}

/** Null also for what has more than `bytesMost`. */
export async function readUnlinked(root: string, path: string, bytesMost: number): Promise<string | null> {
  const file = await openUnlinked(root, path, constants.O_RDONLY);
  if (file === null) return null;
  try {
    if ((await file.stat()).size > bytesMost) return null;
    return await file.readFile('utf8');
  } finally {
    await file.close();
  }
}

/**
 * Throws `backup` where a link leads out on the way from `root` to that file or folder; what is not there is fine. `path`: relative,
 * without dots.
 */
export async function refuseLinked(root: string, path: string): Promise<void> {
  const wanted = join(await realpath(root), path);
  const found = await realpath(join(root, path)).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return wanted;
    throw error;
  });
  if (found !== wanted) throw leadsOut(join(root, path));
}

export const leadsOut = (path: string): AutogitError =>
  new AutogitError(
    'backup',
    `${shown(path)} is a link, or leads to what is not among GitLab's data, and is not followed`,
    {
      hint: `look at it: ls -la ${shown(path)}`,
    },
  );
