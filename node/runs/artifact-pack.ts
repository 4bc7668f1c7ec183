import { sentenceOf } from '../../protocol/errors.ts';
import { type ByteName, byteName, isRootOrGit, plainName, shownName, textOf } from '../executors/byte-names.ts';
import { readTar, type TarEntry } from '../executors/tar-format.ts';
import type { TreeRead } from '../ports.ts';
import type { CacheHead } from './cache/cache-file.ts';
import { CacheWriter, type WrittenCache } from './cache/cache-writer.ts';
import type { Effort } from './cache/deflate-block.ts';
import type { EarlierFile } from './cache/packed-blocks.ts';
import { mostIndexBytes, trackedNames } from './git-index.ts';
import { pathPattern } from './path-pattern.ts';
import { ReportWriter } from './report-writer.ts';
import { PackProblem, SpoolFile } from './spool-file.ts';
import { wholeBody } from './whole-body.ts';
import { type FileFacts, ZipWriter } from './zip-writer.ts';

export interface PackRequest {
  paths: string[];
  exclude: string[];
  /** Also all that git does not track, by the index as the job left it. */
  isUntracked?: boolean;
  format: 'zip' | 'gzip' | 'raw' | 'cache';
  /** Of a cache. */
  cache?: { head: CacheHead; level: Effort; earlier?: EarlierFile | null };
  projectDir: string;
  /** Where the packed file is written. */
  file: string;
  /** Sum of the files' sizes beyond which nothing is packed. */
  limitBytes: number;
}

/** The job's tree: names below some roots, and a tar of the names wanted. */
export interface FileSource {
  list(roots: string[]): Promise<TreeRead>;
  read(names: Uint8Array, roots: string[]): Promise<TreeRead>;
}

/** `said`: lines for the trace. */
export interface Packed {
  count: number;
  sizeBytes: number;
  cache?: WrittenCache;
  said: { text: string; isWarning: boolean }[];
}

/** More names than these are no artifact, and their list would be all of the agent's memory. */
const mostFiles = 1_000_000;
const mostNameBytes = 1 << 16;
const mostLines = 20;

/**
 * Packs what the patterns match. Names are listed first and only those that match are read, so what lies beside them
 * costs nothing. A size beyond the limit is refused at its header, before one byte of it is read.
 */
export async function packArtifact(source: FileSource, request: PackRequest): Promise<Packed> {
  const patterns = new Patterns(request);
  if (request.isUntracked) await patterns.readIndex(source);
  const wanted = await wantedNames(source, patterns);
  if (wanted.length === 0) return { count: 0, sizeBytes: 0, said: patterns.said() };
  const out = new SpoolFile(request.file, request.cache && 'the cache');
  try {
    const packing = new Packing(source, request, patterns.roots, wanted, out);
    const cache = await packing.run().finally(() => packing.close());
    const said = [...patterns.said(), ...packing.said()];
    return { count: packing.count, sizeBytes: out.size, said, ...(cache && { cache }) };
  } finally {
    out.close();
  }
}

/** Of what lies below `.git` no file is ever taken. */
const isGits = (pattern: ReturnType<typeof pathPattern>): boolean =>
  'roots' in pattern && pattern.roots.every((root) => /^\.git(\/|$)/.test(root));

class Patterns {
  /** What was said while names were listed. */
  complaint = '';
  readonly roots: string[];
  #tracked: ReturnType<typeof trackedNames> | null = null;
  /** Not tracked, and no folder as far as it is seen. */
  readonly untracked = new Set<ByteName>();
  #indexProblem = '';
  readonly #paths: { path: string; pattern: ReturnType<typeof pathPattern>; found: number }[];
  readonly #exclude: { path: string; pattern: ReturnType<typeof pathPattern> }[];

