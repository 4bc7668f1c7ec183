import { describe, expect, it } from 'vitest';
import {
  cachePacking,
  cacheRequestMs,
  isKept,
  type PlannedCache,
  plannedCaches,
  sanitizedKey,
} from '../../gitlab-bridge/job-cache.ts';
import { JobPayload } from '../../gitlab-bridge/payload.ts';
import { outgrown } from '../../node/runs/cache/cache-thinning.ts';
import { newestOf } from '../../node/runs/cache/caches-elsewhere.ts';

/** Held against gitlab-runner 19: cache/cachekey, shells/abstract.go. */
const payload = (cache: object[], variables: Record<string, string> = {}): JobPayload =>
  JobPayload.parse({
    id: 7,
    token: 'glcbt-token-of-7',
    job_info: { project_id: 1, name: 'build all' },
    git_info: { ref: 'feature/x' },
    steps: [{ name: 'script', script: ['true'] }],
    variables: Object.entries(variables).map(([key, value]) => ({ key, value })),
    cache,
  });
const plan = (cache: object[], variables: Record<string, string> = {}) =>
  plannedCaches(payload(cache, variables), (key) => variables[key] ?? null);
const one = (cache: object, variables: Record<string, string> = {}): PlannedCache => {
  const [first] = plan([{ key: 'k', paths: ['p'], ...cache }], variables);
  if (first?.kind !== 'cache') throw new Error(JSON.stringify(first));
  return first.cache;
};

describe("a cache's key", () => {
  it.each([
    ['k-protected', 'k-protected'],
    ['../../etc/k', 'etc/k'],
    ['a/../../b', 'b'],
    ['a/./b//c/', 'a/b/c'],
    ['%2e%2E%2f%2Fk', 'k'],
    ['..\\..\\k', 'k'],
    ['k/.. ', 'k/..'],
    ['a /b \t', 'a /b'],
    ['k/ / ', 'k'],
    ['..', null],
    ['/ /', null],
    ['%2f', null],
    ['ключ-é', 'ключ-é'],
  ])('%j is kept as %j', (raw, key) => {
    expect(sanitizedKey(raw)).toBe(key);
  });

  it('has the variables of the job in it, and says what became of it', () => {
    expect(one({ key: '$A-$B-protected' }, { A: 'x', B: 'y' })).toMatchObject({ key: 'x-y-protected', said: [] });
    expect(one({ key: '$A/k' }, { A: '..' })).toMatchObject({
      key: 'k',
      said: ['cache key "../k" sanitized to "k"'],
    });
    expect(one({ key: '../k' }, { FF_HASH_CACHE_KEYS: 'true' })).toMatchObject({ key: '../k', said: [] });
    expect(plan([{ key: '..', paths: ['p'] }])).toEqual([
      { kind: 'skipped', because: 'empty cache key', said: ['cache key ".." could not be sanitized'] },
    ]);
  });

  it('that is empty is the job and its branch', () => {
    expect(one({ key: '' })).toMatchObject({ key: 'build all/feature/x' });
    expect(one({ key: '$NONE' })).toMatchObject({ key: 'build all/feature/x' });
  });
});

