import type { ByteName } from './byte-names.ts';
import { byteName } from './byte-names.ts';

/**
 * Tar streams with names as bytes. Reads what GNU tar, busybox and Go write (ustar, GNU long names, pax); writes GNU's
 * form, which is the only one that takes any byte. What a job's own tar sends is read here too, so everything is bounded.
 */
type TarKind = 'file' | 'folder' | 'symlink' | 'link' | 'fifo' | 'device' | 'other';

interface TarHeader {
  name: ByteName;
  kind: TarKind;
  mode: number;
  size: number;
  /** Seconds since 1970. */
  mtime: number;
  linkname: ByteName;
  uid: number;
  gid: number;
}

export interface TarEntry extends TarHeader {
  /** The file's bytes; read it before the next entry is asked for, and be done with a chunk before the next one. What is left unread is skipped. */
  body: AsyncIterable<Uint8Array>;
  /** The same in one piece, where all of it was at hand: without a wait for each of many small files. Good as long as `body` is. */
  whole?: Uint8Array;
}

export class TarProblem extends Error {
  override readonly name = 'TarProblem';
}

const block = 512;
/** Long names and pax records beyond this are no names. */
const mostMetaBytes = 1 << 20;

/** The entries of a tar, or of several in a row. A stream that ends early, or is none, throws. */
export async function* readTar(source: AsyncIterable<Uint8Array>): AsyncGenerator<TarEntry> {
  const reader = new Chunks(source);
  let next: Partial<TarHeader> = {};
  let isClosed = false;
  try {
    for (;;) {
      const bytes = reader.ready(block) ?? (await reader.read(block));
      if (bytes === null) {
        if (isClosed) return;
        throw new TarProblem('the tar stream ended early');
      }
      if (bytes[0] === 0 && bytes.every((byte) => byte === 0)) {
        isClosed = true;
        continue;
      }
      isClosed = false;
      const { type, ...header } = headerOf(bytes);
      if (type === 'L' || type === 'K' || type === 'x' || type === 'g') {
        const meta = await metaOf(reader, header.size);
        if (type === 'L') next.name = meta.replace(/\0[\s\S]*$/, '');
        else if (type === 'K') next.linkname = meta.replace(/\0[\s\S]*$/, '');
        else if (type === 'x') next = { ...next, ...paxOf(meta) };
        continue;
      }
      const entry = Object.assign(header, next);
      next = {};
      if (entry.kind === 'file' && entry.name.endsWith('/')) entry.kind = 'folder';
      if (entry.kind !== 'file' && entry.kind !== 'other') entry.size = 0;
      const { size } = entry;
      const pad = (block - (size % block)) % block;
      const whole = size <= smallBytes ? reader.ready(size + pad)?.subarray(0, size) : undefined;
      if (whole) yield Object.assign(entry, { whole, body: new Whole(whole) });
      else {
        const body = reader.take(size);
        yield { ...entry, body };
        await body.skip();
        await reader.skip(pad);
      }
    }
  } finally {
    await reader.close();
  }
}

async function metaOf(reader: Chunks, size: number): Promise<string> {
  if (size > mostMetaBytes) throw new TarProblem('a name in the tar stream is too long');
  const bytes = await reader.read(size);
  if (bytes === null) throw new TarProblem('the tar stream ended early');
  await reader.skip((block - (size % block)) % block);
  return bytes.toString('latin1');
}

const kinds: Record<string, TarKind> = {
  '0': 'file',
  '\0': 'file',
  '7': 'file',
  '1': 'link',
  '2': 'symlink',
  '3': 'device',
  '4': 'device',
  '5': 'folder',
  '6': 'fifo',
};

function headerOf(bytes: Buffer): TarHeader & { type: string } {
  let sum = 0;
  for (let at = 0; at < block; at++) sum += at >= 148 && at < 156 ? 32 : (bytes[at] as number);
  if (sum !== numberAt(bytes, 148, 8)) throw new TarProblem('what came is no tar stream');
  const text = (from: number, length: number): string => {
    let end = from;
    while (end < from + length && bytes[end] !== 0) end++;
    return end === from ? '' : bytes.toString('latin1', from, end);
  };
  // GNU's own form ("ustar  ") keeps other things where POSIX has the first part of a long name.
  const prefix = bytes.toString('latin1', 257, 263) === 'ustar\0' ? text(345, 155) : '';
  const type = String.fromCharCode(bytes[156] as number);
  return {
    type,
    name: prefix === '' ? text(0, 100) : `${prefix}/${text(0, 100)}`,
    kind: kinds[type] ?? 'other',
    mode: numberAt(bytes, 100, 8) & 0o7777,
    size: numberAt(bytes, 124, 12),
    mtime: numberAt(bytes, 136, 12, true),
    linkname: text(157, 100),
    uid: numberAt(bytes, 108, 8, true),
    gid: numberAt(bytes, 116, 8, true),
  };
}

