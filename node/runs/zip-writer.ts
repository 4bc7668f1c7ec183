import { isUtf8 } from 'node:buffer';
import { once } from 'node:events';
import { crc32, createDeflateRaw, deflateRawSync } from 'node:zlib';
import { type ByteName, bytesOf } from '../executors/byte-names.ts';
import type { Range, SpoolFile } from './spool-file.ts';

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

/** A zip as it is made for GitLab: names as the bytes that they are, modes and links as on Unix, any size. */
export class ZipWriter {
  readonly #out: SpoolFile;
  readonly #central: Buffer[] = [];
  /** By name: what a hard link to it repeats. */
  readonly #files = new Map<ByteName, Written>();

  constructor(out: SpoolFile) {
    this.#out = out;
  }

  async folder(facts: FileFacts): Promise<void> {
    await this.#whole({ ...facts, name: `${facts.name}/` }, 0o040000, Buffer.alloc(0));
  }

  async symlink(facts: FileFacts, target: ByteName): Promise<void> {
    await this.#whole({ ...facts, mode: 0o777 }, 0o120000, bytesOf(target));
  }

  async file(facts: FileFacts, size: number, body: AsyncIterable<Uint8Array>): Promise<void> {
    if (size > smallBytes) return this.#large(facts, size, body);
    const chunks: Uint8Array[] = [];
    for await (const chunk of body) chunks.push(chunk);
    this.#files.set(facts.name, await this.#whole(facts, 0o100000, Buffer.concat(chunks)));
  }

