import { createHash } from 'node:crypto';
import { createReadStream, createWriteStream, existsSync } from 'node:fs';
import { mkdir, readdir, rename, rm, stat, statfs, utimes } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import {
  LfsFailure,
  type LfsObject,
  type LfsPlace,
  lfsBatchSize,
  lfsPlaces,
  openLfs,
} from '../../gitlab-bridge/lfs-transfer.ts';
import { sentenceOf } from '../../protocol/errors.ts';
import { diskOf } from '../disk-use.ts';
import { type ByteName, byteName, textOf } from '../executors/byte-names.ts';
import { type TarEntry, writeTar } from '../executors/tar-format.ts';
import { showBytes } from '../settings/quantities.ts';
import { git, plain, SourcesFailure } from './git-command.ts';
import { NoRoom, whileRoom } from './spool-file.ts';

/** The files that a commit has in Git LFS, brought by the agent: neither machine nor image needs git-lfs. */

interface Pointer extends LfsObject {
  path: ByteName;
  mode: number;
}

interface LfsWanted {
  mirror: string;
  sha: string;
  /** Where its tree lies in the job's, with a slash at its end; empty: it is the job's own. */
  prefix?: string;
  address: string;
  named: string;
  token: string;
  signal: AbortSignal;
}

const mostPointers = 100_000;
const listBytes = 64 << 20;
/** By the format, a pointer is shorter than this. */
const pointerBytes = 1024;
const pathsAtOnce = 500;
const atOnce = 4;
const unusedMs = 30 * 86_400_000;
const pointerShape = /^version https:\/\/git-lfs\.github\.com\/spec\/v1$/;

/** Such files, and so large, are looked at. */
const attributes = { most: 5000, bytes: 1 << 20 } as const;
const looksMs = 60_000;

/**
 * Whether a `.gitattributes` of a commit, in whatever folder, names the filter of LFS, as git-lfs asks. One that is a link, or large, is
 * not read. In words, where that cannot be known.
 */
export async function usesLfs(mirror: string, sha: string, signal: AbortSignal): Promise<boolean | string> {
  const call = { cwd: mirror, signal, mostBytes: listBytes, isBytes: true, limitMs: looksMs };
  try {
    // Without sizes: for them git opens each blob of the commit, seconds for ten thousands.
    const listed = await git(['ls-tree', '-r', '-z', '--full-tree', sha], call);
    const paths = listed.split('\0').flatMap((line) => {
      const [, path] = /^100\d{3} blob \S+\t((?:.*\/)?\.gitattributes)$/s.exec(line) ?? [];
      return path === undefined ? [] : [path];
    });
    const sayable = sayablePaths(paths);
    if (sayable.length > attributes.most) return `it has more than ${attributes.most} .gitattributes`;
    for (let at = 0; at < sayable.length; at += pathsAtOnce) {
      const some = await smallOf(sayable.slice(at, at + pathsAtOnce), sha, call);
      if (some.length === 0) continue;
      const asked = ['--literal-pathspecs', 'grep', '-l', '-z', '-I', '-e', 'filter=lfs', sha, '--', ...some];
      if ((await git(asked, call).catch(nothing)) !== '') return true;
    }
    return false;
  } catch (error) {
    signal.throwIfAborted();
    return sentenceOf(error);
  }
}

/** Those of them that are no larger than what is read. */
async function smallOf(paths: string[], sha: string, call: Parameters<typeof git>[1]): Promise<string[]> {
  const words = ['--literal-pathspecs', 'ls-tree', '-l', '-z', '--full-tree', sha, '--', ...paths];
  const sizes = new Map<string, number>();
  for (const line of (await git(words, { ...call, isBytes: false })).split('\0')) {
    const [, size, path] = /^\d+ blob \S+ +(\d+)\t(.+)$/s.exec(line) ?? [];
    if (path !== undefined) sizes.set(path, Number(size));
  }
  return paths.filter((path) => (sizes.get(path) ?? Number.POSITIVE_INFINITY) <= attributes.bytes);
}

/** A name that is no UTF-8 cannot be said to a program. */
const sayablePaths = (paths: readonly ByteName[]): string[] =>
  paths
    .map((path) => Buffer.from(path, 'latin1'))
    .filter((path) => path.equals(Buffer.from(path.toString())))
    .map(String);

