import { isUtf8 } from 'node:buffer';
import { promisify } from 'node:util';
import { constants, crc32, createDeflateRaw, deflateRawSync, type ZlibOptions } from 'node:zlib';
import { type ByteName, bytesOf } from '../executors/byte-names.ts';
import type { Range, SpoolFile } from './spool-file.ts';
import { wholeBody } from './whole-body.ts';
import { writeAll } from './write-all.ts';

export interface FileFacts {
  name: ByteName;
  mode: number;
  /** Seconds since 1970. */
  mtime: number;
}

interface Written {
  crc: number;
  size: number;
  method: number;
  /** The packed bytes. */
  range: Range;
}

const most32 = 0xffffffff;
/** In one piece up to here, without a stream of its own. */
const smallBytes = 256 << 10;
const largeChunkBytes = 64 << 10;
/** Of a large file so much is packed, or only stored, before it is looked again which is worth its time. */
const lookEvery = 1 << 20;
/** What a look packs; one at the end of a piece that is shorter than `least` says nothing. */
const lookBytes = { least: 4 << 10, most: 64 << 10 };
/** Up to here a header is more than anything that packing could save, and packing takes longer than all the rest. */
const tinyBytes = 64;
const nothing = new Uint8Array(0);

/** Of a header without its name; the name is at most 64 KiB. */
const mostHeadBytes = 128 + 0x10000;
const centralBytes = 256 << 10;

/**
 * What deflate needs for so few bytes: the usual tables and buffers take longer to make than a small file to pack. The
 * window holds the whole file, so it packs as well.
 */
export function deflateFor(size: number): ZlibOptions {
  const bits = Math.max(9, 32 - Math.clz32(size + 512));
  return bits >= 15 ? {} : { windowBits: bits, memLevel: Math.min(8, bits - 6), chunkSize: size + 128 };
}

/** A zip as it is made for GitLab: names as the bytes that they are, modes and links as on Unix, any size. */
export class ZipWriter {
  readonly #out: SpoolFile;
  readonly #head = Buffer.allocUnsafeSlow(mostHeadBytes);
  /** Records of the central directory, and how much of the last one is filled. */
  readonly #central: Buffer[] = [Buffer.allocUnsafeSlow(centralBytes)];
  readonly #full: number[] = [];
  #centralAt = 0;
  #entries = 0;
  /** By name: what a hard link to it repeats. */
  readonly #files = new Map<ByteName, Written>();

  constructor(out: SpoolFile) {
    this.#out = out;
  }

  folder(facts: FileFacts): void {
    this.#whole({ ...facts, name: `${facts.name}/` }, 0o040000, nothing);
  }

  symlink(facts: FileFacts, target: ByteName): void {
    this.#whole({ ...facts, mode: 0o777 }, 0o120000, bytesOf(target));
  }

  /** One that is at hand. */
  small(facts: FileFacts, bytes: Uint8Array): void {
    this.#files.set(facts.name, this.#whole(facts, 0o100000, bytes));
  }

  async file(facts: FileFacts, size: number, body: AsyncIterable<Uint8Array>): Promise<void> {
    if (size > smallBytes) return this.#large(facts, size, body);
    this.small(facts, await wholeBody(body));
  }

