import { createHash } from 'node:crypto';
import { crc32 } from 'node:zlib';
import type { CachePacking } from '../../../gitlab-bridge/job-cache.ts';
import { type ByteName, leadsOut, shownName } from '../../executors/byte-names.ts';
import { tarHead } from '../../executors/tar-format.ts';
import { PackProblem, type SpoolFile } from '../spool-file.ts';
import type { FileFacts } from '../zip-writer.ts';
import { Plainness } from './cache-blocks.ts';
import type { CacheHead, CacheTail } from './cache-file.ts';
import { blockBytes, blockHeadBytes, cacheMagic, methods } from './cache-layout.ts';
import { deflated, type Effort } from './deflate-block.ts';
import { BlockNotes, EarlierBlocks, type EarlierFile, howOf, type PackedBlocks } from './packed-blocks.ts';
import { zstd } from './zstd-here.ts';

type Method = CacheHead['method'];

/** By CACHE_COMPRESSION_LEVEL, as gitlab-runner's: zip's `fastest` packs nothing. */
const deflateLevels = { fastest: 0, fast: 1, default: 5, slow: 7, slowest: 9 } as const;
const zstdLevels = { fastest: 1, fast: 1, default: 3, slow: 7, slowest: 12 } as const;

/** What the job asks for, as far as this Node.js has it. Where the job says nothing: what takes least time. */
export function methodOf({ method, level }: CachePacking): { method: Method; level: Effort } {
  if (method !== 'deflate' && zstd) return { method: 'zstd', level: zstdLevels[level] };
  if (level === 'fastest') return { method: 'stored', level: 0 };
  return { method: 'deflate', level: method === 'any' && level === 'default' ? 'least' : deflateLevels[level] };
}

const tarBlock = 512;
const mostLinksBytes = 64 << 20;
/** A block ends before one entry in so many, told by its name, once it holds `least`: behind a file that came or went blocks are soon as before. */
const cut = { one: 32, least: 64 << 10 };

/** What became of a tree. */
export interface WrittenCache {
  tail: CacheTail;
  /** Null: all is as in the earlier file of the same key, so nothing was written. */
  blocks: PackedBlocks | null;
  /** Packed bytes that were taken from the earlier file. */
  reusedBytes: number;
}

/** Writes a cache's file, in the thread that packs. Symbolic links come last, and none is a folder of another entry. */
export class CacheWriter {
  readonly #out: SpoolFile;
  readonly #level: Effort;
  readonly #method: Method;
  readonly #sum = createHash('sha256');
  readonly #content = createHash('sha256');
  readonly #block = Buffer.allocUnsafeSlow(blockBytes);
  readonly #blockHead = Buffer.alloc(blockHeadBytes);
  readonly #files = new Set<ByteName>();
  readonly #folders = new Set<ByteName>();
  readonly #links = new Map<ByteName, { facts: FileFacts; target: ByteName }>();
  readonly #plainness = new Plainness();
  readonly #notes = new BlockNotes();
  readonly #earlier: EarlierBlocks | null;
  /** Of the earlier file of the same key: all is as in it so far, so many blocks and bytes. They are summed up, and written when one is not. */
  #isSame: boolean;
  #same = { blocks: 0, bytes: 0 };
  #reusedBytes = 0;
  #linksBytes = 0;
  #held = 0;
  #count = 0;
  #plainBytes = 0;

  /** `earlier`: an earlier file of such a tree, whose blocks are taken as they are where the tree has the same bytes. */
  constructor(out: SpoolFile, head: CacheHead, level: Effort, earlier: EarlierFile | null = null) {
    this.#out = out;
    this.#earlier = earlier && EarlierBlocks.of(earlier, howOf(head.method, level));
    this.#isSame = this.#earlier?.isOwn ?? false;
    this.#method = head.method;
    this.#level = level;
    const json = Buffer.from(JSON.stringify(head));
    this.#frame(cacheMagic, lengthOf(json), json);
  }

  folder(facts: FileFacts): void {
    this.#noteName(facts.name);
    this.#folders.add(facts.name);
    this.#entry('folder', facts, 0);
  }

