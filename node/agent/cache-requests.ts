import { AutogitError } from '../../protocol/errors.ts';
import type { CachesApi } from '../local-api/agent-api.ts';
import type { CachesAnswer } from '../local-api/socket-protocol.ts';
import type { CacheStore } from '../runs/cache/cache-store.ts';
import { showBytes } from '../settings/quantities.ts';

/** More rows are no list for a person. */
const mostRows = 1000;

/** What a person of this machine sees and does of the caches of jobs. */
export class CacheRequests implements CachesApi {
  readonly #caches: () => CacheStore;

  constructor(caches: () => CacheStore) {
    this.#caches = caches;
  }

  async caches(): Promise<CachesAnswer> {
    const caches = this.#caches();
    const kept = await caches.list();
    return {
      limitBytes: await caches.limitBytes(),
      count: kept.length,
      bytes: kept.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0),
      rows: kept.slice(0, mostRows).map(({ key, project, sizeBytes, savedAt, usedAt }) => ({
        ...{ project, sizeBytes, savedAt, usedAt },
        key: key.slice(0, 512),
      })),
    };
  }

  async clearCaches(project: string | null): Promise<string> {
    const { count, bytes } = await this.#caches().clear(project);
    if (count === 0 && project !== null)
      throw new AutogitError('bad-flag', `this machine keeps no cache of ${project}`, {
        hint: 'which it keeps: autogit-node cache',
      });
    if (count === 0) return 'this machine keeps no caches';
    return `removed ${count} ${count === 1 ? 'cache' : 'caches'}${project === null ? '' : ` of ${project}`}, ${showBytes(bytes)}`;
  }
}
