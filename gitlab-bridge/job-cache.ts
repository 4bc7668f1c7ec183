import { isOn } from './job-contract.ts';
import type { JobPayload } from './payload.ts';
import { variableOf } from './payload.ts';
import { expand } from './variables.ts';

/** What a job's `cache:` means, held against gitlab-runner 19. Pure. */

/** One cache of a job, with the job's variables in it. */
export interface PlannedCache {
  /** As people read it; what is kept under it is found by its sum. */
  key: string;
  /** Keys that are looked under when nothing is there, in order. */
  fallbacks: string[];
  paths: string[];
  isUntracked: boolean;
  isPulled: boolean;
  isPushed: boolean;
  when: 'on_success' | 'on_failure' | 'always' | 'never';
  /** What was made of a key that could not stay as it was; for the trace. */
  said: string[];
}

/** `skipped`: nothing is kept or brought, in gitlab-runner's words. `wrong`: fails the job, as it does there. */
export type CachePlan =
  | { kind: 'cache'; cache: PlannedCache }
  | { kind: 'skipped'; because: string; said: string[] }
  | { kind: 'wrong'; because: string };

/** A job's own folder of caches, in the words of GitLab's suffixes: what a protected branch keeps is not for others. */
const protectedEnd = '-protected';

/** Of a job, in its order; what names neither paths nor `untracked` is no cache. */
export function plannedCaches(payload: JobPayload, lookUp: (key: string) => string | null): CachePlan[] {
  const named = payload.cache.filter(({ paths, untracked }) => paths.length > 0 || untracked === true);
  return named.map((cache) => {
    const own = expand(cache.key ?? '', lookUp) || plainJoin(payload.job_info.name ?? '', payload.git_info?.ref ?? '');
    const { key, said } = keyOf(payload, own);
    const policy = expand(cache.policy ?? '', lookUp);
    if (key === null) return { kind: 'skipped', because: 'empty cache key', said };
    if (!['', 'pull', 'push', 'pull-push'].includes(policy))
      return { kind: 'wrong', because: `unknown cache policy ${policy.slice(0, 100)} for ${key.slice(0, 200)}` };
    const fallbacks: string[] = [];
    const add = (text: string, isAllowed: (key: string) => boolean = () => true): void => {
      if (text === '') return;
      const fallback = keyOf(payload, text);
      said.push(...fallback.said);
      if (fallback.key !== null && isAllowed(fallback.key)) fallbacks.push(fallback.key);
    };
    for (const text of cache.fallback_keys) add(expand(expand(text, lookUp), lookUp));
    add(expand(lookUp('CACHE_FALLBACK_KEY') ?? '', lookUp), (fallback) => {
      // GitLab puts no suffix on it: a branch that is not protected would read what protected ones keep.
      const isAllowed = !fallback.replace(/[. ]+$/, '').endsWith(protectedEnd);
      if (!isAllowed) said.push(`CACHE_FALLBACK_KEY ${quoted(fallback)} not allowed to end in "${protectedEnd}"`);
      return isAllowed;
    });
    return {
      kind: 'cache',
      cache: {
        key,
        fallbacks: [...new Set(fallbacks)].filter((fallback) => fallback !== key),
        paths: cache.paths.map((path) => expand(path, lookUp)),
        isUntracked: cache.untracked === true,
        isPulled: policy !== 'push',
        isPushed: policy !== 'pull',
        when: whenOf(cache.when),
        said,
      },
    };
  });
}

const whenOf = (when: string | null | undefined): PlannedCache['when'] =>
  when === '' || when === null || when === undefined
    ? 'on_success'
    : when === 'on_success' || when === 'on_failure' || when === 'always'
      ? when
      : 'never';

/** Is a cache with this `when` kept after a job that ended so? */
export const isKept = (when: PlannedCache['when'], isSuccess: boolean): boolean =>
  when === 'always' || when === (isSuccess ? 'on_success' : 'on_failure');

function keyOf(payload: JobPayload, raw: string): { key: string | null; said: string[] } {
  if (raw === '') return { key: null, said: [] };
  // Then gitlab-runner keeps under the key's sum, and any key will do.
  if (isOn(payload, 'FF_HASH_CACHE_KEYS')) return { key: raw, said: [] };
  const key = sanitizedKey(raw);
  if (key === null) return { key, said: [`cache key ${quoted(raw)} could not be sanitized`] };
  return { key, said: key === raw ? [] : [`cache key ${quoted(raw)} sanitized to ${quoted(key)}`] };
}

const quoted = (text: string): string => JSON.stringify(text.length > 200 ? `${text.slice(0, 200)}…` : text);

const plainJoin = (...parts: string[]): string => cleaned(parts.join('/'));

/** A key as gitlab-runner makes it a path: it cannot climb, and ends in no blank. Null: nothing is left of it. */
export function sanitizedKey(raw: string): string | null {
  const parts = cleaned(raw.replace(/%2f/gi, '/').replace(/%2e/gi, '.').replaceAll('\\', '/')).split('/');
  while (parts.length > 0) {
    const last = (parts.pop() as string).replace(/[\s\u0085]+$/u, '');
    if (last === '') continue;
    return [...parts, last].join('/');
  }
  return null;
}

/** Without empty parts, `.` and `..`, from a root above which nothing is. */
function cleaned(path: string): string {
  const parts: string[] = [];
  for (const part of path.split('/')) {
    if (part === '..') parts.pop();
    else if (part !== '' && part !== '.') parts.push(part);
  }
  return parts.join('/');
}

const compressionLevels = ['fastest', 'fast', 'default', 'slow', 'slowest'] as const;
type CompressionLevel = (typeof compressionLevels)[number];

const usualMinutes = 10;

/** ms that getting one from elsewhere may take: CACHE_REQUEST_TIMEOUT, in minutes. */
export function cacheRequestMs(payload: JobPayload): number {
  const asked = variableOf(payload, 'CACHE_REQUEST_TIMEOUT') ?? '';
  return (/^[1-9]\d{0,3}$/.test(asked) ? Number(asked) : usualMinutes) * 60_000;
}

/** How a cache is packed: `any`: as this node does it best. Unknown words count as not said, as with gitlab-runner. */
export interface CachePacking {
  method: 'deflate' | 'zstd' | 'any';
  level: CompressionLevel;
}

export function cachePacking(payload: JobPayload): CachePacking {
  const format = (variableOf(payload, 'CACHE_COMPRESSION_FORMAT') ?? '').toLowerCase();
  const level = (variableOf(payload, 'CACHE_COMPRESSION_LEVEL') ?? '').toLowerCase();
  return {
    method: format === 'tarzstd' || format === 'zipzstd' ? 'zstd' : format === 'zip' ? 'deflate' : 'any',
    level: compressionLevels.find((known) => known === level) ?? 'default',
  };
}
