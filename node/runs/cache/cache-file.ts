import { createHash } from 'node:crypto';
import { constants, type FileHandle, open } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { promisify } from 'node:util';
import { inflateRaw } from 'node:zlib';
import { z } from 'zod';
import { isRootOrGit, leadsOut, plainName } from '../../executors/byte-names.ts';
import { readTar } from '../../executors/tar-format.ts';
import { blockBytes, blockHeadBytes, cacheMagic, methods } from './cache-layout.ts';
import { zstd } from './zstd-here.ts';

const sumBytes = 32;
const mostJsonBytes = 1 << 17;
/** Deflate and zstd may grow what cannot be packed; then it is stored. */
const mostBlockBytes = blockBytes;

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
  /** SHA-256 of the tar. */
  content: z.string().regex(/^[0-9a-f]{64}$/),
  files: z.int().nonnegative(),
  plainBytes: z.int().nonnegative(),
});
export type CacheTail = z.infer<typeof CacheTail>;

/** The file is not what was kept. */
export class CacheDamaged extends Error {
  override readonly name = 'CacheDamaged';
}

const unDeflate = promisify<Buffer, { maxOutputLength: number }, Buffer>(inflateRaw);

/** An open cache. What it is was read; `check` tells whether all of it is whole. Close it. */
export class OpenCache {
  readonly #file: FileHandle;
  readonly head: CacheHead;
  readonly tail: CacheTail;
  readonly sizeBytes: number;
  readonly #from: number;

  private constructor(file: FileHandle, head: CacheHead, tail: CacheTail, from: number, sizeBytes: number) {
    this.#file = file;
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
      const start = await bytesAt(file, 0, cacheMagic.length + 4);
      if (!start.subarray(0, cacheMagic.length).equals(cacheMagic)) throw new CacheDamaged('it is no cache');
      const headBytes = start.readUInt32LE(cacheMagic.length);
      const tailBytes = (await bytesAt(file, size - sumBytes - 4, 4)).readUInt32LE(0);
      if (headBytes > mostJsonBytes || tailBytes > mostJsonBytes || headBytes + tailBytes + least > size)
        throw new CacheDamaged('its head or its tail is none');
      const head = parsed(CacheHead, await bytesAt(file, start.length, headBytes));
      const tail = parsed(CacheTail, await bytesAt(file, size - sumBytes - 4 - tailBytes, tailBytes));
      return new OpenCache(file, head, tail, start.length + headBytes, size);
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  /** Reads all of it once. Throws CacheDamaged. */
  async check(signal?: AbortSignal): Promise<void> {
    const sum = createHash('sha256');
    const end = this.sizeBytes - sumBytes;
    for (let at = 0; at < end; at += blockBytes) {
      signal?.throwIfAborted();
      sum.update(await bytesAt(this.#file, at, Math.min(blockBytes, end - at)));
    }
    if (!sum.digest().equals(await bytesAt(this.#file, end, sumBytes)))
      throw new CacheDamaged('its bytes are not those that were kept');
  }

  /** Its tar. */
  tar(): Readable {
    return Readable.from(this.#blocks(), { objectMode: false });
  }

  /** Unpacks all of it to nowhere, and looks whether a tree may be made of it: for what another machine has packed. Throws CacheDamaged. */
  async prove(signal: AbortSignal): Promise<void> {
    let plainBytes = 0;
    let hasLink = false;
    const counted = async function* (blocks: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
      for await (const block of blocks) {
        signal.throwIfAborted();
        plainBytes += block.length;
        yield block;
      }
    };
    try {
      for await (const { name, kind, linkname } of readTar(counted(this.#blocks()))) {
        const plain = plainName(name);
        if (leadsOut(name) || (kind === 'link' && leadsOut(linkname)) || isRootOrGit(plain))
          throw new CacheDamaged('a name in it is none of a tree');
        // After a link nothing may be written that could go through it.
        if (hasLink && kind !== 'symlink') throw new CacheDamaged('a link in it stands before a file');
        hasLink = kind === 'symlink';
        if (!['file', 'folder', 'link', 'symlink'].includes(kind))
          throw new CacheDamaged('it has more than files in it');
      }
    } catch (error) {
      signal.throwIfAborted();
      if (error instanceof CacheDamaged) throw error;
      throw new CacheDamaged(`what is in it is no tar: ${(error as Error).message}`, { cause: error });
    }
    if (plainBytes !== this.tail.plainBytes) throw new CacheDamaged('it is not as large as it says');
  }

  async *#blocks(): AsyncGenerator<Buffer> {
    for (let at = this.#from; ; ) {
      const head = await bytesAt(this.#file, at, blockHeadBytes);
      const packedBytes = head.readUInt32LE(0);
      const plainBytes = head.readUInt32LE(4);
      if (plainBytes === 0) return;
      if (plainBytes > blockBytes || packedBytes > mostBlockBytes) throw new CacheDamaged('a block of it is too large');
      const packed = await bytesAt(this.#file, at + blockHeadBytes, packedBytes);
      const plain = await unpacked(packed, head[8] as number, plainBytes);
      if (plain.length !== plainBytes) throw new CacheDamaged('a block of it has not the length that it says');
      yield plain;
      at += blockHeadBytes + packedBytes;
    }
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

async function unpacked(bytes: Buffer, method: number, plainBytes: number): Promise<Buffer> {
  if (method === methods.stored) return bytes;
  try {
    if (method === methods.deflate) return await unDeflate(bytes, { maxOutputLength: plainBytes });
    if (method === methods.zstd && zstd) return await zstd.unpack(bytes, plainBytes);
  } catch (cause) {
    throw new CacheDamaged('a block of it cannot be unpacked', { cause });
  }
  throw new CacheDamaged('it is packed in a way that is not known here');
}

async function bytesAt(file: FileHandle, position: number, length: number): Promise<Buffer> {
  const bytes = Buffer.allocUnsafe(length);
  for (let got = 0; got < length; ) {
    const { bytesRead } = await file.read(bytes, got, length - got, position + got);
    if (bytesRead === 0) throw new CacheDamaged('it was cut off');
    got += bytesRead;
  }
  return bytes;
}