  symlink(facts: FileFacts, target: ByteName): void {
    this.#noteName(facts.name);
    this.#linksBytes += facts.name.length + target.length;
    if (this.#linksBytes > mostLinksBytes) throw new PackProblem('a cache of too many links', true);
    this.#links.set(facts.name, { facts, target });
  }

  small(facts: FileFacts, bytes: Uint8Array): void {
    this.#noteName(facts.name);
    this.#entry('file', facts, bytes.length);
    this.#plain(bytes);
    this.#pad(bytes.length);
    this.#files.add(facts.name);
  }

  async file(facts: FileFacts, size: number, body: AsyncIterable<Uint8Array>): Promise<void> {
    this.#noteName(facts.name);
    this.#entry('file', facts, size);
    let seen = 0;
    for await (const chunk of body) {
      seen += chunk.length;
      this.#plain(chunk);
    }
    // The job's own doing: tar writes as much as it said, whatever becomes of the file.
    if (seen !== size) throw new PackProblem(`${shownName(facts.name)} changed while it was read`, true);
    this.#pad(size);
    this.#files.add(facts.name);
  }

  /** A second name of a file that was written before: a hard link, as it was. False when it was not. */
  again(facts: FileFacts, earlier: ByteName): boolean {
    if (!this.#files.has(earlier)) return false;
    this.#noteName(facts.name);
    this.#entry('link', facts, 0, earlier);
    this.#files.add(facts.name);
    return true;
  }

  /** Always, also where packing breaks off. */
  close(): void {
    this.#earlier?.close();
  }

  end(): WrittenCache {
    for (const [name, { facts, target }] of this.#links)
      if (!this.#folders.has(name) && !this.#files.has(name))
        this.#entry('symlink', { ...facts, mode: 0o777 }, 0, target);
    this.#plain(Buffer.alloc(2 * tarBlock));
    this.#flush();
    const { isPlain } = this.#plainness;
    const tail = { content: this.#content.digest('hex'), files: this.#count, plainBytes: this.#plainBytes, isPlain };
    if (this.#isSame && this.#same.blocks === this.#earlier?.count) return { tail, blocks: null, reusedBytes: 0 };
    this.#writeSame();
    const json = Buffer.from(JSON.stringify(tail));
    this.#frame(this.#blockHead.fill(0), json, lengthOf(json));
    const sum = this.#sum.digest();
    this.#out.append(sum);
    this.#out.flush();
    return { tail, blocks: this.#notes.end(sum, howOf(this.#method, this.#level)), reusedBytes: this.#reusedBytes };
  }

  /** What a job's own tar says is no reason to write anywhere else later. */
  #noteName(name: ByteName): void {
    if (leadsOut(name)) throw new PackProblem(`${shownName(name)} leads out of the project's folder`, true);
    for (let end = name.indexOf('/'); end >= 0; end = name.indexOf('/', end + 1)) this.#folders.add(name.slice(0, end));
  }

  #entry(kind: 'file' | 'folder' | 'link' | 'symlink', facts: FileFacts, size: number, linkname: ByteName = ''): void {
    this.#count++;
    if (this.#held >= cut.least && crc32(facts.name) % cut.one === 0) this.#flush();
    this.#plainness.add(facts.name, kind === 'folder', true);
    this.#plain(tarHead({ ...facts, mode: facts.mode & 0o777, kind, size, linkname, uid: 0, gid: 0 }));
  }

  #pad(size: number): void {
    const rest = size % tarBlock;
    if (rest > 0) this.#plain(Buffer.alloc(tarBlock - rest));
  }

  #plain(bytes: Uint8Array): void {
    this.#plainBytes += bytes.length;
    for (let at = 0; at < bytes.length; ) {
      const part = bytes.subarray(at, at + blockBytes - this.#held);
      this.#block.set(part, this.#held);
      this.#held += part.length;
      at += part.length;
      if (this.#held === blockBytes) this.#flush();
    }
  }

  #flush(): void {
    if (this.#held === 0) return;
    const plain = this.#block.subarray(0, this.#held);
    this.#held = 0;
    const digest = createHash('sha256').update(plain).digest();
    this.#content.update(digest);
    if (this.#isAsBefore(digest)) return;
    this.#writeSame();
    if (!this.#takeEarlier(digest)) this.#writeBlock(digest, plain);
  }

  #isAsBefore(digest: Buffer): boolean {
    const { earlier, same } = { earlier: this.#earlier, same: this.#same };
    if (!this.#isSame || earlier === null || same.blocks >= earlier.count) return false;
    const bytes = digest.equals(earlier.digestAt(same.blocks)) ? earlier.packedAt(same.blocks) : null;
    if (bytes === null) return false;
    this.#notes.add(digest, this.#out.size + same.bytes, earlier.checkAt(same.blocks));
    this.#sum.update(bytes);
    this.#same = { blocks: same.blocks + 1, bytes: same.bytes + bytes.length };
    return true;
  }

  /** What was not written, as all was as before. */
  #writeSame(): void {
    this.#isSame = false;
    const { blocks, bytes } = this.#same;
    if (blocks > 0) for (const part of (this.#earlier as EarlierBlocks).firstBytes(blocks)) this.#out.append(part);
    this.#same = { blocks: 0, bytes: 0 };
    this.#reusedBytes += bytes;
  }

  #takeEarlier(digest: Buffer): boolean {
    const index = this.#earlier?.numberOf(digest) ?? null;
    if (this.#earlier === null || index === null) return false;
    const bytes = this.#earlier.packedAt(index);
    if (bytes === null) return false;
    this.#notes.add(digest, this.#out.size, this.#earlier.checkAt(index));
    this.#append(bytes);
    this.#reusedBytes += bytes.length;
    return true;
  }

  #writeBlock(digest: Buffer, plain: Buffer): void {
    const packed = this.#packed(plain);
    const isSmaller = packed !== null && packed.length < plain.length;
    const bytes = isSmaller ? packed : plain;
    this.#blockHead.writeUInt32LE(bytes.length, 0);
    this.#blockHead.writeUInt32LE(plain.length, 4);
    this.#blockHead[8] = isSmaller ? methods[this.#method] : methods.stored;
    this.#notes.add(digest, this.#out.size, crc32(bytes, crc32(this.#blockHead)));
    this.#append(this.#blockHead);
    this.#append(bytes);
  }

  #packed(bytes: Uint8Array): Buffer | null {
    if (this.#method === 'zstd' && zstd && this.#level !== 'least') return zstd.pack(bytes, this.#level);
    return this.#method === 'deflate' ? deflated(bytes, this.#level) : null;
  }

  /** What is no block. */
  #frame(...parts: Uint8Array[]): void {
    for (const part of parts) {
      this.#notes.addFrame(part);
      this.#append(part);
    }
  }

  #append(bytes: Uint8Array): void {
    this.#sum.update(bytes);
    this.#out.append(bytes);
  }
}

function lengthOf(bytes: Uint8Array): Buffer {
  const length = Buffer.alloc(4);
  length.writeUInt32LE(bytes.length);
  return length;
}
