import { rm } from 'node:fs/promises';
import {
  type CachePlan,
  cachePacking,
  cacheRequestMs,
  isKept,
  type PlannedCache,
  plannedCaches,
} from '../../../gitlab-bridge/job-cache.ts';
import { timeoutMsOf } from '../../../gitlab-bridge/payload.ts';
import { lookUpIn } from '../../../gitlab-bridge/variables.ts';
import { sentenceOf } from '../../../protocol/errors.ts';
import { archName } from '../../../scheduler/jobs/demand.ts';
import { plural } from '../../../scheduler/phrases.ts';
import { byteName, shownName } from '../../executors/byte-names.ts';
import type { Workspace } from '../../ports.ts';
import { showBytes, showDuration } from '../../settings/quantities.ts';
import type { Packed } from '../artifact-pack.ts';
import type { OpenCache } from '../cache/cache-file.ts';
import { lookAsItComes } from '../cache/cache-look.ts';
import { type CacheOwner, type CacheStore, cacheNames } from '../cache/cache-store.ts';
import { methodOf } from '../cache/cache-writer.ts';
import type { EarlierFile } from '../cache/packed-blocks.ts';
import { good, warning } from '../job-script.ts';
import { packAside, sourceOf } from '../packing.ts';
import { placeOf, type RunContext, section } from '../run-context.ts';
import { abandonMs } from '../run-ending.ts';
import { RunFailed } from '../run-errors.ts';

/**
 * A job's `cache:`, in gitlab-runner's order and words: brought after the sources and before artifacts, kept after
 * after_script and before artifacts go up. That it cannot be brought or kept fails no job.
 */

/** A cache is given up rather than the job's artifacts: they have as long again. */
const leastSaveMs = 30_000;
const mostSaveMs = 3_600_000;

export async function restoreCaches(run: RunContext, workspace: Workspace): Promise<void> {
  const plans = plansOf(run, workspace);
  if (plans.length === 0) return;
  await section(run, 'restore_cache', 'Restoring cache', async () => {
    for (const plan of plans) {
      const cache = planned(run, plan, 'extraction');
      if (cache === null) continue;
      if (cache.isPulled) await restoreOne(run, workspace, cache);
      else run.trace.say(good(`Not downloading cache ${shownKey(cache.key)} due to policy`));
    }
  });
}

/** What this end of the job keeps; each is persisted, so that none is packed twice. Never throws for a cache's sake. */
export async function saveCaches(run: RunContext, isSuccess: boolean): Promise<void> {
  const workspace = placeOf(run);
  const { ending, record } = run;
  const plans = plansOf(run, workspace).filter((plan) => plan.kind !== 'cache' || isKept(plan.cache.when, isSuccess));
  if (!plans.some(({ kind }) => kind === 'cache') || record.progress.cached >= plans.length) return;
  const leftMs = record.progress.sinceBootMs + timeoutMsOf(run.payload) - run.options.clock.bootMs();
  const limit = AbortSignal.timeout(Math.min(mostSaveMs, Math.max(leastSaveMs, leftMs)));
  const signal = AbortSignal.any([ending.signal, limit]);
  const name = isSuccess ? 'archive_cache' : 'archive_cache_on_failure';
  const saving = section(run, name, `Saving cache for ${isSuccess ? 'successful' : 'failed'} job`, async () => {
    for (const [index, plan] of plans.entries()) {
      if (index < record.progress.cached) continue;
      await saveOne(run, workspace, plan, signal);
      await record.advance({ cached: index + 1 });
    }
  });
  await ending.until('saving caches', saving, abandonMs.artifacts).catch((error: Error) => {
    ending.checkGone();
    if (!(error instanceof RunFailed)) run.options.log.warn(`caches of job ${run.payload.id}: ${error.message}`);
  });
}

const plansOf = (run: RunContext, workspace: Workspace): CachePlan[] =>
  run.payload.cache.length === 0
    ? []
    : plannedCaches(run.payload, lookUpIn(run.variables(workspace), workspace.projectDir));

const shownKey = (key: string): string => shownName(byteName(key.length > 512 ? `${key.slice(0, 512)}…` : key));

