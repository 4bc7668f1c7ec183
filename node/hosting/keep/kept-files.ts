import { createHash, randomBytes } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, open, opendir, rename, rm, stat, statfs, unlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Readable } from 'node:stream';
import { sentenceOf } from '../../../protocol/errors.ts';
import { diskOf, filesOf } from '../../disk-use.ts';
import { showBytes } from '../../settings/quantities.ts';
import { ownersReserve } from '../place-choice.ts';
import { systemTools } from '../system-tools.ts';

/** What a repository of restic's is made of, beside its one `config`. */
export const keptTypes = ['data', 'index', 'keys', 'locks', 'snapshots'] as const;
export type KeptType = (typeof keptTypes)[number];

/** One file of a repository. All but `config` bear the SHA-256 of their bytes as name. */
export type KeptName = { type: 'config' } | { type: KeptType; name: string };

/** Most bytes of one, and how many of them: restic's own are far below. */
const most: Record<KeptType | 'config', { bytes: number; files: number }> = {
  config: { bytes: 64 << 10, files: 1 },
  keys: { bytes: 64 << 10, files: 64 },
  // Taken also where there is no room: so these are small.
  locks: { bytes: 4 << 10, files: 1000 },
  snapshots: { bytes: 4 << 20, files: 100_000 },
  index: { bytes: 128 << 20, files: 1_000_000 },
  data: { bytes: 256 << 20, files: 100_000_000 },
};

/** Less room than that: the next backup may not find enough. */
export const shortBytes = most.data.bytes;

/** Why something is not taken: `status` as HTTP and restic know it. */
export class NotKept extends Error {
  readonly status: number;

  constructor(status: number, sentence: string) {
    super(sentence);
    this.status = status;
  }
}

/** ms in which a snapshot that has just come may go again: restic takes back what it could not read whole. */
const regretMs = 120_000;

const isCode = (error: unknown, ...codes: string[]): boolean =>
  codes.includes((error as NodeJS.ErrnoException).code ?? '');

/**
 * The files of a repository that is kept for another machine: they come whole or not at all, under the name that their bytes have,
 * and stay. Nothing is written over and nothing goes but locks, and a snapshot that has come a moment ago. Laid out as restic has
 * it, so that it reads them here as a folder.
 */
export class KeptFiles {
  readonly folder: string;
  readonly #incoming: string;
  readonly #nowMs: () => number;
  /** Being written: one at a time of each name. */
  readonly #under = new Set<string>();
  /** Bytes that were let in and are not on the disk yet. */
  #coming = 0;
  /** Snapshots that have come to this agent, and when. */
  readonly #young = new Map<string, number>();

  /** `home`: a folder of its own. `nowMs` only grows. */
  constructor(home: string, nowMs: () => number) {
    this.folder = join(home, 'repository');
    this.#incoming = join(home, 'incoming');
    this.#nowMs = nowMs;
  }