  /** A second name of a file that was written before: its packed bytes once more. False when it was not. */
  async again(facts: FileFacts, earlier: ByteName): Promise<boolean> {
    const written = this.#files.get(earlier);
    if (written === undefined) return false;
    const at = this.#out.size;
    await this.#out.append(localHeader(facts, written));
    const range = { offset: this.#out.size, length: written.range.length };
    await this.#out.copy(written.range);
    this.#note(facts, 0o100000, at, { ...written, range });
    this.#files.set(facts.name, { ...written, range });
    return true;
  }

  async end(): Promise<void> {
    const offset = this.#out.size;
    for (const record of this.#central) await this.#out.append(record);
    await this.#out.append(endRecords(this.#central.length, this.#out.size - offset, offset));
    await this.#out.flush();
  }

  async #whole(facts: FileFacts, kind: number, bytes: Buffer): Promise<Written> {
    const packed = bytes.length === 0 || kind !== 0o100000 ? bytes : deflateRawSync(bytes);
    const isSmaller = packed.length < bytes.length;
    const body = isSmaller ? packed : bytes;
    const at = this.#out.size;
    const facts4 = { crc: crc32(bytes), size: bytes.length, method: isSmaller ? 8 : 0 };
    const head = localHeader(facts, { ...facts4, range: { offset: 0, length: body.length } });
    await this.#out.append(head);
    await this.#out.append(body);
    const written = { ...facts4, range: { offset: at + head.length, length: body.length } };
    this.#note(facts, kind, at, written);
    return written;
  }

  async #large(facts: FileFacts, expected: number, body: AsyncIterable<Uint8Array>): Promise<void> {
    const at = this.#out.size;
    // Deflate may grow what cannot be packed by a little.
    const isHuge = expected > most32 - (1 << 24);
    const placeholder = { crc: 0, size: 0, method: 8, range: { offset: 0, length: 0 } };
    const head = localHeader(facts, placeholder, isHuge);
    await this.#out.append(head);
    const deflate = createDeflateRaw();
    let crc = 0;
    let size = 0;
    const feed = async (): Promise<void> => {
      for await (const chunk of body) {
        crc = crc32(chunk, crc);
        size += chunk.length;
        if (!deflate.write(chunk)) await once(deflate, 'drain');
      }
      deflate.end();
    };
    const fed = feed().catch((error: Error) => {
      deflate.destroy(error);
    });
    for await (const chunk of deflate) await this.#out.append(chunk as Uint8Array);
    await fed;
    const offset = at + head.length;
    const written = { crc, size, method: 8, range: { offset, length: this.#out.size - offset } };
    await this.#out.patch(at, localHeader(facts, written, isHuge));
    this.#note(facts, 0o100000, at, written);
    this.#files.set(facts.name, written);
  }

  #note(facts: FileFacts, kind: number, at: number, { crc, size, method, range }: Written): void {
    const name = bytesOf(facts.name);
    const big = [size, range.length, at].filter((value) => value >= most32);
    const extra = Buffer.concat([timeExtra(facts.mtime), zip64Extra(big)]);
    const record = Buffer.alloc(46);
    record.writeUInt32LE(0x02014b50, 0);
    record.writeUInt16LE((3 << 8) | 45, 4);
    common(record, 6, facts, method, name);
    record.writeUInt32LE(crc, 16);
    record.writeUInt32LE(Math.min(range.length, most32), 20);
    record.writeUInt32LE(Math.min(size, most32), 24);
    record.writeUInt16LE(name.length, 28);
    record.writeUInt16LE(extra.length, 30);
    record.writeUInt32LE(((kind | (facts.mode & 0o777)) * 0x10000 + (kind === 0o040000 ? 0x10 : 0)) >>> 0, 38);
    record.writeUInt32LE(Math.min(at, most32), 42);
    this.#central.push(Buffer.concat([record, name, extra]));
  }
}

/** Version needed, flags, method and time, which both headers have in a row. */
function common(record: Buffer, at: number, facts: FileFacts, method: number, name: Buffer): void {
  record.writeUInt16LE(45, at);
  // The flag says that the name is UTF-8; other bytes are left to whoever reads them, as they are.
  const isText = name.some((byte) => byte > 0x7f) && isUtf8(name);
  record.writeUInt16LE(isText ? 0x800 : 0, at + 2);
  record.writeUInt16LE(method, at + 4);
  const time = new Date(Math.min(Math.max(facts.mtime, 315_532_800), 4_354_819_199) * 1000);
  record.writeUInt16LE((time.getUTCHours() << 11) | (time.getUTCMinutes() << 5) | (time.getUTCSeconds() >> 1), at + 6);
  const date = ((time.getUTCFullYear() - 1980) << 9) | ((time.getUTCMonth() + 1) << 5) | time.getUTCDate();
  record.writeUInt16LE(date, at + 8);
}

function localHeader(facts: FileFacts, { crc, size, method, range }: Written, isHuge = false): Buffer {
  const name = bytesOf(facts.name);
  const is64 = isHuge || size >= most32 || range.length >= most32;
  const extra = Buffer.concat([timeExtra(facts.mtime), zip64Extra(is64 ? [size, range.length] : [])]);
  const record = Buffer.alloc(30);
  record.writeUInt32LE(0x04034b50, 0);
  common(record, 4, facts, method, name);
  record.writeUInt32LE(crc, 14);
  record.writeUInt32LE(is64 ? most32 : range.length, 18);
  record.writeUInt32LE(is64 ? most32 : size, 22);
  record.writeUInt16LE(name.length, 26);
  record.writeUInt16LE(extra.length, 28);
  return Buffer.concat([record, name, extra]);
}

/** The time in whole seconds of UTC, as Info-ZIP and Go write it. */
function timeExtra(mtime: number): Buffer {
  const extra = Buffer.alloc(9);
  extra.writeUInt16LE(0x5455, 0);
  extra.writeUInt16LE(5, 2);
  extra[4] = 1;
  extra.writeInt32LE(Math.min(Math.max(Math.floor(mtime), -0x80000000), 0x7fffffff), 5);
  return extra;
}

function zip64Extra(values: number[]): Buffer {
  if (values.length === 0) return Buffer.alloc(0);
  const extra = Buffer.alloc(4 + 8 * values.length);
  extra.writeUInt16LE(1, 0);
  extra.writeUInt16LE(8 * values.length, 2);
  for (const [index, value] of values.entries()) extra.writeBigUInt64LE(BigInt(value), 4 + 8 * index);
  return extra;
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