/** Octal, or base 256 for what octal cannot hold. */
function numberAt(bytes: Buffer, from: number, length: number, isLoose = false): number {
  const first = bytes[from] as number;
  let value = 0;
  if (first >= 0x80) {
    if (first === 0xff && isLoose) return 0;
    value = first & 0x7f;
    for (let at = from + 1; at < from + length; at++) value = value * 256 + (bytes[at] as number);
  } else {
    // Digits with blanks around them, up to a NUL. By hand: a tree of many files has six of them a file.
    let at = from;
    const end = from + length;
    while (at < end && bytes[at] === 0x20) at++;
    for (let digit = bytes[at] as number; at < end && digit >= 0x30 && digit <= 0x37; digit = bytes[++at] as number)
      value = value * 8 + digit - 0x30;
    while (at < end && bytes[at] === 0x20) at++;
    if (at < end && bytes[at] !== 0) value = Number.NaN;
  }
  if (Number.isSafeInteger(value)) return value;
  if (isLoose) return 0;
  throw new TarProblem('a number in the tar stream is none');
}

/** `LENGTH KEY=VALUE\n`, again and again; the length counts itself. */
function paxOf(meta: string): Partial<TarHeader> {
  const found: Partial<TarHeader> = {};
  for (let at = 0; at < meta.length; ) {
    const length = Number(/^(\d{1,7}) /.exec(meta.slice(at, at + 8))?.[1] ?? 0);
    const record = meta.slice(at, at + length);
    const equals = record.indexOf('=');
    if (length < 5 || record.length !== length || equals < 0) throw new TarProblem('a pax record is none');
    const key = record.slice(record.indexOf(' ') + 1, equals);
    const value = record.slice(equals + 1, -1);
    if (key === 'path') found.name = value;
    else if (key === 'linkpath') found.linkname = value;
    else if (key === 'size') {
      if (!/^\d{1,15}$/.test(value)) throw new TarProblem('a number in the tar stream is none');
      found.size = Number(value);
    } else if (key === 'mtime' && Number.isFinite(Number(value))) found.mtime = Math.floor(Number(value));
    else if (key.startsWith('GNU.sparse.')) throw new TarProblem('a sparse file came in a form that is not read here');
    at += length;
  }
  return found;
}

/** A body that is at hand. */
class Whole implements AsyncIterable<Uint8Array> {
  readonly #bytes: Uint8Array;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array> {
    if (this.#bytes.length > 0) yield this.#bytes;
  }
}

interface Body extends AsyncIterable<Uint8Array> {
  skip(): Promise<void>;
}

/** Bytes of a stream by number, without joining what need not be joined. */
class Chunks {
  readonly #source: AsyncIterator<Uint8Array>;
  #held: Uint8Array = new Uint8Array(0);

  constructor(source: AsyncIterable<Uint8Array>) {
    this.#source = source[Symbol.asyncIterator]();
  }

