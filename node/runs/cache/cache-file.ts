import { constants, type FileHandle, open } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { z } from 'zod';
import { bytesAt, CacheDamaged, headOf, plainBlocks, type ReadAt, readerOf, sumUpTo } from './cache-blocks.ts';
import { blockHeadBytes, cacheMagic, mostJsonBytes, sumBytes } from './cache-layout.ts';
import type { CacheLook } from './cache-look.ts';

export const CacheHead = z.object({
  /** As people read it. */
  key: z.string().max(1 << 16),
  /** Its full path at GitLab, for people. */
  project: z.string().max(512),
  /** Wall ms, by the clock of the machine that kept it. */
  savedAt: z.number(),
  job: z.int().nonnegative(),
  ref: z.string().max(1024),
  /** The machine that kept it, by name. */
  node: z.string().max(64),
  method: z.enum(['stored', 'deflate', 'zstd']),
});
export type CacheHead = z.infer<typeof CacheHead>;

const CacheTail = z.object({
  /** What the tar is told by, of those that were packed here: SHA-256 of its blocks' own. */
  content: z.string().regex(/^[0-9a-f]{64}$/),
  files: z.int().nonnegative(),
  plainBytes: z.int().nonnegative(),
  /** Each folder stands before what is in it, and all is 0:0's. A machine of before does not say it. */
  isPlain: z.boolean().optional(),
});
export type CacheTail = z.infer<typeof CacheTail>;

/** An open cache. What it is was read; `check` tells whether all of it is whole. Close it. */
export class OpenCache {
  readonly #file: FileHandle;
  readonly #read: ReadAt;
  readonly head: CacheHead;
  readonly tail: CacheTail;
  readonly sizeBytes: number;
  readonly #from: number;

  private constructor(file: FileHandle, head: CacheHead, tail: CacheTail, from: number, sizeBytes: number) {
    this.#file = file;
    this.#read = readerOf(file);
    this.head = head;
    this.tail = tail;
    this.#from = from;
    this.sizeBytes = sizeBytes;
  }

  /** Null when there is none. Throws CacheDamaged. */
  static async at(path: string): Promise<OpenCache | null> {
    let file: FileHandle;
    try {
      file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
      throw error;
    }
    try {
      const { size } = await file.stat();
      const least = cacheMagic.length + 4 + blockHeadBytes + 4 + sumBytes;
      if (size < least) throw new CacheDamaged('it was cut off');
      const read = readerOf(file);
      const { at, bytes } = await headOf(read);
      const tailBytes = (await bytesAt(read, size - sumBytes - 4, 4)).readUInt32LE(0);
      if (tailBytes > mostJsonBytes || bytes + tailBytes + least > size)
        throw new CacheDamaged('its head or its tail is none');
      const head = parsed(CacheHead, await bytesAt(read, at, bytes));
      const tail = parsed(CacheTail, await bytesAt(read, size - sumBytes - 4 - tailBytes, tailBytes));
      return new OpenCache(file, head, tail, at + bytes, size);
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  /** Reads all of it once. Throws CacheDamaged. */
  async check(signal?: AbortSignal): Promise<void> {
    await this.#checkSum(await sumUpTo(this.#read, this.sizeBytes - sumBytes, signal));
  }

  /** By what a look at its bytes has found while they came from another machine, which has packed it. Throws CacheDamaged. */
  async believe({ sizeBytes, sum, plainBytes, isPlain, problem }: CacheLook): Promise<void> {
    if (sizeBytes !== this.sizeBytes) throw new CacheDamaged('it was cut off');
    await this.#checkSum(sum);
    if (problem !== null) throw problem;
    if (plainBytes !== this.tail.plainBytes) throw new CacheDamaged('it is not as large as it says');
    if (this.tail.isPlain && !isPlain) throw new CacheDamaged('a folder or an owner in it is not as it says');
  }

  async #checkSum(sum: Buffer): Promise<void> {
    if (!sum.equals(await bytesAt(this.#read, this.sizeBytes - sumBytes, sumBytes)))
      throw new CacheDamaged('its bytes are not those that were kept');
  }

  /** Its tar. */
  tar(): Readable {
    return Readable.from(plainBlocks(this.#read, this.#from), { objectMode: false });
  }

  close(): Promise<void> {
    return this.#file.close();
  }
}

function parsed<T>(schema: z.ZodType<T>, bytes: Buffer): T {
  try {
    return schema.parse(JSON.parse(bytes.toString('utf8')));
  } catch (cause) {
    throw new CacheDamaged('its head or its tail is none', { cause });
  }
}
