import { createHash } from 'node:crypto';
import type { PlannedJob } from './ci/pipeline-plan.ts';
import { blobsAt, lastChangeOf } from './git-repository.ts';

/** Keys of caches that are made by files of the commit, as GitLab makes them (`cache:key:files`, `files_commits`). */
export const withCacheKeys = async (
  folder: string,
  sha: string,
  jobs: readonly PlannedJob[],
): Promise<PlannedJob[]> => {
  if (!jobs.some(({ cache }) => cache.some(({ keyFiles }) => keyFiles !== null))) return [...jobs];
  const blobs = await blobsAt(folder, sha);
  const idsOf = async ({ paths, by }: { paths: string[]; by: 'contents' | 'commits' }): Promise<string[]> => {
    if (by === 'commits') return Promise.all(paths.map((path) => lastChangeOf(folder, sha, path)));
    const named = paths.map(matcher);
    return [...blobs].filter(([path]) => named.some((matches) => matches(path))).map(([, id]) => id);
  };
  return Promise.all(
    jobs.map(async (job) => ({
      ...job,
      cache: await Promise.all(
        job.cache.map(async (cache) => {
          if (cache.keyFiles === null) return cache;
          const ids = [...new Set(await idsOf(cache.keyFiles))].filter((id) => id !== '').sort();
          const sum = ids.length === 0 ? 'default' : createHash('sha1').update(ids.join('-')).digest('hex');
          return { ...cache, key: `${cache.key}-${sum}`, keyFiles: null };
        }),
      ),
    })),
  );
};

/** A star is anything, slashes too. */
const matcher = (pattern: string): ((path: string) => boolean) => {
  const parts = pattern.split('*');
  if (parts.length === 1) return (path) => path === pattern;
  const shape = new RegExp(`^${parts.map((part) => part.replace(/[\\^$.|?+()[\]{}]/g, '\\$&')).join('.*')}$`, 's');
  return (path) => shape.test(path);
};
