import { existsSync, readFileSync, statSync } from 'node:fs';
import { mkdir, readdir, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { git, SourcesFailure } from './git-command.ts';
import { removeHalfFetched, whileSourcesFit } from './sources-room.ts';
import type { SourcesSpec } from './sources-spec.ts';

/** A bare mirror of one project: brought up to date for a job, and kept from growing without bound. */
const maintained = 'autogit-maintained';
const damageShapes = /bad object|corrupt|loose object|not a git repository|unable to create .*\.lock|cannot lock ref/i;

/** A repository with long names of commits is one of SHA-256. */
export const objectFormat = (sha: string): string => `--object-format=${sha.length === 64 ? 'sha256' : 'sha1'}`;

const refspecsOf = ({ refspecs, ref }: SourcesSpec): string[] =>
  refspecs.length > 0 ? refspecs : [`+refs/heads/${ref}:refs/remotes/origin/${ref}`];

/** What a refspec writes. */
const targetOf = (refspec: string): string | null => {
  const target = refspec.replace(/^\+/, '').split(':')[1] ?? '';
  return target.startsWith('refs/') ? target : null;
};

/** What a tree fetches of a mirror beside its commit: what the mirror holds under the refspecs' right sides, under the same names. */
export const treeRefspecs = (spec: SourcesSpec): string[] =>
  refspecsOf(spec).flatMap((refspec) => {
    const target = targetOf(refspec);
    return target === null ? [] : [`+${target}:${target}`];
  });

async function createMirror(mirror: string, sha: string, signal: AbortSignal): Promise<void> {
  await mkdir(mirror, { recursive: true, mode: 0o700 });
  await git(['init', '--quiet', '--bare', '--template=', objectFormat(sha), mirror], { cwd: mirror, signal });
  // Trees are fetched from here by commit; git forgets our environment between its two ends.
  await git(['config', 'uploadpack.allowAnySHA1InWant', 'true'], { cwd: mirror, signal });
  // Nothing to tidy up for a day.
  await writeFile(join(mirror, maintained), '');
}

/** A server that gives a commit by its name; without `token` it is no GitLab of ours. */
interface ModuleServer {
  address: string;
  token: string | null;
  /** Of another server: host:port:address. */
  resolve?: string;
}

const moduleRefs = 'refs/autogit/modules';

/**
 * Brings one commit of a submodule. The server is asked with this job's token whatever is here already: what another job
 * was given is not this one's. Throws SourcesFailure.
 */
export async function refreshModule(
  mirror: string,
  { address, token, resolve }: ModuleServer,
  sha: string,
  signal: AbortSignal,
  silenceMs: number,
): Promise<void> {
  const call = {
    cwd: mirror,
    signal,
    speaks: 'http',
    silenceMs,
    ...(token !== null && { token, host: address }),
  } as const;
  const ask = (args: string[]): Promise<string> => git(args, { ...call, resolve });
  const fetch = (...refspecs: string[]): Promise<string> => fetched(mirror, address, refspecs, { ...call, resolve });
  const kept = `${moduleRefs}/${sha}`;
  const keep = (): Promise<string> => git(['update-ref', kept, sha], { cwd: mirror, signal });
  if (!existsSync(join(mirror, 'HEAD'))) await createMirror(mirror, sha, signal);
  await ask(['ls-remote', '--quiet', '--', address, 'HEAD']);
  await mended(mirror, sha, signal, async () => {
    if (await hasCommit(mirror, sha, signal)) return keep();
    try {
      return await fetch(`+${sha}:${kept}`);
    } catch (error) {
      if (!(error instanceof SourcesFailure) || error.isAway || signal.aborted) throw error;
      // A server that gives only what its branches and tags lead to.
      await fetch('+refs/heads/*:refs/autogit/heads/*', '+refs/tags/*:refs/autogit/tags/*');
      if (!(await hasCommit(mirror, sha, signal))) throw new SourcesFailure(`commit ${sha} is not there`, false);
      return keep();
    }
  });
}

/** A branch that has gone makes room for one below its name, or above. What a fetch that fails had got of a pack goes with it. */
async function fetched(
  mirror: string,
  address: string,
  refspecs: readonly string[],
  call: Parameters<typeof git>[1] & { signal: AbortSignal },
): Promise<string> {
  const how = ['--progress', '--force', '--prune', '--no-tags', '--no-write-fetch-head'];
  try {
    return await whileSourcesFit(mirror, call.signal, (signal) =>
      git(['fetch', ...how, '--', address, ...refspecs], { ...call, signal }),
    );
  } catch (error) {
    await removeHalfFetched(mirror);
    throw error;
  }
}

/** Does it; where the mirror is damaged, once more in a new one. Throws SourcesFailure. */
async function mended(mirror: string, sha: string, signal: AbortSignal, work: () => Promise<unknown>): Promise<void> {
  try {
    await work();
  } catch (error) {
    if (!(error instanceof SourcesFailure) || error.isAway || signal.aborted) throw error;
    if (!damageShapes.test(error.message)) throw error;
    await rm(mirror, { recursive: true, force: true });
    await createMirror(mirror, sha, signal);
    await work();
  }
}

/** Throws SourcesFailure. `silenceMs`: how long GitLab may say nothing at all before it counts as away. */
export async function refreshMirror(
  mirror: string,
  address: string,
  spec: SourcesSpec,
  signal: AbortSignal,
  silenceMs: number,
): Promise<void> {
  if (!existsSync(join(mirror, 'HEAD'))) await createMirror(mirror, spec.sha, signal);
  else if (await hasPipeline(mirror, spec, signal)) return;
  // Tags are followed by the tree's own fetch, as far as its depth; one that was moved or removed must not stay here.
  const refspecs = [...new Set([...refspecsOf(spec), '+refs/tags/*:refs/tags/*'])];
  const call = { cwd: mirror, signal, token: spec.token, host: address, speaks: 'http', silenceMs } as const;
  const fetch = (): Promise<string> => fetched(mirror, address, refspecs, call);
  try {
    await mended(mirror, spec.sha, signal, fetch);
  } catch (error) {
    const isAway = error instanceof SourcesFailure && error.isAway && !signal.aborted;
    if (!isAway || !(await doWithout(mirror, spec, signal))) throw error;
  }
}

/** Another job of the same pipeline fetched it before: its ref stands for ever on its commit. */
export async function hasPipeline(mirror: string, spec: SourcesSpec, signal: AbortSignal): Promise<boolean> {
  const targets = spec.refspecs.map(targetOf).filter((target) => target !== null);
  const own = targets.find((target) => target.startsWith('refs/pipelines/'));
  if (own === undefined || targets.some((target) => target.includes('*')) || !mayHaveRef(mirror, own)) return false;
  const wanted = [own, ...targets].map((target) => `${target}^{commit}`);
  const found = await git(['rev-parse', '--quiet', ...wanted], { cwd: mirror, signal }).catch(() => '');
  return found.split('\n')[0] === spec.sha;
}

/** False where it surely is not there, told without a git: a pipeline's first job asks for what no mirror has. */
function mayHaveRef(mirror: string, ref: string): boolean {
  // Where a later git keeps refs in a way of its own.
  if (existsSync(join(mirror, 'reftable')) || existsSync(join(mirror, ref))) return true;
  try {
    return readFileSync(join(mirror, 'packed-refs'), 'latin1').includes(` ${ref}\n`);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ENOENT';
  }
}

export const hasCommit = (mirror: string, sha: string, signal: AbortSignal): Promise<boolean> =>
  git(['cat-file', '-e', `${sha}^{commit}`], { cwd: mirror, signal }).then(
    () => true,
    () => false,
  );

/**
 * GitLab is away, and the commit is here already from another pipeline: the refs that GitLab would have given are set on
 * it. Not for a job that wants every branch and tag, nor for one of a tag: what those stand on only GitLab knows.
 */
async function doWithout(mirror: string, spec: SourcesSpec, signal: AbortSignal): Promise<boolean> {
  const targets = refspecsOf(spec).map(targetOf);
  const known = targets.every((target) => target !== null && !target.includes('*') && !target.startsWith('refs/tags/'));
  if (!known || !(await hasCommit(mirror, spec.sha, signal))) return false;
  for (const target of targets as string[]) await git(['update-ref', target, spec.sha], { cwd: mirror, signal });
  return true;
}

const keptPipelines = 50;
const restMs = 24 * 60 * 60_000;
const unusedMs = 30 * restMs;
/** What a git of before that was killed has left was not written to for so long; what one of now writes is younger. */
export const halfFetchedMs = 60 * 60_000;

const ageMs = (path: string): number => {
  try {
    return Date.now() - statSync(path).mtimeMs;
  } catch {
    return Number.POSITIVE_INFINITY;
  }
};

/**
 * Whether its objects, what a job without history or tree of its own would have to get, take so many bytes. Those that are in no
 * pack count: git unpacks what a fetch of under a hundred objects brought, however large they are.
 */
export async function isLargeMirror(mirror: string, bytes: number): Promise<boolean> {
  const objects = `${mirror}/objects`;
  const folders = (await namesIn(objects)).filter((name) => name === 'pack' || name.length === 2);
  // Thousands of files, where none is packed: one by one, so that the event loop waits for none.
  let sum = 0;
  for (const folder of folders.sort().reverse())
    for (const name of await namesIn(`${objects}/${folder}`)) {
      sum += await stat(`${objects}/${folder}/${name}`).then(
        ({ size }) => size,
        () => 0,
      );
      if (sum >= bytes) return true;
    }
  return false;
}

const namesIn = (folder: string): Promise<string[]> => readdir(folder).catch(() => []);

/** Remembers that a job needed it now. */
export async function touchMirror(mirror: string): Promise<void> {
  const now = new Date();
  await utimes(mirror, now, now).catch(() => undefined);
}

/** Has it been longer than a day? Asked again a day later whatever comes of it. */
export async function isMaintenanceDue(mirror: string): Promise<boolean> {
  const stamp = join(mirror, maintained);
  if (ageMs(stamp) < restMs) return false;
  await writeFile(stamp, '');
  return true;
}

/** Of a list of refs: some 100,000 of them. */
const listBytes = 16 << 20;

/** Forgets pipelines of the past, and gives their disk back; slow, so behind everything else and not in a job's way. */
export async function maintainMirror(mirror: string, signal: AbortSignal): Promise<void> {
  const call = { cwd: mirror, signal, mostBytes: listBytes };
  const listed = await git(['for-each-ref', '--format=%(refname)', 'refs/pipelines'], call);
  const number = (ref: string): number => Number(ref.split('/')[2]) || 0;
  const past = listed
    .split('\n')
    .filter((ref) => ref !== '')
    .sort((a, b) => number(b) - number(a))
    .slice(keptPipelines);
  const modules = await git(['for-each-ref', '--sort=-committerdate', '--format=%(refname)', moduleRefs], call);
  const old = modules.split('\n').filter(Boolean).slice(keptPipelines);
  for (const ref of [...past, ...old]) await git(['update-ref', '-d', ref], { cwd: mirror, signal });
  await removeHalfFetched(mirror, halfFetchedMs);
  // A fetch of this moment may have brought what no ref names yet: two hours of it stay.
  const gentle = [
    '-c',
    'pack.threads=1',
    '-c',
    'pack.windowMemory=64m',
    '-c',
    'core.bigFileThreshold=16m',
    '-c',
    'gc.bigPackThreshold=1g',
  ];
  await git([...gentle, 'gc', '--quiet', '--prune=2.hours.ago'], { cwd: mirror, signal, isBackground: true });
}

/** Of a project that no job was of for 30 days. A mirror of an older version tells its age by its newest pack. */
export const isUnused = (mirror: string): boolean =>
  [mirror, join(mirror, 'objects', 'pack'), join(mirror, 'refs')].every((path) => ageMs(path) > unusedMs);
