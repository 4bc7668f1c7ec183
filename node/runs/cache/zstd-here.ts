import { promisify } from 'node:util';
import zlib from 'node:zlib';

/** What Node's zlib has of zstd from 22.15 on; its types are those of 20. */
interface NodesZstd {
  zstdCompressSync(bytes: Uint8Array, options: { params: Record<number, number> }): Buffer;
  zstdDecompress(
    bytes: Uint8Array,
    options: { maxOutputLength: number },
    done: (error: Error | null, bytes: Buffer) => void,
  ): void;
}

interface Zstd {
  pack(bytes: Uint8Array, level: number): Buffer;
  unpack(bytes: Uint8Array, mostBytes: number): Promise<Buffer>;
}

/** zstd.h */
const compressionLevel = 100;

function zstdOf(found: Partial<NodesZstd>): Zstd | null {
  const { zstdCompressSync, zstdDecompress } = found;
  if (zstdCompressSync === undefined || zstdDecompress === undefined) return null;
  const unpack = promisify(zstdDecompress) as (
    bytes: Uint8Array,
    options: { maxOutputLength: number },
  ) => Promise<Buffer>;
  return {
    pack: (bytes, level) => zstdCompressSync(bytes, { params: { [compressionLevel]: level } }),
    unpack: (bytes, mostBytes) => unpack(bytes, { maxOutputLength: mostBytes }),
  };
}

/** Null: the Node.js that runs this has none. */
export const zstd: Zstd | null = zstdOf(zlib as Partial<NodesZstd>);
