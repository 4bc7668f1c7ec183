import { promisify } from 'node:util';
import zlib from 'node:zlib';
import { spareBytes } from './cache-layout.ts';

interface UnpackOptions {
  maxOutputLength: number;
  chunkSize: number;
}

/** What Node's zlib has of zstd from 22.15 on; its types are those of 20. */
interface NodesZstd {
  zstdCompressSync(bytes: Uint8Array, options: { params: Record<number, number>; chunkSize: number }): Buffer;
  zstdDecompress(bytes: Uint8Array, options: UnpackOptions, done: (error: Error | null, bytes: Buffer) => void): void;
}

interface Zstd {
  pack(bytes: Uint8Array, level: number): Buffer;
  unpack(bytes: Uint8Array, options: UnpackOptions): Promise<Buffer>;
}

/** zstd.h */
const compressionLevel = 100;

function zstdOf(found: Partial<NodesZstd>): Zstd | null {
  const { zstdCompressSync, zstdDecompress } = found;
  if (zstdCompressSync === undefined || zstdDecompress === undefined) return null;
  const unpack = promisify(zstdDecompress) as Zstd['unpack'];
  return {
    pack: (bytes, level) =>
      zstdCompressSync(bytes, { params: { [compressionLevel]: level }, chunkSize: bytes.length + spareBytes }),
    unpack,
  };
}

/** Null: the Node.js that runs this has none. */
export const zstd: Zstd | null = zstdOf(zlib as Partial<NodesZstd>);
