import { closeSync, openSync, readSync } from 'node:fs';

/** What btrfs says of itself in its first super block. */
export interface ImageHeader {
  fsid: string;
  /** Of the device that it was made for, or grown to. */
  totalBytes: number;
}

/** Where the first super block lies, and where in it what stands (btrfs' on-disk format). */
const at = { block: 0x10000, fsid: 0x20, magic: 0x40, totalBytes: 0x70 } as const;
const magic = '_BHRfS_M';

export function headerIn(block: Buffer): ImageHeader | null {
  if (block.length < 0x100 || block.toString('latin1', at.magic, at.magic + magic.length) !== magic) return null;
  const hex = block.toString('hex', at.fsid, at.fsid + 16);
  const fsid = [0, 8, 12, 16, 20, 32].slice(0, -1).map((from, part, starts) => hex.slice(from, starts[part + 1] ?? 32));
  return { fsid: fsid.join('-'), totalBytes: Number(block.readBigUInt64LE(at.totalBytes)) };
}

/** Null where there is none: no btrfs, or its beginning is gone. Throws where the file cannot be read. */
export function readHeader(path: string): ImageHeader | null {
  const file = openSync(path, 'r');
  try {
    const block = Buffer.alloc(0x100);
    return headerIn(block.subarray(0, readSync(file, block, 0, block.length, at.block)));
  } finally {
    closeSync(file);
  }
}
