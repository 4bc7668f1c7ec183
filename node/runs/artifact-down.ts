import { createWriteStream } from 'node:fs';
import { rm } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { pipeline } from 'node:stream/promises';
import { type Header, pack } from 'tar-stream';
import { type Entry, openPromise, type ZipFile } from 'yauzl';
import { downloadArtifact, type JobLine, type TransferAnswer } from '../../gitlab-bridge/gitlab-runner.ts';
import { reasonOf } from '../../gitlab-bridge/http-call.ts';
import type { Workspace } from '../ports.ts';

/** Entries of one zip: more is an attack on this machine's memory. */
const mostEntries = 1_000_000;
const linkBytes = 4096;

/**
 * Fetches one dependency's artifacts and puts them into the job's tree: zip to a file of ours (a zip is read from its
 * end), then as a tar through the executor. Links that leave the tree, and names that do, are left out.
 */
export async function downloadInto(
  workspace: Workspace,
  line: JobLine,
  zipPath: string,
  signal: AbortSignal,
): Promise<TransferAnswer> {
  const answer = await downloadArtifact(line, { signal });
  if (answer.kind !== 'ok') return answer;
  try {
    try {
      await pipeline(answer.body, createWriteStream(zipPath, { mode: 0o600 }), { signal });
      if (!answer.body.complete) throw new Error('the answer was cut off');
    } catch (error) {
      return { kind: 'away', because: `the download of artifacts was cut: ${reasonOf(error)}` };
    }
    const zip = await openZip(zipPath);
    if (zip === null) return { kind: 'refused', because: 'what GitLab gave as artifacts is no zip', disowned: false };
    await workspace.putTar('.', zipToTar(zip));
    return { kind: 'ok' };
  } finally {
    await rm(zipPath, { force: true });
  }
}

async function openZip(path: string): Promise<ZipFile | null> {
  try {
    return await openPromise(path, { autoClose: false, lazyEntries: true });
  } catch {
    return null;
  }
}

/** The files of a zip as a tar stream, one after the other; an unreadable zip destroys the stream. */
export function zipToTar(zip: ZipFile): Readable {
  const tar = pack();
  const add = (header: Partial<Header> & { name: string }): Promise<void> =>
    new Promise((resolve, reject) => tar.entry(header, (error) => (error ? reject(error) : resolve())));
  const walk = async (): Promise<void> => {
    let entries = 0;
    for await (const entry of zip.eachEntry()) {
      if (++entries > mostEntries) throw new Error(`artifacts of more than ${mostEntries} files`);
      await addEntry(zip, entry, add, tar.entry.bind(tar));
    }
  };
  walk()
    .then(
      () => tar.finalize(),
      (error: unknown) => tar.destroy(error instanceof Error ? error : new Error(String(error))),
    )
    .finally(() => zip.close());
  return Readable.from(tar as AsyncIterable<Uint8Array>, { objectMode: false });
}

async function addEntry(
  zip: ZipFile,
  entry: Entry,
  add: (header: Partial<Header> & { name: string }) => Promise<void>,
  open: ReturnType<typeof pack>['entry'],
): Promise<void> {
  const name = entry.fileName.replace(/\/+$/, '');
  const unixMode = entry.externalFileAttributes >>> 16;
  const kind = unixMode & 0o170000;
  const isFolder = entry.fileName.endsWith('/');
  const common = { name, mode: unixMode & 0o777 || (isFolder ? 0o755 : 0o644), mtime: entry.getLastModDate() };
  if (name === '' || name === '.git' || name.startsWith('.git/')) return;
  if (isFolder) return add({ ...common, name: `${name}/`, type: 'directory' });
  if (kind === 0o120000) {
    if (entry.uncompressedSize > linkBytes) return;
    const linkname = await text(await zip.openReadStreamPromise(entry));
    return staysInside(name, linkname) ? add({ ...common, type: 'symlink', linkname }) : undefined;
  }
  if (kind !== 0 && kind !== 0o100000) return;
  const body = await zip.openReadStreamPromise(entry);
  await pipeline(
    body,
    open({ ...common, type: 'file', size: entry.uncompressedSize }) as unknown as NodeJS.WritableStream,
  );
}

function staysInside(name: string, target: string): boolean {
  if (target === '' || target.startsWith('/')) return false;
  let depth = name.split('/').length - 1;
  for (const part of target.split('/')) {
    if (part === '..') depth--;
    else if (part !== '' && part !== '.') depth++;
    if (depth < 0) return false;
  }
  return true;
}