/** Says what there is to say of it; null: there is nothing to do. */
function planned({ trace }: RunContext, plan: CachePlan, what: 'extraction' | 'archiving'): PlannedCache | null {
  if (plan.kind === 'wrong') throw new RunFailed('configuration', plan.because);
  for (const sentence of plan.kind === 'cache' ? plan.cache.said : plan.said) trace.say(warning(sentence));
  if (plan.kind === 'cache') return plan.cache;
  trace.say(good(`Skipping cache ${what} due to ${plan.because}`));
  return null;
}

function ownerOf({ options, payload, executor, record }: RunContext): CacheOwner {
  const { job_info } = payload;
  const instance = job_info.instance_uuid ?? options.instance().uuid ?? record.local.url;
  return { instance, projectId: job_info.project_id, executor: executor.kind, architecture: archName(process.arch) };
}

async function restoreOne(run: RunContext, workspace: Workspace, cache: PlannedCache): Promise<void> {
  const { trace, ending, caches, options } = run;
  const owner = ownerOf(run);
  for (const key of [cache.key, ...cache.fallbacks]) {
    trace.say(good(`Checking cache for ${shownKey(key)}...`));
    try {
      const found = (await bringNewer(run, owner, key)) ?? (await caches.open(owner, key, ending.signal));
      if (found === null) trace.say(warning('Cache file does not exist'));
      else {
        await extract(workspace, found);
        await caches.used(owner, key);
        trace.say(`${whatItIs(found, options.clock.wallMs())}\n${good('Successfully extracted cache')}`);
        return;
      }
    } catch (error) {
      ending.check();
      trace.say(warning(sentenceOf(error)));
    }
    trace.say(warning('Failed to extract cache'));
  }
}

/** Where another machine of the mesh keeps a newer one, it is here afterwards, and open. What goes wrong costs only that. */
async function bringNewer(run: RunContext, owner: CacheOwner, key: string): Promise<OpenCache | null> {
  const { trace, ending, caches, payload, options } = run;
  const limitBytes = await caches.limitBytes();
  if (options.elsewhere === undefined || limitBytes === 0) return null;
  const signal = AbortSignal.any([ending.signal, AbortSignal.timeout(cacheRequestMs(payload))]);
  const names = cacheNames(owner, key);
  const here = await caches.factsAt(caches.fileOf(owner, key));
  const found = await options.elsewhere.newest(names.owner, names.key, here?.savedAt ?? 0, signal);
  if (found === null) return null;
  const size = showBytes(found.sizeBytes);
  if (found.sizeBytes > limitBytes) {
    const because = `has one of ${size}, more than this node keeps of caches (--cache-limit)`;
    trace.say(warning(`${found.node} ${because}`));
    return null;
  }
  const age = showDuration(Math.max(0, options.clock.wallMs() - found.savedAt));
  trace.say(`Fetching it from ${found.node}: ${size}, kept ${age} ago\n`);
  let file: string | null = null;
  const given = new AbortController();
  const both = AbortSignal.any([signal, given.signal]);
  try {
    const path = await caches.spool(found.sizeBytes);
    file = path;
    const [look] = await Promise.all([
      lookAsItComes(path, found.sizeBytes, both),
      writtenOut(caches, path, () => found.fetch(path, both)),
    ]);
    return await caches.adopt(owner, key, path, look);
  } catch (error) {
    ending.check();
    const isLate = (signal.aborted ? (signal.reason as Error) : (error as Error)).name === 'TimeoutError';
    const because = isLate ? 'CACHE_REQUEST_TIMEOUT is over' : sentenceOf(error);
    trace.say(warning(`It did not come from ${found.node}: ${because}`));
    return null;
  } finally {
    given.abort();
    if (file !== null) await rm(file, { force: true }).catch(() => undefined);
  }
}

/** While it is written, the disk has what is there already. */
async function writtenOut<T>(caches: CacheStore, file: string, write: () => Promise<T>): Promise<T> {
  const whole = new AbortController();
  void caches.writeOut(file, whole.signal);
  try {
    return await write();
  } finally {
    whole.abort();
  }
}

async function extract(workspace: Workspace, found: OpenCache): Promise<void> {
  try {
    await workspace.putTar('.', found.tar(), found.tail.isPlain);
  } finally {
    await found.close();
  }
}