/** What lies in place of the files: found by what they say, as far as they are small enough. Throws SourcesFailure. */
async function pointersOf({ mirror, sha, signal }: LfsWanted): Promise<Pointer[]> {
  const run = (args: string[]): Promise<string> =>
    git(args, { cwd: mirror, signal, mostBytes: listBytes, isBytes: true });
  const listed = await run(['ls-tree', '-r', '-l', '-z', '--full-tree', sha]);
  const small = listed.split('\0').flatMap((line) => {
    const [, mode, size, path] = /^(100\d{3}) blob \S+ +(\d+)\t(.+)$/s.exec(line) ?? [];
    const isSmall = path !== undefined && Number(size) >= 100 && Number(size) < pointerBytes;
    return isSmall ? [{ path, mode: mode === '100755' ? 0o755 : 0o644 }] : [];
  });
  const found = new Map<string, { lines: string[]; mode: number }>();
  for (let at = 0; at < small.length; at += pathsAtOnce) {
    const some = small.slice(at, at + pathsAtOnce);
    const modes = new Map(some.map(({ path, mode }) => [path, mode]));
    const words = ['-z', '-I', '-e', '^version https://git-lfs', '-e', '^oid sha256:', '-e', '^size [0-9]'];
    const sayable = sayablePaths(some.map(({ path }) => path));
    const text = await run(['--literal-pathspecs', 'grep', ...words, sha, '--', ...sayable]).catch(nothing);
    for (const line of text.split('\n')) {
      const end = line.indexOf('\0');
      const path = line.slice(sha.length + 1, end);
      const mode = modes.get(path);
      if (end < 0 || mode === undefined) continue;
      const entry = found.get(path) ?? { lines: [], mode };
      entry.lines.push(line.slice(end + 1));
      found.set(path, entry);
    }
  }
  const pointers = [...found].flatMap(
    ([
      path,
      {
        lines: [version = '', oid = '', size = ''],
        mode,
      },
    ]) => {
      const isOne = pointerShape.test(version) && /^oid sha256:[0-9a-f]{64}$/.test(oid) && /^size \d{1,15}$/.test(size);
      return isOne ? [{ path, mode, oid: oid.slice('oid sha256:'.length), size: Number(size.slice(5)) }] : [];
    },
  );
  if (pointers.length > mostPointers) throw new SourcesFailure('the commit has too many files in Git LFS', false);
  return pointers;
}

/** `git grep` that finds nothing ends with 1. */
const nothing = (error: unknown): string => {
  if (error instanceof SourcesFailure && /\(exit 1\)/.test(error.message)) return '';
  throw error;
};

/**
 * A tar of the files that the commit has in LFS, from the mirror's store, into which what is missing is brought first. Null
 * where there are none. Whatever GitLab says of an object, its bytes are checked. Throws SourcesFailure.
 */
export async function bringLfs(wanted: LfsWanted): Promise<{ tar: Readable; sentence: string } | null> {
  const pointers = await pointersOf(wanted);
  if (pointers.length === 0) return null;
  const store = join(wanted.mirror, 'lfs');
  const objects = [...new Map(pointers.map(({ oid, size }) => [oid, { oid, size }])).values()];
  const missing: LfsObject[] = [];
  for (const object of objects) if (!(await isHere(store, object))) missing.push(object);
  await checkRoom(wanted.mirror, missing);
  try {
    // Asked also where all is here: what another project, or a job of before, was given is not this one's.
    for (let at = 0; at < objects.length; at += lfsBatchSize) {
      const some = objects.slice(at, at + lfsBatchSize);
      const places = await lfsPlaces(wanted, some);
      for (const { oid } of some) {
        const place = places.get(oid) ?? 'GitLab says nothing of it';
        if (typeof place === 'string') throw new LfsFailure(`${oid}: ${place}`, false);
      }
      await inTurns(
        some.filter((object) => missing.includes(object)),
        (object, signal) => bringOne(store, object, places.get(object.oid) as LfsPlace, signal),
        wanted.signal,
      );
    }
  } catch (error) {
    if (!(error instanceof LfsFailure)) throw error;
    const first = pointers.find(({ oid }) => error.message.includes(oid))?.path;
    const which = first === undefined ? '' : ` (${plain(textOf(first))})`;
    throw new SourcesFailure(
      `Git LFS: ${error.message}${which}; GIT_LFS_SKIP_SMUDGE: "true" leaves the pointers`,
      error.isAway,
    );
  }
  const bytes = missing.reduce((sum, { size }) => sum + size, 0);
  const prefix = byteName(wanted.prefix ?? '');
  const where = prefix === '' ? '' : ` in ${plain(wanted.prefix ?? '')}`;
  const sentence = `Git LFS${where}: ${pointers.length} files, ${missing.length} objects (${showBytes(bytes)}) fetched`;
  return { tar: Readable.from(writeTar(entriesOf(store, prefix, pointers)), { objectMode: false }), sentence };
}

