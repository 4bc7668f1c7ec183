import { createHash } from 'node:crypto';
import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import { blockBytes, blockHeadBytes, sumBytes } from './cache-layout.ts';
import type { Effort } from './deflate-block.ts';

/** Of a cache's file that this agent has packed: what its blocks hold and where they are. */
export interface PackedBlocks {
  /** SHA-256 of the file, as it stands at its end. */
  sum: Uint8Array;
  /** How they were packed: what is asked for otherwise is packed anew. */
  how: string;
  /** A record a block, in their order: SHA-256 of its plain bytes, and where its head is (48 bits). */
  records: Uint8Array;
}

/** Where a later packing finds them. `isOwn`: it is kept under the same key, so where nothing has changed nothing has to be written. */
export interface EarlierFile {
  file: string;
  isOwn: boolean;
  blocks: PackedBlocks;
}

const digestBytes = 32;
const recordBytes = digestBytes + 6;

export const howOf = (method: string, level: Effort): string => `${method} ${level}`;

/** Notes the blocks of a file as they are written. */
export class BlockNotes {
  #records = Buffer.alloc(64 * recordBytes);
  #bytes = 0;

  add(digest: Uint8Array, at: number): void {
    if (this.#bytes === this.#records.length)
      this.#records = Buffer.concat([this.#records, Buffer.alloc(this.#records.length)]);
    this.#records.set(digest, this.#bytes);
    this.#records.writeUIntLE(at, this.#bytes + digestBytes, 6);
    this.#bytes += recordBytes;
  }

  end(sum: Uint8Array, how: string): PackedBlocks {
    return { sum, how, records: new Uint8Array(this.#records.subarray(0, this.#bytes)) };
  }
}

/**
 * The blocks of an earlier file, for the thread that packs. All of it is read once for its sum before one of them is given: what a disk has
 * lost or changed since must not become part of a file with a sum of its own.
 */
export class EarlierBlocks {
  readonly isOwn: boolean;
  readonly count: number;
  readonly #file: number;
  readonly #records: Buffer;
  readonly #places = new Map<string, number>();
  readonly #bytes: Buffer;

  private constructor(file: number, { isOwn, blocks }: EarlierFile, bytes: Buffer) {
    this.#file = file;
    this.isOwn = isOwn;
    this.#bytes = bytes;
    const { buffer, byteOffset, length } = blocks.records;
    this.#records = Buffer.from(buffer, byteOffset, length);
    this.count = length / recordBytes;
    for (let index = 0; index < this.count; index++)
      this.#places.set(
        this.digestAt(index).toString('latin1'),
        this.#records.readUIntLE(index * recordBytes + digestBytes, 6),
      );
  }

  /** Null where the file is gone, is not what it was, or was packed in another way. */
  static of(earlier: EarlierFile, how: string): EarlierBlocks | null {
    if (earlier.blocks.how !== how) return null;
    let file: number;
    try {
      file = openSync(earlier.file, constants.O_RDONLY | constants.O_NOFOLLOW);
    } catch {
      return null;
    }
    try {
      const bytes = Buffer.allocUnsafeSlow(blockHeadBytes + blockBytes);
      if (sumOf(file, bytes).equals(earlier.blocks.sum)) return new EarlierBlocks(file, earlier, bytes);
    } catch {
      // A disk that does not give it back.
    }
    closeSync(file);
    return null;
  }

  digestAt(index: number): Buffer {
    return this.#records.subarray(index * recordBytes, index * recordBytes + digestBytes);
  }

  /** A block of these plain bytes with its head, good until the next one is asked for; null: there is none. */
  packed(digest: Buffer): Buffer | null {
    const at = this.#places.get(digest.toString('latin1'));
    if (at === undefined) return null;
    fill(this.#file, this.#bytes.subarray(0, blockHeadBytes), at);
    const length = blockHeadBytes + this.#bytes.readUInt32LE(0);
    fill(this.#file, this.#bytes.subarray(blockHeadBytes, length), at + blockHeadBytes);
    return this.#bytes.subarray(0, length);
  }

  close(): void {
    closeSync(this.#file);
  }
}

/** Throws where the file ends before. */
function fill(file: number, bytes: Buffer, at: number): void {
  for (let got = 0; got < bytes.length; ) {
    const count = readSync(file, bytes, got, bytes.length - got, at + got);
    if (count === 0) throw new Error('the file of the cache before lost bytes');
    got += count;
  }
}

function sumOf(file: number, buffer: Buffer): Buffer {
  const sum = createHash('sha256');
  const end = fstatSync(file).size - sumBytes;
  for (let at = 0; at < end; at += buffer.length) {
    const bytes = buffer.subarray(0, Math.min(buffer.length, end - at));
    fill(file, bytes, at);
    sum.update(bytes);
  }
  return sum.digest();
}
