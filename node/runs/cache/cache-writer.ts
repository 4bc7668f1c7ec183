import { createHash } from 'node:crypto';
import type { CachePacking } from '../../../gitlab-bridge/job-cache.ts';
import { type ByteName, leadsOut, shownName } from '../../executors/byte-names.ts';
import { tarHead } from '../../executors/tar-format.ts';
import { PackProblem, type SpoolFile } from '../spool-file.ts';
import type { FileFacts } from '../zip-writer.ts';
import { Plainness } from './cache-blocks.ts';
import type { CacheHead, CacheTail } from './cache-file.ts';
import { blockBytes, blockHeadBytes, cacheMagic, methods } from './cache-layout.ts';
import { deflated, type Effort } from './deflate-block.ts';
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
  #linksBytes = 0;
  #held = 0;
  #count = 0;
  #plainBytes = 0;

  constructor(out: SpoolFile, head: CacheHead, level: Effort) {
    this.#out = out;
    this.#method = head.method;
    this.#level = level;
    this.#append(cacheMagic);
    const json = Buffer.from(JSON.stringify(head));
    const length = Buffer.alloc(4);
    length.writeUInt32LE(json.length);
    this.#append(length);
    this.#append(json);
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

  end(): CacheTail {
    for (const [name, { facts, target }] of this.#links)
      if (!this.#folders.has(name) && !this.#files.has(name))
        this.#entry('symlink', { ...facts, mode: 0o777 }, 0, target);
    this.#plain(Buffer.alloc(2 * tarBlock));
    this.#flush();
    this.#blockHead.fill(0);
    this.#append(this.#blockHead);
    const { isPlain } = this.#plainness;
    const tail = { content: this.#content.digest('hex'), files: this.#count, plainBytes: this.#plainBytes, isPlain };
    const json = Buffer.from(JSON.stringify(tail));
    const length = Buffer.alloc(4);
    length.writeUInt32LE(json.length);
    this.#append(json);
    this.#append(length);
    this.#out.append(this.#sum.digest());
    this.#out.flush();
    return tail;
  }

  /** What a job's own tar says is no reason to write anywhere else later. */
  #noteName(name: ByteName): void {
    if (leadsOut(name)) throw new PackProblem(`${shownName(name)} leads out of the project's folder`, true);
    for (let end = name.indexOf('/'); end >= 0; end = name.indexOf('/', end + 1)) this.#folders.add(name.slice(0, end));
  }

  #entry(kind: 'file' | 'folder' | 'link' | 'symlink', facts: FileFacts, size: number, linkname: ByteName = ''): void {
    this.#count++;
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
    this.#content.update(plain);
    const packed = this.#packed(plain);
    const isSmaller = packed !== null && packed.length < plain.length;
    const bytes = isSmaller ? packed : plain;
    this.#blockHead.writeUInt32LE(bytes.length, 0);
    this.#blockHead.writeUInt32LE(plain.length, 4);
    this.#blockHead[8] = isSmaller ? methods[this.#method] : methods.stored;
    this.#append(this.#blockHead);
    this.#append(bytes);
    this.#held = 0;
  }

  #packed(bytes: Uint8Array): Buffer | null {
    if (this.#method === 'zstd' && zstd && this.#level !== 'least') return zstd.pack(bytes, this.#level);
    return this.#method === 'deflate' ? deflated(bytes, this.#level) : null;
  }

  #append(bytes: Uint8Array): void {
    this.#sum.update(bytes);
    this.#out.append(bytes);
  }
}
