import { lstat, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { isObjectId, packedRefs } from './ref-maps.ts';

/** Of GitLab's own: copies that forks share, and what is being deleted. */
const notProjects = new Set(['@pools', '+gitaly']);
/** Deeper lies nobody's repository: `@hashed/ab/cd/HASH.git`. */
const depthMost = 6;
const refDepthMost = 12;
/** Of a loose ref: two object ids and room. */
const refFileMost = 256;
const packedMost = 256 << 20;

/** Paths of all repositories below a folder, as GitLab stores them (`@hashed/…/HASH.git`), sorted. */
export async function repositoriesIn(folder: string, signal: AbortSignal): Promise<string[]> {
  const found: string[] = [];
  const walk = async (path: string, depth: number): Promise<void> => {
    signal.throwIfAborted();
    for (const entry of await entriesOf(join(folder, path))) {
      if (!entry.isDirectory() || notProjects.has(entry.name)) continue;
      const below = path === '' ? entry.name : `${path}/${entry.name}`;
      if (entry.name.endsWith('.git')) found.push(below);
      else if (depth < depthMost) await walk(below, depth + 1);
    }
  };
  await walk('', 0);
  return found.sort();
}

/** All refs of that repository, loose ones over packed ones. Null where git keeps them in another form (`reftable`). */
export async function refsOf(repository: string, signal: AbortSignal): Promise<Map<string, string> | null> {
  const entries = await entriesOf(repository);
  if (entries.some(({ name }) => name === 'reftable')) return null;
  // A ref that is packed at this moment is in either: loose ones are read first, and win.
  const loose = new Map<string, string>();
  const walk = async (path: string, depth: number): Promise<void> => {
    signal.throwIfAborted();
    for (const entry of await entriesOf(join(repository, path))) {
      const below = `${path}/${entry.name}`;
      if (entry.isDirectory() && depth < refDepthMost) await walk(below, depth + 1);
      else if (entry.isFile() && !entry.name.endsWith('.lock')) {
        const id = (await textOf(join(repository, below), refFileMost))?.trim() ?? '';
        if (isObjectId(id)) loose.set(below, id);
      }
    }
  };
  // Not through a link: what is listed below one is not GitLab's.
  if (entries.some((entry) => entry.name === 'refs' && entry.isDirectory())) await walk('refs', 0);
  const packed = packedRefs((await textOf(join(repository, 'packed-refs'), packedMost)) ?? '');
  return new Map([...packed, ...loose]);
}

/** Branch that `HEAD` names; null where it names none. */
export async function headOf(repository: string): Promise<string | null> {
  const text = await textOf(join(repository, 'HEAD'), refFileMost * 8);
  return /^ref: refs\/heads\/(\S+)\s*$/.exec(text ?? '')?.[1] ?? null;
}

/** Nothing where there is none (any more): what lives changes meanwhile. */
async function entriesOf(folder: string) {
  try {
    return await readdir(folder, { withFileTypes: true });
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '')) return [];
    throw error;
  }
}

/** Null for what is no plain file of at most that size: whoever is root in GitLab's container writes there. */
async function textOf(file: string, bytesMost: number): Promise<string | null> {
  try {
    const stat = await lstat(file);
    return stat.isFile() && stat.size <= bytesMost ? await readFile(file, 'utf8') : null;
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '')) return null;
    throw error;
  }
}