describe('what a job names as cache', () => {
  it('several, in their order; what names no files is none', () => {
    const caches = plan([{ key: 'a', paths: ['$D/x'] }, { key: 'b' }, { key: 'c', untracked: true }], { D: 'deps' });
    expect(caches.map((found) => found.kind === 'cache' && [found.cache.key, found.cache.paths])).toEqual([
      ['a', ['deps/x']],
      ['c', []],
    ]);
  });

  it.each([
    [undefined, true, true],
    ['', true, true],
    ['pull-push', true, true],
    ['pull', true, false],
    ['push', false, true],
    ['$P', true, false],
  ])('policy %s', (policy, isPulled, isPushed) => {
    expect(one({ policy }, { P: 'pull' })).toMatchObject({ isPulled, isPushed });
  });

  it('an unknown policy fails the job, as with gitlab-runner', () => {
    expect(plan([{ key: 'k', paths: ['p'], policy: '$P' }], { P: 'fetch' })).toEqual([
      { kind: 'wrong', because: 'unknown cache policy fetch for k' },
    ]);
  });

  it.each([
    [undefined, true, false],
    ['', true, false],
    ['on_success', true, false],
    ['on_failure', false, true],
    ['always', true, true],
    ['sometimes', false, false],
  ])('when: %s', (when, afterSuccess, afterFailure) => {
    const cache = one({ when });
    expect([isKept(cache.when, true), isKept(cache.when, false)]).toEqual([afterSuccess, afterFailure]);
  });

  it('falls back in order: its own keys, then CACHE_FALLBACK_KEY; none twice', () => {
    const fallback_keys = ['$A-protected', 'k', 'b-protected', 'b-protected'];
    expect(one({ fallback_keys }, { A: 'a', CACHE_FALLBACK_KEY: 'last' }).fallbacks).toEqual([
      'a-protected',
      'b-protected',
      'last',
    ]);
  });

  it.each(['main-protected', 'main-protected. .', 'x/../main-protected', '$A-protected'])(
    'CACHE_FALLBACK_KEY %s reads nothing that a protected branch kept',
    (key) => {
      const cache = one({}, { CACHE_FALLBACK_KEY: key, A: 'main' });
      expect(cache.fallbacks).toEqual([]);
      expect(cache.said.join()).toMatch(/CACHE_FALLBACK_KEY "main-protected[. ]*" not allowed to end in "-protected"/);
    },
  );

  it.each([
    [{}, 'any', 'default'],
    [{ CACHE_COMPRESSION_FORMAT: 'ZIP', CACHE_COMPRESSION_LEVEL: 'fastest' }, 'deflate', 'fastest'],
    [{ CACHE_COMPRESSION_FORMAT: 'tarzstd', CACHE_COMPRESSION_LEVEL: 'Slowest' }, 'zstd', 'slowest'],
    [{ CACHE_COMPRESSION_FORMAT: 'zipzstd' }, 'zstd', 'default'],
    [{ CACHE_COMPRESSION_FORMAT: 'rar', CACHE_COMPRESSION_LEVEL: '11' }, 'any', 'default'],
  ])('is packed as %j asks', (variables, method, level) => {
    expect(cachePacking(payload([], variables))).toEqual({ method, level });
  });

  it.each([
    [{ key: 1 }],
    [{ paths: 'p' }],
    [{ fallback_keys: [{}] }],
    [{ policy: {} }],
    [{ paths: ['x'.repeat(5000)] }],
  ])('is refused at the door where it is none: %j', (cache) => {
    expect(() => payload([cache])).toThrow();
  });
  it('may be null in all its parts', () => {
    expect(
      plan([{ key: null, paths: null, policy: null, when: null, untracked: true, fallback_keys: null }]),
    ).toMatchObject([
      { kind: 'cache', cache: { key: 'build all/feature/x', isPulled: true, isPushed: true, when: 'on_success' } },
    ]);
  });
});

describe('which caches go', () => {
  const cache = (file: string, usedAt: number, sizeBytes = 10) => ({ file, usedAt, sizeBytes });
  const room = { limitBytes: 100, shortBytes: 0, ageMs: 1000, wallMs: 2000 };
  const gone = (caches: ReturnType<typeof cache>[], more: Partial<typeof room> = {}) =>
    outgrown(caches, { ...room, ...more }).map(({ file }) => file);

  it('none while there is room', () => {
    expect(gone([cache('a', 1000), cache('b', 2000)])).toEqual([]);
  });
  it('what nothing used for too long, and the longest unused beyond the limit', () => {
    expect(gone([cache('b', 1500), cache('a', 999), cache('c', 1600)])).toEqual(['a']);
    expect(gone([cache('b', 1500, 60), cache('c', 1600, 30), cache('d', 1400, 20)])).toEqual(['d']);
    expect(gone([cache('b', 1500), cache('c', 1600)], { limitBytes: 0 })).toEqual(['b', 'c']);
  });
  it('as many as the disk is short of', () => {
    expect(gone([cache('b', 1500), cache('c', 1600), cache('d', 1700)], { shortBytes: 11 })).toEqual(['b', 'c']);
  });
  it('one that is beyond the limit alone goes first: it would drive out all others', () => {
    expect(gone([cache('b', 1500, 60), cache('huge', 1600, 200), cache('c', 1700, 30)])).toEqual(['huge']);
  });
  it('by name where they were used at one moment', () => {
    expect(gone([cache('b', 1500, 60), cache('a', 1500, 60)])).toEqual(['a']);
  });
});

describe('the newest of several machines', () => {
  const of = (than: number, ...found: [string, number][]) =>
    newestOf(
      found.map(([node, savedAt]) => ({ node, savedAt })),
      { than, wallMs: 1_000_000 },
    )?.node ?? null;
  it('is newer than what is here, and not of a clock that is wrong', () => {
    expect(of(5, ['a', 6], ['b', 8], ['c', 7])).toBe('b');
    expect(of(8, ['a', 6], ['b', 8])).toBe(null);
    expect(of(0, ['b', 8], ['a', 8])).toBe('a');
    expect(of(0, ['a', 9], ['b', 1_000_000 + 600_001])).toBe('a');
    expect(of(0)).toBe(null);
  });
  it.each([
    ['', 10],
    ['3', 3],
    ['0', 10],
    ['-1', 10],
    ['many', 10],
  ])('is waited for by CACHE_REQUEST_TIMEOUT %j: %i min', (said, minutes) => {
    expect(cacheRequestMs(payload([], { CACHE_REQUEST_TIMEOUT: said }))).toBe(minutes * 60_000);
  });
});