/** Throws the first error, when nothing of the others goes on: gigabytes may come of each, for a job that has failed. */
async function inTurns(
  objects: LfsObject[],
  work: (object: LfsObject, signal: AbortSignal) => Promise<void>,
  given: AbortSignal,
): Promise<void> {
  const left = [...objects];
  const stop = new AbortController();
  const signal = AbortSignal.any([given, stop.signal]);
  const errors: unknown[] = [];
  const worker = async (): Promise<void> => {
    try {
      for (let object = left.shift(); object && !signal.aborted; object = left.shift()) await work(object, signal);
    } catch (error) {
      errors.push(error);
      stop.abort();
    }
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
  if (errors.length > 0) throw errors[0];
  given.throwIfAborted();
}

const pathOf = (store: string, oid: string): string => join(store, oid.slice(0, 2), oid);

async function isHere(store: string, { oid, size }: LfsObject): Promise<boolean> {
  const path = pathOf(store, oid);
  const found = await stat(path).catch(() => null);
  if (found?.size !== size) return false;
  const now = new Date();
  await utimes(path, now, now).catch(() => undefined);
  return true;
}

/** What a pointer says of its size is anybody's word. */
async function checkRoom(mirror: string, missing: readonly LfsObject[]): Promise<void> {
  const bytes = missing.reduce((sum, { size }) => sum + size, 0);
  const { freeBytes, totalBytes } = diskOf(await statfs(mirror));
  if (bytes > Math.max(0, freeBytes - totalBytes / 10))
    throw new SourcesFailure(
      `Git LFS: ${showBytes(bytes)} have to be fetched, and this machine has ${showBytes(freeBytes)} free, of which a tenth of the disk stays`,
      false,
    );
}

async function bringOne(store: string, { oid, size }: LfsObject, place: LfsPlace, signal: AbortSignal): Promise<void> {
  const path = pathOf(store, oid);
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  const part = `${path}.${process.pid}.${Math.random().toString(36).slice(2)}.part`;
  const hash = createHash('sha256');
  let bytes = 0;
  try {
    await pipeline(
      await openLfs(place, signal),
      async function* (source: AsyncIterable<Buffer>) {
        for await (const chunk of source) {
          bytes += chunk.length;
          if (bytes > size) throw new LfsFailure(`${oid}: it is larger than ${size} bytes`, false);
          hash.update(chunk);
          yield chunk;
        }
      },
      whileRoom(store, 'the files in Git LFS'),
      createWriteStream(part, { mode: 0o600 }),
      { signal },
    );
    if (bytes < size) throw new LfsFailure(`${oid}: cut off after ${bytes} of ${size} bytes`, true);
    if (hash.digest('hex') !== oid) throw new LfsFailure(`${oid}: what GitLab gave is something else`, false);
    await rename(part, path);
  } catch (error) {
    await rm(part, { force: true });
    if (error instanceof LfsFailure || signal.aborted) throw error;
    throw new LfsFailure(`${oid}: ${sentenceOf(error)}`, !(error instanceof NoRoom));
  }
}

async function* entriesOf(store: string, prefix: ByteName, pointers: Pointer[]): AsyncGenerator<TarEntry> {
  const mtime = Math.floor(Date.now() / 1000);
  for (const { path, mode, oid, size } of pointers) {
    const body = createReadStream(pathOf(store, oid)) as AsyncIterable<Uint8Array>;
    yield { name: `${prefix}${path}`, kind: 'file', mode, mtime, linkname: '', size, uid: 0, gid: 0, body };
  }
}

/** Objects that no job used for a month, and what killed agents left. */
export async function thinLfs(mirror: string, nowMs = Date.now()): Promise<void> {
  const store = join(mirror, 'lfs');
  if (!existsSync(store)) return;
  for (const folder of await readdir(store))
    for (const name of await readdir(join(store, folder))) {
      const path = join(store, folder, name);
      const ageMs = nowMs - (await stat(path)).mtimeMs;
      if (ageMs > (name.endsWith('.part') ? 86_400_000 : unusedMs)) await rm(path, { force: true });
    }
}
