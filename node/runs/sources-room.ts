import { readdir, rm, stat, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { diskOf, filesOf } from '../disk-use.ts';
import { SourcesFailure } from './git-command.ts';

const lookEveryMs = 25;
/** Of a small disk a twentieth. */
const keptBytes = 256 << 20;
/** What git may take however full the disk is: most commits need no more, and a disk that is always nearly full still has jobs. */
const freely = { bytes: 16 << 20, files: 10_000 } as const;

/** How much there is until what is kept is touched; of files, too, where that file system has a limit of them. */
interface Room {
  bytes: number;
  files: number;
}

async function roomAt(folder: string): Promise<Room> {
  const stats = await statfs(folder);
  const { freeBytes, totalBytes } = diskOf(stats);
  const files = filesOf(stats) ?? { free: Number.MAX_SAFE_INTEGER, total: 0 };
  return { bytes: freeBytes - Math.min(keptBytes, totalBytes / 20), files: files.free - files.total / 20 };
}

/** By how fast it went since the look before: until the next one, and until git has ended, it goes on so. */
const isShort = (kind: keyof Room, now: Room, last: Room, first: Room): boolean =>
  now[kind] - 2 * (last[kind] - now[kind]) < 0 && first[kind] - now[kind] > freely[kind];

/**
 * Runs what writes sources below a folder of the home, and ends it before the disk is full of them: a commit of a few kB can stand for
 * more files than any disk holds, and what had to make room then were caches, and the jobs of others. Throws SourcesFailure.
 */
export async function whileSourcesFit<T>(
  folder: string,
  signal: AbortSignal,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const full = new AbortController();
  const first = await roomAt(folder);
  let last = first;
  const timer = setInterval(async () => {
    const now = await roomAt(folder).catch(() => last);
    if (isShort('bytes', now, last, first) || isShort('files', now, last, first)) full.abort();
    last = now;
  }, lookEveryMs);
  try {
    return await work(AbortSignal.any([signal, full.signal]));
  } catch (error) {
    if (!full.signal.aborted || signal.aborted) throw error;
    throw new SourcesFailure("the disk of this node's home has too little room left for the sources", false);
  } finally {
    clearInterval(timer);
  }
}

/**
 * What a git that was ended in the midst of a fetch left in a repository: half packs and half objects. Only what nobody has written to
 * for `olderMs`, where another git may be fetching into it now. Never throws.
 */
export async function removeHalfFetched(repository: string, olderMs = 0): Promise<void> {
  const objects = join(repository, 'objects');
  const folders = await readdir(objects).catch(() => []);
  for (const folder of folders.filter((name) => name === 'pack' || name.length === 2))
    for (const name of await readdir(join(objects, folder)).catch(() => [])) {
      if (!name.startsWith('tmp_')) continue;
      const path = join(objects, folder, name);
      const written = olderMs === 0 ? null : await stat(path).catch(() => null);
      const isOld = olderMs === 0 || (written !== null && Date.now() - written.mtimeMs >= olderMs);
      if (isOld) await rm(path, { force: true }).catch(() => undefined);
    }
}