  /** A second name of a file that was written before: its packed bytes once more. False when it was not. */
  again(facts: FileFacts, earlier: ByteName): boolean {
    const written = this.#files.get(earlier);
    if (written === undefined) return false;
    const at = this.#out.size;
    this.#local(facts, written);
    const range = { offset: this.#out.size, length: written.range.length };
    this.#out.copy(written.range);
    this.#note(facts, 0o100000, at, { ...written, range });
    this.#files.set(facts.name, { ...written, range });
    return true;
  }

  end(): void {
    const offset = this.#out.size;
    for (const [index, records] of this.#central.entries())
      this.#out.append(records.subarray(0, this.#full[index] ?? this.#centralAt));
    this.#out.append(endRecords(this.#entries, this.#out.size - offset, offset));
    this.#out.flush();
  }

  #whole(facts: FileFacts, kind: number, bytes: Uint8Array): Written {
    const isPacked = kind === 0o100000 && bytes.length > tinyBytes;
    const packed = isPacked ? deflateRawSync(bytes, deflateFor(bytes.length)) : bytes;
    const isSmaller = packed.length < bytes.length;
    const body = isSmaller ? packed : bytes;
    const at = this.#out.size;
    const range = { offset: 0, length: body.length };
    const written = { crc: crc32(bytes), size: bytes.length, method: isSmaller ? 8 : 0, range };
    this.#local(facts, written);
    range.offset = this.#out.size;
    this.#out.append(body);
    this.#note(facts, kind, at, written);
    return written;
  }

  async #large(facts: FileFacts, expected: number, body: AsyncIterable<Uint8Array>): Promise<void> {
    const at = this.#out.size;
    // Deflate may grow what cannot be packed by a little.
    const isHuge = expected > most32 - (1 << 24);
    this.#local(facts, { crc: 0, size: 0, method: 8, range: { offset: 0, length: 0 } }, isHuge);
    const offset = this.#out.size;
    const deflate = createDeflateRaw({ chunkSize: largeChunkBytes });
    const setLevel = promisify(deflate.params.bind(deflate));
    let level: number = constants.Z_DEFAULT_COMPRESSION;
    let crc = 0;
    let size = 0;
    let lookAt = 0;
    const feed = async (): Promise<void> => {
      for await (const chunk of body) {
        if (size >= lookAt && chunk.length >= lookBytes.least) {
          lookAt = size + lookEvery;
          const next = isPackable(chunk) ? constants.Z_DEFAULT_COMPRESSION : constants.Z_NO_COMPRESSION;
          if (next !== level) await setLevel(next, constants.Z_DEFAULT_STRATEGY);
          level = next;
        }
        crc = crc32(chunk, crc);
        size += chunk.length;
        await writeAll(deflate, chunk);
      }
      deflate.end();
    };
    const fed = feed().catch((error: Error) => {
      deflate.destroy(error);
    });
    for await (const chunk of deflate) this.#out.append(chunk as Uint8Array);
    await fed;
    const written = { crc, size, method: 8, range: { offset, length: this.#out.size - offset } };
    this.#out.patch(at, this.#head.subarray(0, localHeader(this.#head, facts, written, isHuge)));
    this.#note(facts, 0o100000, at, written);
    this.#files.set(facts.name, written);
  }

  #local(facts: FileFacts, written: Written, isHuge = false): void {
    this.#out.append(this.#head.subarray(0, localHeader(this.#head, facts, written, isHuge)));
  }

  #note(facts: FileFacts, kind: number, at: number, written: Written): void {
    if (centralBytes - this.#centralAt < mostHeadBytes) {
      this.#full.push(this.#centralAt);
      this.#central.push(Buffer.allocUnsafeSlow(centralBytes));
      this.#centralAt = 0;
    }
    const records = this.#central.at(-1) as Buffer;
    this.#centralAt = centralRecord(records, this.#centralAt, facts, kind, at, written);
    this.#entries++;
  }
}

/** Whether packing takes more than a fiftieth off it: films, archives and images do not get smaller, and took nearly all of an artifact's time. */
function isPackable(chunk: Uint8Array): boolean {
  const some = chunk.subarray(0, lookBytes.most);
  return deflateRawSync(some, { level: constants.Z_BEST_SPEED }).length < some.length * 0.98;
}

/** Version needed, flags, method and time, which both headers have in a row. */
function common(record: Buffer, at: number, { name, mtime }: FileFacts, method: number): void {
  record.writeUInt16LE(45, at);
  // The flag says that the name is UTF-8; other bytes are left to whoever reads them, as they are.
  const isText = /[\x80-\xff]/.test(name) && isUtf8(bytesOf(name));
  record.writeUInt16LE(isText ? 0x800 : 0, at + 2);
  record.writeUInt16LE(method, at + 4);
  const time = new Date(Math.min(Math.max(mtime, 315_532_800), 4_354_819_199) * 1000);
  record.writeUInt16LE((time.getUTCHours() << 11) | (time.getUTCMinutes() << 5) | (time.getUTCSeconds() >> 1), at + 6);
  const date = ((time.getUTCFullYear() - 1980) << 9) | ((time.getUTCMonth() + 1) << 5) | time.getUTCDate();
  record.writeUInt16LE(date, at + 8);
}

