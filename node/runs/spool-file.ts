import { closeSync, openSync, readSync, type StatsFs, statfsSync, writeSync } from 'node:fs';
import { statfs } from 'node:fs/promises';
import { dirname } from 'node:path';
import { diskOf } from '../disk-use.ts';

/** Why artifacts cannot be packed, in words for the trace. `isJobs`: the job asked for too much; else this machine has too little. */
export class PackProblem extends Error {
  override readonly name = 'PackProblem';
  readonly isJobs: boolean;
  constructor(message: string, isJobs: boolean) {
    super(message);
    this.isJobs = isJobs;
  }
}

/** Where bytes of an earlier entry lie, for a hard link that has the same. */
export interface Range {
  offset: number;
  length: number;
}

const bufferBytes = 1 << 20;
const checkEvery = 32 << 20;
/** Room that artifacts never take from the disk that holds the agent's own state. */
const reserveOf = (diskBytes: number): number => Math.min(1 << 30, diskBytes / 10);

/** How much more may be written below a folder before the reserve is touched. */
export const roomIn = async (folder: string): Promise<number> => roomOf(await statfs(folder));

/** The disk that holds the agent's own state has no room for what comes. */
export class NoRoom extends Error {
  override readonly name = 'NoRoom';
}

/** Between two looks, so that the reserve is touched by no more, whoever writes beside it. */
const lookEvery = 8 << 20;

/**
 * Hands bytes on that are on their way into a folder, as long as its disk keeps its reserve: how many come is said by others, or not at all, and
 * other jobs write there at the same time. `what`: for whoever reads NoRoom, which it throws.
 */
export const whileRoom = (folder: string, what: string) =>
  async function* (chunks: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
    let unlooked = 0;
    for await (const chunk of chunks) {
      unlooked += chunk.length;
      if (unlooked >= lookEvery) {
        unlooked = 0;
        if ((await roomIn(folder)) < 0) throw new NoRoom(noRoomFor(what));
      }
      yield chunk;
    }
  };

const noRoomFor = (what: string): string => `the disk of this node's home has too little room left for ${what}`;

function roomOf(stats: StatsFs): number {
  const { freeBytes, totalBytes } = diskOf(stats);
  return freeBytes - reserveOf(totalBytes);
}

/**
 * A file that grows at its end, by large writes, and stops before the disk is full. It is for the thread that packs, so
 * its calls wait for the disk: a promise for each of many small files took longer than the writing.
 */
export class SpoolFile {
  readonly #file: number;
  readonly #folder: string;
  readonly #what: string;
  /** Not in the file yet. */
  readonly #held = Buffer.allocUnsafeSlow(bufferBytes);
  #heldBytes = 0;
  #written = 0;
  #checkAt = 0;

  /** `what`: for whoever reads that there is no room for it. */
  constructor(path: string, what = 'the artifacts') {
    this.#what = what;
    this.#file = openSync(path, 'w+', 0o600);
    this.#folder = dirname(path);
  }

  get size(): number {
    return this.#written + this.#heldBytes;
  }

  /** The bytes are the caller's again when this returns. */
  append(bytes: Uint8Array): void {
    if (bytes.length > bufferBytes - this.#heldBytes) this.flush();
    if (bytes.length >= bufferBytes) return this.#write(bytes);
    this.#held.set(bytes, this.#heldBytes);
    this.#heldBytes += bytes.length;
  }

  /** Writes over bytes that were appended before. */
  patch(offset: number, bytes: Uint8Array): void {
    this.flush();
    for (let at = 0; at < bytes.length; ) at += writeSync(this.#file, bytes, at, bytes.length - at, offset + at);
  }

  copy({ offset, length }: Range): void {
    this.flush();
    const bytes = Buffer.allocUnsafe(Math.min(bufferBytes, length));
    for (let at = 0; at < length; ) {
      const count = readSync(this.#file, bytes, 0, Math.min(bytes.length, length - at), offset + at);
      if (count === 0) throw new Error('the file of artifacts lost bytes');
      this.append(bytes.subarray(0, count));
      at += count;
    }
  }

  flush(): void {
    const bytes = this.#held.subarray(0, this.#heldBytes);
    this.#heldBytes = 0;
    if (bytes.length > 0) this.#write(bytes);
  }

  #write(bytes: Uint8Array): void {
    if (this.#written + bytes.length >= this.#checkAt) {
      if (roomOf(statfsSync(this.#folder)) < bytes.length + checkEvery)
        throw new PackProblem(noRoomFor(this.#what), false);
      this.#checkAt = this.#written + bytes.length + checkEvery;
    }
    for (let at = 0; at < bytes.length; ) at += writeSync(this.#file, bytes, at, bytes.length - at, this.#written + at);
    this.#written += bytes.length;
  }

  close(): void {
    closeSync(this.#file);
  }
}
