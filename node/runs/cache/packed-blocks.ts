import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import { crc32 } from 'node:zlib';
import { blockBytes, blockHeadBytes, sumBytes } from './cache-layout.ts';
import type { Effort } from './deflate-block.ts';

/** Of a cache's file that this agent has packed: what its blocks hold and where they are. */
export interface PackedBlocks {
  /** SHA-256 of the file, as it stands at its end. */
  sum: Uint8Array;
  /** How they were packed: what is asked for otherwise is packed anew. */
  how: string;
  /** A record a block, in their order: SHA-256 of its plain bytes, where its head is (48 bits), and CRC-32 of its head and packed bytes. */
  records: Uint8Array;
  /** CRC-32 of what stands before its blocks and behind them, but for the sum. */
  frame: number;
}

/** Where a later packing finds them. `isOwn`: it is kept under the same key, so where nothing has changed nothing has to be written. */
export interface EarlierFile {
  file: string;
  isOwn: boolean;
  blocks: PackedBlocks;
}

const digestBytes = 32;
const placeBytes = 6;
const recordBytes = digestBytes + placeBytes + 4;

export const howOf = (method: string, level: Effort): string => `${method} ${level}`;

/** Notes the blocks of a file as they are written. */
export class BlockNotes {
  #records = Buffer.alloc(64 * recordBytes);
  #bytes = 0;
  #frame = 0;

  /** `check`: CRC-32 of the block as it goes into the file. */
  add(digest: Uint8Array, at: number, check: number): void {
    if (this.#bytes === this.#records.length)
      this.#records = Buffer.concat([this.#records, Buffer.alloc(this.#records.length)]);
    this.#records.set(digest, this.#bytes);
    this.#records.writeUIntLE(at, this.#bytes + digestBytes, placeBytes);
    this.#records.writeUInt32LE(check, this.#bytes + digestBytes + placeBytes);
    this.#bytes += recordBytes;
  }

  /** What is no block. */
  addFrame(bytes: Uint8Array): void {
    this.#frame = crc32(bytes, this.#frame);
  }

  end(sum: Uint8Array, how: string): PackedBlocks {
    return { sum, how, records: new Uint8Array(this.#records.subarray(0, this.#bytes)), frame: this.#frame };
  }
}

/**
 * The blocks of an earlier file, for the thread that packs. Each is looked at by a check that this agent made of it as it was written before
 * it is given: what a disk has lost or changed since must not become part of a file with a sum of its own.
 */
export class EarlierBlocks {
  readonly isOwn: boolean;
  readonly count: number;
  readonly #file: number;
  readonly #records: Buffer;
  /** By their digests, as text. */
  readonly #numbers = new Map<string, number>();
  readonly #bytes = Buffer.allocUnsafeSlow(blockHeadBytes + blockBytes);

  private constructor(file: number, { isOwn, blocks }: EarlierFile) {
    this.#file = file;
    const { buffer, byteOffset, length } = blocks.records;
    this.#records = Buffer.from(buffer, byteOffset, length);
    this.count = length / recordBytes;
    for (let index = 0; index < this.count; index++) this.#numbers.set(this.digestAt(index).toString('latin1'), index);
    this.isOwn = isOwn && this.#frame() === blocks.frame;
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
      // Its own sum tells it from another file; whether the disk gives back what it was given is asked block by block.
      const sum = Buffer.alloc(sumBytes);
      fill(file, sum, fstatSync(file).size - sumBytes);
      if (sum.equals(earlier.blocks.sum)) return new EarlierBlocks(file, earlier);
    } catch {
      // A disk that does not give it back.
    }
    closeSync(file);
    return null;
  }

  digestAt(index: number): Buffer {
    return this.#records.subarray(index * recordBytes, index * recordBytes + digestBytes);
  }

  /** Which block has these plain bytes; null: none. */
  numberOf(digest: Buffer): number | null {
    return this.#numbers.get(digest.toString('latin1')) ?? null;
  }

  /** A block with its head, good until the next one is asked for; null: it is not whole any more. */
  packedAt(index: number): Buffer | null {
    const at = this.#placeOf(index);
    try {
      fill(this.#file, this.#bytes.subarray(0, blockHeadBytes), at);
      const length = blockHeadBytes + this.#bytes.readUInt32LE(0);
      if (length > this.#bytes.length) return null;
      fill(this.#file, this.#bytes.subarray(blockHeadBytes, length), at + blockHeadBytes);
      const block = this.#bytes.subarray(0, length);
      return crc32(block) === this.checkAt(index) ? block : null;
    } catch {
      // A place of the disk that cannot be read: packed anew, as what is damaged.
      return null;
    }
  }

  /** As `BlockNotes` takes it. */
  checkAt(index: number): number {
    return this.#records.readUInt32LE(index * recordBytes + digestBytes + placeBytes);
  }

  /** The bytes of the first `count` blocks, part by part, each good until the next one; not looked at again. Throws where they are gone. */
  *firstBytes(count: number): Generator<Buffer> {
    const from = this.#placeOf(0);
    const end = this.#placeOf(count - 1) + blockHeadBytes + this.#packedBytesAt(count - 1);
    for (let at = from; at < end; at += this.#bytes.length) {
      const part = this.#bytes.subarray(0, Math.min(this.#bytes.length, end - at));
      fill(this.#file, part, at);
      yield part;
    }
  }

  #packedBytesAt(index: number): number {
    fill(this.#file, this.#bytes.subarray(0, blockHeadBytes), this.#placeOf(index));
    return this.#bytes.readUInt32LE(0);
  }

  #placeOf(index: number): number {
    return this.#records.readUIntLE(index * recordBytes + digestBytes, placeBytes);
  }

  #frame(): number | null {
    const last = this.count === 0 ? null : this.packedAt(this.count - 1);
    if (last === null) return null;
    const behind = this.#placeOf(this.count - 1) + last.length;
    const parts: [from: number, to: number][] = [
      [0, this.#placeOf(0)],
      [behind, fstatSync(this.#file).size - sumBytes],
    ];
    let frame = 0;
    for (const [from, to] of parts) {
      const bytes = Buffer.alloc(Math.max(0, to - from));
      fill(this.#file, bytes, from);
      frame = crc32(bytes, frame);
    }
    return frame;
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