  /** Exactly so many, if they are at hand. */
  ready(count: number): Buffer | null {
    if (this.#held.length < count) return null;
    const { buffer, byteOffset } = this.#held;
    this.#held = this.#held.subarray(count);
    return Buffer.from(buffer, byteOffset, count);
  }

  /** Exactly so many, or null when the stream ends before the first of them. */
  async read(count: number): Promise<Buffer | null> {
    // Copied at once: the source may use a chunk's memory again for the next one.
    const bytes = Buffer.allocUnsafe(count);
    for (let at = 0; at < count; ) {
      const part = await this.some(count - at);
      if (part === null) {
        if (at === 0) return null;
        throw new TarProblem('the tar stream ended early');
      }
      bytes.set(part, at);
      at += part.length;
    }
    return bytes;
  }

  async skip(count: number): Promise<void> {
    for (let left = count; left > 0; ) {
      const part = await this.some(left);
      if (part === null) throw new TarProblem('the tar stream ended early');
      left -= part.length;
    }
  }

  take(size: number): Body {
    let left = size;
    const some = async (): Promise<Uint8Array | null> => {
      if (left === 0) return null;
      const part = await this.some(left);
      if (part === null) throw new TarProblem('the tar stream ended early');
      left -= part.length;
      return part;
    };
    return {
      async *[Symbol.asyncIterator]() {
        for (let part = await some(); part !== null; part = await some()) yield part;
      },
      skip: async () => {
        while ((await some()) !== null);
      },
    };
  }

  /** At most so many, as they come; null at the end. */
  async some(most: number): Promise<Uint8Array | null> {
    while (this.#held.length === 0) {
      const next = await this.#source.next();
      if (next.done) return null;
      this.#held = next.value;
    }
    const part = this.#held.subarray(0, most);
    this.#held = this.#held.subarray(part.length);
    return part;
  }

  async close(): Promise<void> {
    await this.#source.return?.();
  }
}

const typeOf: Record<TarKind, string> = {
  file: '0',
  folder: '5',
  symlink: '2',
  link: '1',
  fifo: '6',
  device: '3',
  other: '0',
};
const changed = 'a file changed its size while it was read';
/** Up to here a file goes out in one piece with its header. */
const smallBytes = 64 << 10;

export const noBody: AsyncIterable<Uint8Array> = { async *[Symbol.asyncIterator]() {} };

/** A tar of the entries; one whose body is not as long as its size says throws. */
export async function* writeTar(entries: AsyncIterable<TarEntry> | Iterable<TarEntry>): AsyncGenerator<Uint8Array> {
  for await (const entry of entries) {
    const size = entry.kind === 'file' ? entry.size : 0;
    const head = tarHead({ ...entry, size });
    const tail = Buffer.alloc((block - (size % block)) % block);
    if (size === 0) {
      yield head;
      continue;
    }
    let seen = 0;
    // Copied as it comes: the memory of a chunk may be used again for the next one.
    const small = size > smallBytes ? null : Buffer.alloc(head.length + size + tail.length);
    if (small === null) yield head;
    else head.copy(small);
    for await (const chunk of entry.body) {
      if (seen + chunk.length > size) throw new TarProblem(changed);
      if (small === null) yield chunk;
      else small.set(chunk, head.length + seen);
      seen += chunk.length;
    }
    if (seen !== size) throw new TarProblem(changed);
    if (small !== null) yield small;
    else if (tail.length > 0) yield tail;
  }
  yield Buffer.alloc(2 * block);
}

/** What stands before an entry's bytes. */
export function tarHead(header: TarHeader): Buffer {
  const parts: Buffer[] = [];
  const name = header.kind === 'folder' ? `${header.name.replace(/\/+$/, '')}/` : header.name;
  if (header.linkname.length > 100) parts.push(...longBytes('K', header.linkname));
  if (name.length > 100) parts.push(...longBytes('L', name));
  parts.push(
    blockOf({ ...header, name: name.slice(0, 100), linkname: header.linkname.slice(0, 100) }, typeOf[header.kind]),
  );
  return parts.length === 1 ? (parts[0] as Buffer) : Buffer.concat(parts);
}

function longBytes(type: string, text: string): Buffer[] {
  const size = text.length + 1;
  const head = {
    name: '././@LongLink',
    kind: 'file',
    mode: 0o644,
    mtime: 0,
    linkname: '',
    uid: 0,
    gid: 0,
    size,
  } as const;
  const body = Buffer.alloc(Math.ceil(size / block) * block);
  body.write(text, 'latin1');
  return [blockOf(head, type), body];
}

function blockOf(header: TarHeader, type: string): Buffer {
  const bytes = Buffer.alloc(block);
  const put = (value: number, from: number, length: number): void => {
    const octal = Math.max(0, Math.floor(value)).toString(8);
    if (octal.length < length) bytes.write(octal.padStart(length - 1, '0'), from, 'latin1');
    else {
      bytes[from] = 0x80;
      for (let at = from + length - 1, left = value; at > from; at--, left = Math.floor(left / 256))
        bytes[at] = left % 256;
    }
  };
  bytes.write(header.name, 0, 'latin1');
  put(header.mode & 0o7777, 100, 8);
  put(header.uid, 108, 8);
  put(header.gid, 116, 8);
  put(header.size, 124, 12);
  put(header.mtime, 136, 12);
  bytes.write('        ', 148, 'latin1');
  bytes.write(type, 156, 'latin1');
  bytes.write(header.linkname, 157, 'latin1');
  bytes.write('ustar  \0', 257, 'latin1');
  let sum = 0;
  for (const byte of bytes) sum += byte;
  bytes.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return bytes;
}

/** An entry made here; its name is text. */
export function madeEntry(name: string, more: Partial<TarHeader> & { content?: string | Buffer } = {}): TarEntry {
  const { content, ...header } = more;
  const bytes = Buffer.from(content ?? '');
  return {
    kind: content === undefined ? 'folder' : 'file',
    mode: 0o644,
    mtime: 0,
    linkname: '',
    uid: 0,
    gid: 0,
    ...header,
    name: byteName(name),
    size: bytes.length,
    body: {
      async *[Symbol.asyncIterator]() {
        yield bytes;
      },
    },
  };
}