/** Written to the start of a buffer; how long it is. */
function localHeader(record: Buffer, facts: FileFacts, { crc, size, method, range }: Written, isHuge: boolean): number {
  const is64 = isHuge || size >= most32 || range.length >= most32;
  record.writeUInt32LE(0x04034b50, 0);
  common(record, 4, facts, method);
  record.writeUInt32LE(crc, 14);
  record.writeUInt32LE(is64 ? most32 : range.length, 18);
  record.writeUInt32LE(is64 ? most32 : size, 22);
  record.writeUInt16LE(facts.name.length, 26);
  record.writeUInt16LE(9 + (is64 ? 20 : 0), 28);
  const at = timeExtra(record, nameAt(record, 30, facts.name), facts.mtime);
  return is64 ? zip64Extra(record, at, [size, range.length]) : at;
}

/** Where it ends. */
function centralRecord(
  record: Buffer,
  from: number,
  facts: FileFacts,
  kind: number,
  at: number,
  { crc, size, method, range }: Written,
): number {
  const big = [size, range.length, at].filter((value) => value >= most32);
  record.fill(0, from, from + 46);
  record.writeUInt32LE(0x02014b50, from);
  record.writeUInt16LE((3 << 8) | 45, from + 4);
  common(record, from + 6, facts, method);
  record.writeUInt32LE(crc, from + 16);
  record.writeUInt32LE(Math.min(range.length, most32), from + 20);
  record.writeUInt32LE(Math.min(size, most32), from + 24);
  record.writeUInt16LE(facts.name.length, from + 28);
  record.writeUInt16LE(9 + (big.length > 0 ? 4 + 8 * big.length : 0), from + 30);
  record.writeUInt32LE(((kind | (facts.mode & 0o777)) * 0x10000 + (kind === 0o040000 ? 0x10 : 0)) >>> 0, from + 38);
  record.writeUInt32LE(Math.min(at, most32), from + 42);
  const end = timeExtra(record, nameAt(record, from + 46, facts.name), facts.mtime);
  return big.length > 0 ? zip64Extra(record, end, big) : end;
}

const nameAt = (record: Buffer, at: number, name: ByteName): number => at + record.write(name, at, 'latin1');

/** The time in whole seconds of UTC, as Info-ZIP and Go write it. */
function timeExtra(record: Buffer, at: number, mtime: number): number {
  record.writeUInt16LE(0x5455, at);
  record.writeUInt16LE(5, at + 2);
  record[at + 4] = 1;
  return record.writeInt32LE(Math.min(Math.max(Math.floor(mtime), -0x80000000), 0x7fffffff), at + 5);
}

function zip64Extra(record: Buffer, at: number, values: number[]): number {
  record.writeUInt16LE(1, at);
  let end = record.writeUInt16LE(8 * values.length, at + 2);
  for (const value of values) end = record.writeBigUInt64LE(BigInt(value), end);
  return end;
}

function endRecords(entries: number, size: number, offset: number): Buffer {
  const end = Buffer.alloc(22);
  end.writeUInt32LE(0x06054b50, 0);
  end.writeUInt16LE(Math.min(entries, 0xffff), 8);
  end.writeUInt16LE(Math.min(entries, 0xffff), 10);
  end.writeUInt32LE(Math.min(size, most32), 12);
  end.writeUInt32LE(Math.min(offset, most32), 16);
  if (entries < 0xffff && size < most32 && offset < most32) return end;
  const whole = Buffer.alloc(76);
  whole.writeUInt32LE(0x06064b50, 0);
  whole.writeBigUInt64LE(44n, 4);
  whole.writeUInt16LE((3 << 8) | 45, 12);
  whole.writeUInt16LE(45, 14);
  whole.writeBigUInt64LE(BigInt(entries), 24);
  whole.writeBigUInt64LE(BigInt(entries), 32);
  whole.writeBigUInt64LE(BigInt(size), 40);
  whole.writeBigUInt64LE(BigInt(offset), 48);
  whole.writeUInt32LE(0x07064b50, 56);
  whole.writeBigUInt64LE(BigInt(offset + size), 64);
  whole.writeUInt32LE(1, 72);
  return Buffer.concat([whole, end]);
}
