import { createHash } from 'node:crypto';
import type { FileHandle } from 'node:fs/promises';
import { promisify } from 'node:util';
import { inflateRaw } from 'node:zlib';
import { sentenceOf } from '../../../protocol/errors.ts';
import { type ByteName, isRootOrGit, leadsOut, plainName } from '../../executors/byte-names.ts';
import { readTar } from '../../executors/tar-format.ts';
import { blockBytes, blockHeadBytes, cacheMagic, methods, mostJsonBytes, spareBytes } from './cache-layout.ts';
import { zstd } from './zstd-here.ts';

/** Deflate and zstd may grow what cannot be packed; then it is stored. */
const mostBlockBytes = blockBytes;
/** Blocks that are unpacked, by threads of Node's own, while the one before them is used. */
const blocksAhead = 3;

/** The file is not what was kept. */
export class CacheDamaged extends Error {
  override readonly name = 'CacheDamaged';
}

/** Fills all of `bytes` from that place of a cache's file on. Throws CacheDamaged where it ends before. */
export type ReadAt = (bytes: Buffer, position: number) => Promise<Buffer>;

export const readerOf =
  (file: FileHandle): ReadAt =>
  async (bytes, position) => {
    for (let got = 0; got < bytes.length; ) {
      const { bytesRead } = await file.read(bytes, got, bytes.length - got, position + got);
      if (bytesRead === 0) throw new CacheDamaged('it was cut off');
      got += bytesRead;
    }
    return bytes;
  };

export const bytesAt = (read: ReadAt, position: number, length: number): Promise<Buffer> =>
  read(Buffer.allocUnsafe(length), position);

/** Where its head is. Throws CacheDamaged. */
export async function headOf(read: ReadAt): Promise<{ at: number; bytes: number }> {
  const start = await bytesAt(read, 0, cacheMagic.length + 4);
  if (!start.subarray(0, cacheMagic.length).equals(cacheMagic)) throw new CacheDamaged('it is no cache');
  const bytes = start.readUInt32LE(cacheMagic.length);
  if (bytes > mostJsonBytes) throw new CacheDamaged('its head or its tail is none');
  return { at: start.length, bytes };
}

/** SHA-256 of all before `end`. */
export async function sumUpTo(read: ReadAt, end: number, signal?: AbortSignal): Promise<Buffer> {
  const sum = createHash('sha256');
  // Two that are used in turn: the next part is read while this one is summed up.
  const buffers = [Buffer.allocUnsafe(blockBytes), Buffer.allocUnsafe(blockBytes)] as const;
  const part = (at: number): Promise<Buffer> => {
    const into = buffers[(at / blockBytes) & 1] as Buffer;
    const reading = read(into.subarray(0, Math.min(blockBytes, end - at)), at);
    reading.catch(() => undefined);
    return reading;
  };
  let next = part(0);
  for (let at = 0; at < end; at += blockBytes) {
    const bytes = await next;
    signal?.throwIfAborted();
    if (at + blockBytes < end) next = part(at + blockBytes);
    sum.update(bytes);
  }
  return sum.digest();
}

/** The tar that is in its blocks, the first of which is at `from`. Throws CacheDamaged. */
export async function* plainBlocks(read: ReadAt, from: number): AsyncGenerator<Buffer> {
  const ahead: Promise<Buffer>[] = [];
  // What was read is used again when it is unpacked: half as much memory for V8 to collect, which is a quarter of the time.
  const free: Buffer[] = [];
  let at: number | null = from;
  for (;;) {
    while (at !== null && ahead.length < blocksAhead) {
      const head: Buffer = await bytesAt(read, at, blockHeadBytes);
      const packedBytes = head.readUInt32LE(0);
      const plainBytes = head.readUInt32LE(4);
      if (plainBytes > blockBytes || packedBytes > mostBlockBytes) throw new CacheDamaged('a block of it is too large');
      if (plainBytes > 0) {
        const room = free.pop() ?? Buffer.allocUnsafeSlow(blockBytes);
        const packed = await read(room.subarray(0, packedBytes), at + blockHeadBytes);
        const method = head[8] as number;
        const plain = unpacked(packed, method, plainBytes).finally(() => {
          // What was left as it is goes on in the memory that it was read into.
          if (method !== methods.stored) free.push(room);
        });
        // Whoever comes to it hears of it.
        plain.catch(() => undefined);
        ahead.push(plain);
      }
      at = plainBytes > 0 ? at + blockHeadBytes + packedBytes : null;
    }
    const first = ahead.shift();
    if (first === undefined) return;
    yield await first;
  }
}

/** Unpacks all of it to nowhere, and looks whether a tree may be made of it. Its bytes, and whether it is plain, as its tail means it. Throws CacheDamaged. */
export async function provenTree(
  blocks: AsyncIterable<Buffer>,
  signal: AbortSignal,
): Promise<{ plainBytes: number; isPlain: boolean }> {
  const plainness = new Plainness();
  let plainBytes = 0;
  let hasLink = false;
  const counted = async function* (): AsyncGenerator<Buffer> {
    for await (const block of blocks) {
      signal.throwIfAborted();
      plainBytes += block.length;
      yield block;
    }
  };
  try {
    for await (const { name, kind, linkname, uid, gid } of readTar(counted())) {
      const plain = plainName(name);
      plainness.add(plain, kind === 'folder', uid === 0 && gid === 0);
      if (leadsOut(name) || (kind === 'link' && leadsOut(linkname)) || isRootOrGit(plain))
        throw new CacheDamaged('a name in it is none of a tree');
      // After a link nothing may be written that could go through it.
      if (hasLink && kind !== 'symlink') throw new CacheDamaged('a link in it stands before a file');
      hasLink = kind === 'symlink';
      if (!['file', 'folder', 'link', 'symlink'].includes(kind)) throw new CacheDamaged('it has more than files in it');
    }
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof CacheDamaged) throw error;
    throw new CacheDamaged(`what is in it is no tar: ${sentenceOf(error)}`, { cause: error });
  }
  return { plainBytes, isPlain: plainness.isPlain };
}

/** Whether each folder stands before what is in it, and all is 0:0's. */
export class Plainness {
  readonly #folders = new Set<ByteName>();
  isPlain = true;

  /** The next entry. */
  add(name: ByteName, isFolder: boolean, isRoots: boolean): void {
    const end = name.lastIndexOf('/');
    if (!isRoots || (end >= 0 && !this.#folders.has(name.slice(0, end)))) this.isPlain = false;
    if (isFolder) this.#folders.add(name);
  }
}

const unDeflate = promisify<Buffer, { maxOutputLength: number; chunkSize: number }, Buffer>(inflateRaw);

async function unpacked(bytes: Buffer, method: number, plainBytes: number): Promise<Buffer> {
  const plain = await unpackedBy(bytes, method, plainBytes);
  if (plain.length !== plainBytes) throw new CacheDamaged('a block of it has not the length that it says');
  return plain;
}

async function unpackedBy(bytes: Buffer, method: number, plainBytes: number): Promise<Buffer> {
  if (method === methods.stored) return bytes;
  try {
    // In one piece: by the usual 16 KiB it would be a turn of the event loop, and a thread's, for each of them.
    const whole = { maxOutputLength: plainBytes, chunkSize: plainBytes + spareBytes };
    if (method === methods.deflate) return await unDeflate(bytes, whole);
    if (method === methods.zstd && zstd) return await zstd.unpack(bytes, whole);
  } catch (cause) {
    throw new CacheDamaged('a block of it cannot be unpacked', { cause });
  }
  throw new CacheDamaged('it is packed in a way that is not known here');
}