function whatItIs({ head, tail, sizeBytes }: OpenCache, wallMs: number): string {
  const age = showDuration(Math.max(0, wallMs - head.savedAt));
  return `${plural(tail.files, 'file')}, ${showBytes(tail.plainBytes)} (${showBytes(sizeBytes)} packed), kept by job ${head.job} of ${shownName(byteName(head.ref))} ${age} ago`;
}

async function saveOne(run: RunContext, workspace: Workspace, plan: CachePlan, signal: AbortSignal): Promise<void> {
  const { trace, ending } = run;
  let file: string | null = null;
  try {
    const cache = planned(run, plan, 'archiving');
    if (cache === null) return;
    if (!cache.isPushed) return trace.say(good(`Not uploading cache ${shownKey(cache.key)} due to policy`));
    trace.say(good(`Creating cache ${shownKey(cache.key)}...`));
    file = await run.caches.spool();
    await pack(run, workspace, cache, file, signal);
  } catch (error) {
    ending.checkGone();
    const isLate = (error as Error).name === 'TimeoutError';
    const because = isLate ? 'the time that the job has left for it is over' : sentenceOf(error);
    trace.say(warning(because) + warning('Failed to create cache'));
  } finally {
    if (file !== null) await rm(file, { force: true }).catch(() => undefined);
  }
}

async function pack(
  run: RunContext,
  workspace: Workspace,
  { key, fallbacks, paths, isUntracked }: PlannedCache,
  file: string,
  signal: AbortSignal,
): Promise<void> {
  const { trace, caches, payload, options } = run;
  const owner = ownerOf(run);
  const asked = cachePacking(payload);
  const { method, level } = methodOf(asked);
  if (asked.method === 'zstd' && method !== 'zstd')
    trace.say(warning(`Node.js ${process.versions.node} of this node has no zstd: packed as zip does`));
  const limitBytes = await caches.limitBytes();
  if (limitBytes === 0) throw new Error('this node keeps no caches (--cache-limit 0)');
  const { job_info, git_info } = payload;
  // By a clock that was put back it would be the older one, and another machine's the newest.
  const before = (await caches.factsAt(caches.fileOf(owner, key)))?.savedAt ?? 0;
  const savedAt = Math.max(Math.round(options.clock.wallMs()), Math.floor(before) + 1);
  const head = {
    ...{ key, method, savedAt, job: payload.id, node: options.nodeName.slice(0, 64) },
    project: run.record.run.project,
    ref: (git_info?.ref ?? job_info.name ?? '').slice(0, 1024),
  };
  const packedFrom = (earlier: EarlierFile | null): Promise<Packed> => {
    const how = { format: 'cache', cache: { head, level, earlier }, projectDir: workspace.projectDir } as const;
    const request = { paths, exclude: [], isUntracked, ...how, file, limitBytes };
    return writtenOut(caches, file, () => packAside(sourceOf(workspace), request, signal));
  };
  const isKept = async ({ cache }: Packed) => (await caches.contentOf(owner, key)) === cache?.tail.content;
  let packed = await packedFrom(earlierOf(caches, owner, [key, ...fallbacks]));
  // All was as before, and meanwhile another job has kept another one.
  if (packed.cache?.blocks === null && !(await isKept(packed))) packed = await packedFrom(null);
  for (const { text, isWarning } of packed.said) trace.say(isWarning ? warning(text) : `${text}\n`);
  if (packed.cache === undefined || packed.count === 0) return trace.say(warning('No files to cache.'));
  if (await isKept(packed)) {
    await caches.used(owner, key);
    return trace.say(`Archive is up to date!\n${good('Created cache')}`);
  }
  const { tail, blocks, reusedBytes } = packed.cache;
  await caches.keep(owner, key, file, blocks);
  const reused = reusedBytes > 0 ? `, ${showBytes(reusedBytes)} of it as before` : '';
  const size = `${plural(tail.files, 'file')}, ${showBytes(tail.plainBytes)}, ${showBytes(packed.sizeBytes)} packed`;
  trace.say(`${size}${reused}: kept on ${options.nodeName}\n${good('Created cache')}`);
}

/** Of these keys the first under which lies what this agent has packed. */
function earlierOf(caches: CacheStore, owner: CacheOwner, keys: readonly string[]): EarlierFile | null {
  for (const [index, key] of keys.entries()) {
    const found = caches.blocksOf(owner, key);
    if (found !== null) return { ...found, isOwn: index === 0 };
  }
  return null;
}
