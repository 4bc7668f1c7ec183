import { link, mkdir, readdir, rm, stat, unlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { AutogitError } from '../../../protocol/errors.ts';

const dayMs = 86_400_000;
/** What was thinned can be put back for so long. */
const keptMs = 14 * dayMs;

const folderOf = (home: string): string => join(home, 'thinned');

async function filesIn(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  return entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
}

/**
 * A second name for every file of that repository: what thinning lets go is not gone with it. What is let go is decided by what the
 * host once wrote (indexes say what a pack has in it), and a host that is not itself any more may have written it to that end.
 */
export async function holdBack(repository: string, home: string, nowMs: number): Promise<void> {
  const to = join(folderOf(home), String(Math.floor(nowMs)));
  for (const file of await filesIn(repository)) {
    const below = file.slice(repository.length);
    if (below.startsWith('/locks/')) continue;
    const name = join(to, below);
    await mkdir(dirname(name), { recursive: true, mode: 0o700 });
    await link(file, name).catch((cause: unknown) => {
      if (!['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'EMLINK'].includes((cause as NodeJS.ErrnoException).code ?? ''))
        throw cause;
      throw new AutogitError('backup', `files at ${home} can have no second name, without which nothing is thinned`, {
        cause,
        hint: 'put that folder on ext4, xfs or btrfs; a link may lead there',
      });
    });
  }
}

/** What is still in the repository needs no second name; what was let go long ago goes. */
export async function letGo(home: string, nowMs: number): Promise<void> {
  for (const name of await readdir(folderOf(home)).catch(() => [])) {
    const folder = join(folderOf(home), name);
    if (nowMs - Number(name) >= keptMs) {
      await rm(folder, { recursive: true, force: true });
      continue;
    }
    for (const file of await filesIn(folder)) if ((await stat(file)).nlink > 1) await unlink(file);
  }
}