  /** What an agent that was killed has half taken goes. */
  async open(): Promise<void> {
    await rm(this.#incoming, { recursive: true, force: true });
    const folders = [this.#incoming, ...keptTypes.map((type) => join(this.folder, type))];
    for (const folder of folders) await mkdir(folder, { recursive: true, mode: 0o700 });
  }

  /** How much more may come: what is free, less what stays its owner's, less what is on its way. */
  async freeBytes(): Promise<number> {
    const { totalBytes, freeBytes } = diskOf(await statfs(this.folder));
    return freeBytes - ownersReserve(totalBytes) - this.#coming;
  }

  pathOf(one: KeptName): string {
    if (one.type === 'config') return join(this.folder, 'config');
    const { type, name } = one;
    return type === 'data' ? join(this.folder, type, name.slice(0, 2), name) : join(this.folder, type, name);
  }

  /** Null where there is none. */
  async sizeOf(one: KeptName): Promise<number | null> {
    try {
      return (await stat(this.pathOf(one))).size;
    } catch (error) {
      if (isCode(error, 'ENOENT', 'ENOTDIR')) return null;
      throw error;
    }
  }

  /** Bytes `from` to `to`, that one too. */
  async bytes(one: KeptName, from: number, to: number): Promise<Readable | null> {
    try {
      const file = await open(this.pathOf(one), 'r');
      return createReadStream('', { fd: file, start: from, end: to, autoClose: true });
    } catch (error) {
      if (isCode(error, 'ENOENT', 'ENOTDIR')) return null;
      throw error;
    }
  }

  /** One by one: a host may make millions, which must not be in memory at once. */
  async *list(type: KeptType): AsyncGenerator<{ name: string; size: number }> {
    for await (const name of this.#namesOf(type)) {
      const size = await this.sizeOf({ type, name });
      if (size !== null) yield { name, size };
    }
  }

  async *#namesOf(type: KeptType, folder = join(this.folder, type)): AsyncGenerator<string> {
    for await (const entry of await opendir(folder, { bufferSize: 512 })) {
      if (/^[0-9a-f]{64}$/.test(entry.name)) yield entry.name;
      else if (type === 'data' && /^[0-9a-f]{2}$/.test(entry.name))
        yield* this.#namesOf(type, join(folder, entry.name));
    }
  }

  async #isFull(type: KeptType): Promise<boolean> {
    let count = 0;
    for await (const _ of this.#namesOf(type)) count += 1;
    return count >= most[type].files;
  }

  /**
   * Takes it in. It counts once it is on the disk whole, and its bytes have that name; one that is there already stays as it is.
   * Throws NotKept, and leaves nothing.
   */
  async put(one: KeptName, bytes: number, body: AsyncIterable<Buffer>): Promise<void> {
    const limit = most[one.type].bytes;
    if (bytes > limit)
      throw new NotKept(413, `${showBytes(bytes)} are more than one file of ${one.type} has: ${showBytes(limit)}`);
    const path = this.pathOf(one);
    if (this.#under.has(path)) throw new NotKept(409, 'it is being written by another connection');
    // Before anything is waited for: others come meanwhile.
    this.#under.add(path);
    this.#coming += bytes;
    const draft = join(this.#incoming, randomBytes(16).toString('hex'));
    try {
      await this.#letIn(one, bytes);
      const known = await this.sizeOf(one);
      if (known !== null && (one.type === 'config' || known !== bytes))
        throw new NotKept(403, 'it is there already, and nothing is written over here');
      const hash = await written(draft, bytes, body);
      if (one.type !== 'config' && hash !== one.name)
        throw new NotKept(400, `its bytes are another file's: their SHA-256 is ${hash}`);
      if (known !== null) return;
      await this.#settle(draft, path);
      if (one.type === 'snapshots') this.#young.set(one.name, this.#nowMs());
    } catch (error) {
      if (isCode(error, 'ENOSPC', 'EDQUOT')) throw new NotKept(507, 'its disk is full');
      if (isCode(error, 'EROFS', 'EIO')) throw new NotKept(507, `its disk cannot be written: ${sentenceOf(error)}`);
      throw error;
    } finally {
      this.#under.delete(path);
      this.#coming -= bytes;
      await rm(draft, { force: true }).catch(() => {});
    }
  }

  async #letIn(one: KeptName, bytes: number): Promise<void> {
    // Of data there are too many to count each time, and the room bounds them.
    if (one.type !== 'config' && one.type !== 'data' && (await this.#isFull(one.type)))
      throw new NotKept(403, `there are ${most[one.type].files} files of ${one.type} already`);
    // restic opens nothing where one of the first keys that it meets is none: it ends there, or after 20 of them.
    if (one.type === 'keys' && (await this.sizeOf({ type: 'config' })) !== null && (await this.sizeOf(one)) === null)
      throw new NotKept(403, 'the repository has its key, and no other is taken');
    // Without one nothing is read, and what is here is needed most when nothing else goes.
    if (one.type === 'locks') return;
    const files = filesOf(await statfs(this.folder));
    if (files !== null && files.free < files.total / 10)
      throw new NotKept(507, 'its disk has room for few more files (df -i), which stay for its owner');
    const free = await this.freeBytes();
    if (free < 0)
      throw new NotKept(
        507,
        `it has ${showBytes(Math.max(0, free + bytes))} left for backups, beside what stays its owner's`,
      );
  }

  async #settle(draft: string, path: string): Promise<void> {
    const folder = dirname(path);
    const made = await mkdir(folder, { recursive: true, mode: 0o700 });
    if (made !== undefined) await systemTools.syncFolder(dirname(folder));
    await rename(draft, path);
    await systemTools.syncFolder(folder);
  }

  /** A lock, or a snapshot of a moment ago. False where there is none. */
  async remove(one: KeptName): Promise<boolean> {
    if (one.type === 'snapshots') {
      const cameMs = this.#young.get(one.name);
      if (cameMs === undefined || this.#nowMs() - cameMs > regretMs) throw append();
      this.#young.delete(one.name);
    } else if (one.type !== 'locks') throw append();
    try {
      await unlink(this.pathOf(one));
      return true;
    } catch (error) {
      if (isCode(error, 'ENOENT')) return false;
      throw error;
    }
  }

  /** No connection is open: nobody holds any. */
  async dropLocks(): Promise<void> {
    for await (const name of this.#namesOf('locks')) await unlink(this.pathOf({ type: 'locks', name })).catch(() => {});
  }
}

const append = (): NotKept =>
  new NotKept(403, 'backups here are only added to: what there is goes by the schedule of the machine that keeps them');

/** On the disk; its SHA-256. Throws where it is not as long as was said. */
async function written(path: string, bytes: number, body: AsyncIterable<Buffer>): Promise<string> {
  const hash = createHash('sha256');
  const file = await open(path, 'wx', 0o600);
  try {
    let had = 0;
    for await (const piece of body) {
      had += piece.length;
      if (had > bytes) throw new NotKept(400, 'it is longer than was said');
      hash.update(piece);
      await file.writeFile(piece);
    }
    if (had !== bytes) throw new NotKept(400, 'it ended before it was whole');
    await file.sync();
  } finally {
    await file.close();
  }
  return hash.digest('hex');
}