  constructor(request: PackRequest) {
    const patternOf = (path: string) => ({ path, pattern: pathPattern(path, request.projectDir) });
    this.#paths = request.paths.map((path) => ({ ...patternOf(path), found: 0 }));
    this.#exclude = request.exclude.map(patternOf);
    // What should stay out may be a secret: without knowing what it is nothing goes up.
    for (const { path, pattern } of this.#exclude)
      if ('problem' in pattern && !pattern.problem.startsWith('is outside'))
        throw new PackProblem(`exclude ${path.slice(0, 200)}: ${pattern.problem}`, true);
    const roots = new Set(this.#paths.flatMap(({ pattern }) => ('roots' in pattern ? pattern.roots : [])));
    this.roots = roots.has('.') || request.isUntracked ? ['.'] : [...roots];
  }

  /** Without one nobody knows what is tracked. */
  async readIndex(source: FileSource): Promise<void> {
    try {
      const index = await bytesOf(source, '.git/index', mostIndexBytes);
      const config = (await bytesOf(source, '.git/config', 1 << 20)).toString('latin1');
      this.#tracked = trackedNames(index, /^\s*objectformat\s*=\s*sha256/im.test(config) ? 32 : 20);
    } catch (error) {
      this.#indexProblem = sentenceOf(error);
    }
  }

  #isTracked(name: ByteName): boolean {
    if (this.#tracked === null) return true;
    const { names, links } = this.#tracked;
    if (names.has(name)) return true;
    if (links.size > 0)
      for (let end = name.indexOf('/'); end >= 0; end = name.indexOf('/', end + 1))
        if (links.has(name.slice(0, end))) return true;
    return false;
  }

  wants(name: ByteName): boolean {
    if (isRootOrGit(name)) return false;
    // A listing names a folder before what is in it, and git tracks no folder.
    this.untracked.delete(name.slice(0, Math.max(0, name.lastIndexOf('/'))));
    const text = textOf(name);
    // Not recursive: only what the pattern itself names stays out, as GitLab documents it.
    if (this.#exclude.some(({ pattern }) => 'matches' in pattern && pattern.matches(text))) return false;
    if (!this.#isTracked(name)) this.untracked.add(name);
    let isWanted = false;
    for (const path of this.#paths) {
      if (!('takes' in path.pattern) || !path.pattern.takes(text)) continue;
      path.found++;
      isWanted = true;
    }
    return isWanted;
  }

  said(): Packed['said'] {
    const paths = this.#paths.map(({ path, pattern, found }) =>
      'problem' in pattern
        ? { text: `${path.slice(0, 200)}: ${pattern.problem}`, isWarning: true }
        : found === 0
          ? {
              text: `${path}: ${isGits(pattern) ? "what is git's own is never taken" : 'no matching files'}`,
              isWarning: true,
            }
          : { text: `${path}: found ${found} matching artifact files and directories`, isWarning: false },
    );
    if (this.#tracked !== null)
      paths.push(
        this.untracked.size === 0
          ? { text: 'untracked: no files', isWarning: true }
          : { text: `untracked: found ${this.untracked.size} files`, isWarning: false },
      );
    if (this.#indexProblem !== '')
      paths.push({ text: `untracked: nothing is known of what git tracks: ${this.#indexProblem}`, isWarning: true });
    const excludes = this.#exclude.flatMap(({ path, pattern }) =>
      'problem' in pattern ? [{ text: `exclude ${path.slice(0, 200)}: ${pattern.problem}`, isWarning: true }] : [],
    );
    const listing = this.complaint
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => ({ text: `while files were listed: ${shownName(byteName(line))}`, isWarning: true }));
    return [...paths, ...excludes, ...listing];
  }
}

async function wantedNames(source: FileSource, patterns: Patterns): Promise<ByteName[]> {
  if (patterns.roots.length === 0) return [];
  const wanted = new Set<ByteName>();
  const { bytes, complaint } = await source.list(patterns.roots);
  let rest = '';
  for await (const chunk of bytes) {
    const names = (rest + Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length).toString('latin1')).split('\0');
    rest = names.pop() as string;
    if (rest.length > mostNameBytes) throw new PackProblem('a name in the tree is too long', true);
    for (const each of names) {
      const name = plainName(each);
      if (!wanted.has(name) && patterns.wants(name)) wanted.add(name);
    }
    if (wanted.size + patterns.untracked.size > mostFiles) throw new PackProblem(`more than ${mostFiles} files`, true);
  }
  patterns.complaint = await complaint();
  for (const name of patterns.untracked) wanted.add(name);
  return [...wanted].sort();
}

/** What is made of one file of the tree; null when it is not there. */
async function ofFile<T>(
  source: FileSource,
  name: ByteName,
  take: (entry: TarEntry) => T | Promise<T>,
): Promise<T | null> {
  const { bytes } = await source.read(Buffer.from(`./${name}\0`, 'latin1'), [textOf(name)]);
  for await (const entry of readTar(bytes))
    if (entry.kind === 'file' && plainName(entry.name) === name) return await take(entry);
  return null;
}

/** A small file of the tree; throws when it is not there. */
async function bytesOf(source: FileSource, name: string, mostBytes: number): Promise<Buffer> {
  const read = await ofFile(source, name, async ({ size, body }) => {
    if (size > mostBytes) throw new Error(`${name} is larger than ${mostBytes >> 20} MiB`);
    return wholeBody(body);
  });
  if (read === null) throw new Error(`the tree has no ${name}`);
  return read;
}

class Packing {
  count = 0;
  readonly #source: FileSource;
  readonly #request: PackRequest;
  readonly #roots: string[];
  readonly #missing: Set<ByteName>;
  readonly #writer: ZipWriter | ReportWriter | CacheWriter;
  readonly #said: string[] = [];
  readonly #later: { facts: FileFacts; target: ByteName }[] = [];
  #bytes = 0;
  #complaint = '';

  constructor(source: FileSource, request: PackRequest, roots: string[], wanted: ByteName[], out: SpoolFile) {
    this.#source = source;
    this.#request = request;
    this.#roots = roots;
    this.#missing = new Set(wanted);
    const { format, cache } = request;
    if (cache) this.#writer = new CacheWriter(out, cache.head, cache.level, cache.earlier);
    else this.#writer = format === 'zip' ? new ZipWriter(out) : new ReportWriter(out, format === 'gzip');
  }

  async run(): Promise<WrittenCache | undefined> {
    const names = Buffer.from([...this.#missing].map((name) => `./${name}\0`).join(''), 'latin1');
    const { bytes, complaint } = await this.#source.read(names, this.#roots);
    for await (const entry of readTar(bytes)) {
      const name = plainName(entry.name);
      if (!this.#missing.delete(name)) continue;
      entry.name = name;
      await this.#add(entry);
    }
    this.#complaint = await complaint();
    for (const { facts, target } of this.#later) await this.#addFrom(facts, target);
    return this.#writer.end() ?? undefined;
  }

  close(): void {
    if (this.#writer instanceof CacheWriter) this.#writer.close();
  }

  async #add(entry: TarEntry): Promise<void> {
    const { kind } = entry;
    if (kind === 'file') {
      this.#weigh(entry.size);
      if (entry.whole) this.#writer.small(entry, entry.whole);
      else await this.#writer.file(entry, entry.size, entry.body);
    } else if (kind === 'folder') this.#writer.folder(entry);
    else if (kind === 'symlink') this.#writer.symlink(entry, entry.linkname);
    else if (kind === 'link') {
      const target = plainName(entry.linkname);
      const facts = { name: entry.name, mode: entry.mode, mtime: entry.mtime };
      if (!this.#writer.again(facts, target)) this.#later.push({ facts, target });
    } else {
      this.#said.push(`${shownName(entry.name)}: is a ${kind === 'fifo' ? 'named pipe' : 'device'}, left out`);
      return;
    }
    this.count++;
  }

  /** A hard link whose other name is no artifact: that one is read, and its bytes kept under this name. */
  async #addFrom(facts: FileFacts, target: ByteName): Promise<void> {
    if (this.#writer.again(facts, target)) return;
    const found = await ofFile(this.#source, target, async ({ size, body }) => {
      this.#weigh(size);
      await this.#writer.file(facts, size, body);
      return true;
    });
    if (found) return;
    this.count--;
    this.#missing.add(facts.name);
  }

  #weigh(size: number): void {
    this.#bytes += size;
    if (this.#bytes <= this.#request.limitBytes) return;
    const limit = Math.round(this.#request.limitBytes / 2 ** 20);
    const most = this.#request.cache
      ? 'all that this node keeps of caches (--cache-limit)'
      : 'the most that this node takes as an artifact (--artifact-limit)';
    throw new PackProblem(`the files are larger than ${limit} MiB together, ${most}`, true);
  }

  said(): Packed['said'] {
    const missing = [...this.#missing].map((name) => `${shownName(name)}: cannot be read, left out`);
    const lines = [...this.#said, ...missing];
    const shown = lines.slice(0, mostLines);
    if (lines.length > shown.length) shown.push(`and ${lines.length - shown.length} more were left out`);
    if (missing.length > 0 && this.#complaint !== '')
      shown.push(`what tar said: ${shownName(byteName(this.#complaint))}`);
    return shown.map((text) => ({ text, isWarning: true }));
  }
}
