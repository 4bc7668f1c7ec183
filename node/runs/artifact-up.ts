import { createReadStream, createWriteStream } from 'node:fs';
import { open, stat } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGzip } from 'node:zlib';
import { extract, type Header } from 'tar-stream';
import { ZipFile } from 'yazl';
import type { ArtifactUpload } from '../../gitlab-bridge/gitlab-runner.ts';
import type { JobArtifact } from '../../gitlab-bridge/payload.ts';
import type { Workspace } from '../ports.ts';
import { pathPattern } from './path-pattern.ts';

/** What was collected: null `upload` when nothing matched. `said`: lines for the trace, one per path. */
export interface Collected {
  upload: ArtifactUpload | null;
  said: { text: string; isWarning: boolean }[];
}

interface TarEntry {
  header: Header;
  name: string;
  body: AsyncIterable<Uint8Array>;
}

const zip64Bytes = 0xfffffff0;

/** Collects one artifact's files through the executor into a file of ours; the job's folder is never opened by path. */
export async function collectArtifact(workspace: Workspace, artifact: JobArtifact, file: string): Promise<Collected> {
  const format = artifact.artifact_format || 'zip';
  const type = artifact.artifact_type || 'archive';
  const collector = new Collector(workspace, artifact);
  if (format === 'zip') await writeZip(collector, file);
  else await writeReports(collector, file, format === 'gzip');
  const said = collector.said();
  if (collector.count === 0) return { upload: null, said };
  const { size } = await stat(file);
  const name = artifact.name || (format === 'zip' ? 'artifacts' : type);
  const filename = format === 'zip' ? `${name}.zip` : format === 'gzip' ? `${name}.gz` : name;
  return {
    said,
    upload: {
      open: () => createReadStream(file),
      lengthBytes: size,
      filename: filename.split('/').at(-1) as string,
      format,
      type,
      expireIn: artifact.expire_in || null,
    },
  };
}

class Collector {
  count = 0;
  readonly #workspace: Workspace;
  readonly #paths: { path: string; pattern: ReturnType<typeof pathPattern>; found: number }[];
  readonly #exclude: { path: string; pattern: ReturnType<typeof pathPattern> }[];
  readonly #seen = new Set<string>();

  constructor(workspace: Workspace, artifact: JobArtifact) {
    this.#workspace = workspace;
    const patternOf = (path: string) => ({ path, pattern: pathPattern(path, workspace.projectDir) });
    this.#paths = artifact.paths.map((path) => ({ ...patternOf(path), found: 0 }));
    this.#exclude = artifact.exclude.map(patternOf);
  }

  /** Every file, folder and link that belongs to it, once, in the order of the paths. */
  async *entries(): AsyncGenerator<TarEntry> {
    // Not recursive: only what the pattern itself names stays out, as GitLab documents it.
    const excludes = this.#exclude.map(({ pattern }) => pattern).filter((pattern) => 'matches' in pattern);
    for (const path of this.#paths) {
      if ('problem' in path.pattern) continue;
      for (const root of path.pattern.roots) {
        const tar = await this.#workspace.getTar(root);
        if (tar === null) continue;
        for await (const entry of tarEntries(tar)) {
          if (!path.pattern.takes(entry.name) || isGit(entry.name)) continue;
          if (excludes.some((pattern) => pattern.matches(entry.name))) continue;
          path.found++;
          if (this.#seen.has(entry.name)) continue;
          this.#seen.add(entry.name);
          this.count++;
          yield entry;
        }
      }
    }
  }

  said(): Collected['said'] {
    const paths = this.#paths.map(({ path, pattern, found }) =>
      'problem' in pattern
        ? { text: `${path.slice(0, 200)}: ${pattern.problem}`, isWarning: true }
        : found === 0
          ? { text: `${path}: no matching files`, isWarning: true }
          : { text: `${path}: found ${found} matching artifact files and directories`, isWarning: false },
    );
    const excludes = this.#exclude.flatMap(({ path, pattern }) =>
      'problem' in pattern ? [{ text: `exclude ${path.slice(0, 200)}: ${pattern.problem}`, isWarning: true }] : [],
    );
    return [...paths, ...excludes];
  }
}

const isGit = (name: string): boolean => name === '.git' || name.startsWith('.git/');

/** The entries of a tar, each read (or skipped) before the next; a broken stream throws here. */
async function* tarEntries(tar: NodeJS.ReadableStream): AsyncGenerator<TarEntry> {
  const reader = extract();
  tar.on('error', (error: Error) => reader.destroy(error));
  tar.pipe(reader as unknown as NodeJS.WritableStream);
  for await (const source of reader) {
    const body = source as AsyncIterable<Uint8Array> & { header: Header; resume(): unknown };
    let isTaken = false;
    const once = {
      [Symbol.asyncIterator]: () => {
        isTaken = true;
        return body[Symbol.asyncIterator]();
      },
    };
    yield { header: body.header, name: plain(body.header.name), body: once };
    if (!isTaken) body.resume();
  }
}

const plain = (name: string): string =>
  name
    .split('/')
    .filter((part) => part !== '' && part !== '.')
    .join('/');

async function writeZip(collector: Collector, file: string): Promise<void> {
  const zip = new ZipFile();
  const written = pipeline(zip.outputStream, createWriteStream(file, { mode: 0o600 }));
  // A failure of the disk must end the loop below, which waits for the zip to take the next file.
  const failed = written.then(() => new Promise<never>(() => undefined));
  failed.catch(() => undefined);
  const fill = async (): Promise<void> => {
    for await (const { header, name, body } of collector.entries()) {
      if (name === '') continue;
      const common = { mtime: header.mtime ?? new Date(0), mode: (header.mode ?? 0o644) & 0o777 };
      if (header.type === 'directory') zip.addEmptyDirectory(`${name}/`, { ...common, mode: common.mode | 0o040000 });
      else if (header.type === 'symlink')
        zip.addBuffer(Buffer.from(header.linkname), name, { ...common, mode: 0o120777, compress: false });
      else if (header.type === 'file' || header.type === 'contiguous-file') {
        const stream = Readable.from(body, { objectMode: false });
        const done = new Promise<void>((resolve, reject) => stream.once('end', resolve).once('error', reject));
        const isHuge = (header.size ?? 0) >= zip64Bytes;
        zip.addReadStream(stream, name, { ...common, mode: common.mode | 0o100000, forceZip64Format: isHuge });
        await done;
      }
    }
    zip.end();
    await written;
  };
  await Promise.race([fill(), failed]);
}

/** Reports go up as gzip (one member a file, as gitlab-runner does), `raw` as the one file itself. */
async function writeReports(collector: Collector, file: string, isGzip: boolean): Promise<void> {
  const out = await open(file, 'w', 0o600);
  try {
    for await (const { header, body } of collector.entries()) {
      if (header.type !== 'file' && header.type !== 'contiguous-file') continue;
      const bytes = isGzip ? Readable.from(body, { objectMode: false }).pipe(createGzip()) : body;
      for await (const chunk of bytes as AsyncIterable<Uint8Array>) await out.write(chunk);
    }
  } finally {
    await out.close();
  }
}
