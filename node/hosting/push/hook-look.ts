import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { sentenceOf } from '../../../protocol/errors.ts';
import { hooksInside, hooksOf, putHooks } from './push-hook.ts';

/** Where Gitaly reads which folder of hooks it has; the image writes it anew in each reconfigure. */
const gitalyFile = '/var/opt/gitlab/gitaly/config.toml';

const limits = { bytes: 1 << 20 } as const;

/** Of a container's file as the machine sees it; null: it is not there. No link is followed, and nothing waited for. */
async function readInside(path: string): Promise<{ text: string; mode: number } | null> {
  const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
  let file: Awaited<ReturnType<typeof open>>;
  try {
    file = await open(path, flags);
  } catch (error) {
    if (['ENOENT', 'ENOTDIR', 'ELOOP'].includes((error as NodeJS.ErrnoException).code ?? '')) return null;
    throw error;
  }
  try {
    const found = await file.stat();
    if (!found.isFile() || found.size > limits.bytes) return null;
    return { text: await file.readFile('utf8'), mode: found.mode };
  } finally {
    await file.close();
  }
}

/** What Gitaly's configuration names as its folder of hooks; null: it names none. */
export function hooksFolderOf(toml: string): string | null {
  let section = '';
  for (const line of toml.split('\n')) {
    const named = /^\s*\[+\s*([^\]]+?)\s*\]+/.exec(line)?.[1];
    if (named !== undefined) section = named;
    const path = /^\s*(?:hooks\.)?custom_hooks_dir\s*=\s*(?:"([^"]*)"|'([^']*)')/.exec(line);
    if (path !== null && (section === 'hooks' || line.trim().startsWith('hooks.'))) return path[1] ?? path[2] ?? null;
  }
  return null;
}

/** Why no push waits for a copy in the container of that first process; null where each does. A hook that is gone is put back. */
export async function whyUnheld(pid: number, home: string): Promise<string | null> {
  try {
    const root = `/proc/${pid}/root`;
    if (!(await areHooksThere(root))) {
      await putHooks(home);
      if (!(await areHooksThere(root)))
        return `GitLab's container has not the hooks of this program in ${hooksInside}, and cannot get it while it runs: docker kill it, and it is made anew with it, which takes as long as a boot`;
    }
    const gitaly = await readInside(join(root, gitalyFile));
    const folder = gitaly && hooksFolderOf(gitaly.text);
    if (folder === hooksInside) return null;
    const instead = folder === null ? 'runs no hooks of a folder' : `runs the hooks of ${folder}`;
    return `Gitaly ${instead}, and not those of ${hooksInside}: let config/gitlab.rb of GitLab's data say no gitaly['configuration'] without hooks: { custom_hooks_dir: '${hooksInside}' }`;
  } catch (error) {
    return `whether GitLab has the hook by which pushes wait cannot be seen: ${sentenceOf(error)}`;
  }
}

async function areHooksThere(root: string): Promise<boolean> {
  const found = await Promise.all(
    hooksOf(root).map(async ({ path, text }) => ({ text, file: await readInside(path) })),
  );
  return found.every(({ text, file }) => file !== null && file.text === text && (file.mode & 0o111) === 0o111);
}
