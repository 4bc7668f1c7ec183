import { createWriteStream } from 'node:fs';
import { rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { crc32 } from 'node:zlib';
import { type Entry, openPromise, type ZipFile } from 'yauzl';
import { downloadArtifact, type TransferAnswer } from '../../gitlab-bridge/artifact-transfer.ts';
import type { JobRef } from '../../gitlab-bridge/gitlab-runner.ts';
import { reasonOf } from '../../gitlab-bridge/http-call.ts';
import { type ByteName, isRootOrGit, leadsOut, plainName, shownName } from '../executors/byte-names.ts';
import { noBody, type TarEntry, writeTar } from '../executors/tar-format.ts';
import type { Workspace } from '../ports.ts';
import { NoRoom, roomIn, whileRoom } from './spool-file.ts';

/** Entries of one zip: more is an attack on this machine's memory. */
const mostEntries = 1_000_000;
const linkBytes = 4096;
/** What comes while one write is at the disk goes with the next one. */
const writeAheadBytes = 1 << 20;

/**
 * Fetches one dependency's artifacts and puts them into the job's tree: zip to a file of ours (a zip is read from its
 * end), then as a tar through the executor. Names that leave the tree are left out.
 */
export async function downloadInto(
  workspace: Workspace,
  line: JobRef,
  zipPath: string,
  signal: AbortSignal,
  leftOut: (sentence: string) => void = () => undefined,
): Promise<TransferAnswer> {
  const answer = await downloadArtifact(line, { signal });
  if (answer.kind !== 'ok') return answer;
  try {
    // The disk that holds the agent's own state is never filled by what a job asks for.
    const length = Number(answer.body.headers['content-length'] ?? 0);
    if (length > (await roomIn(dirname(zipPath)))) {
      answer.body.destroy();
      const because = `artifacts of ${Math.round(length / 2 ** 20)} MiB do not fit on the disk of this node's home`;
      return { kind: 'refused', because, disowned: false };
    }
    try {
      const guarded = whileRoom(dirname(zipPath), 'the artifacts');
      await pipeline(
        answer.body,
        guarded,
        createWriteStream(zipPath, { mode: 0o600, highWaterMark: writeAheadBytes }),
        { signal },
      );
      if (!answer.body.complete) throw new Error('the answer was cut off');
    } catch (error) {
      if (error instanceof NoRoom) return { kind: 'refused', because: error.message, disowned: false };
      return { kind: 'away', because: `the download of artifacts was cut: ${reasonOf(error)}` };
    }
    const zip = await openZip(zipPath);
    if (zip === null) return { kind: 'refused', because: 'what GitLab gave as artifacts is no zip', disowned: false };
    await workspace.putTar('.', zipToTar(zip, leftOut));
    return { kind: 'ok' };
  } finally {
    await rm(zipPath, { force: true });
  }
}

async function openZip(path: string): Promise<ZipFile | null> {
  try {
    return await openPromise(path, { autoClose: false, lazyEntries: true, decodeStrings: false });
  } catch {
    return null;
  }
}

/**
 * The files of a zip as a tar stream, one after the other; an unreadable zip destroys the stream. Names are the bytes
 * that they are. Links may lead anywhere, as gitlab-runner restores them, but come last, and none of them is a folder of
 * another entry: so nothing of this zip is written through one. `leftOut` hears of what does not come along.
 */
export function zipToTar(zip: ZipFile, leftOut: (sentence: string) => void = () => undefined): Readable {
  return Readable.from(writeTar(entriesOf(zip, leftOut)), { objectMode: false });
}

async function* entriesOf(zip: ZipFile, leftOut: (sentence: string) => void): AsyncGenerator<TarEntry> {
  try {
    const links = new Map<ByteName, TarEntry>();
    const folders = new Set<ByteName>();
    let count = 0;
    for await (const entry of zip.eachEntry()) {
      if (++count > mostEntries) throw new Error(`artifacts of more than ${mostEntries} files`);
      const found = await entryOf(zip, entry, leftOut);
      if (found === null) continue;
      for (const folder of foldersAbove(found.name)) folders.add(folder);
      if (found.kind === 'folder') folders.add(found.name);
      // One name, one thing: what comes last in a zip is what its reader sees.
      links.delete(found.name);
      if (found.kind === 'symlink') links.set(found.name, found);
      else yield found;
    }
    for (const [name, link] of links) {
      if (folders.has(name)) leftOut(`${shownName(name)}: is a link and a folder at once, the link is left out`);
      else yield link;
    }
  } finally {
    zip.close();
  }
}

function foldersAbove(name: ByteName): ByteName[] {
  const parts = name.split('/');
  return parts.slice(1).map((_, index) => parts.slice(0, index + 1).join('/'));
}

async function entryOf(zip: ZipFile, entry: Entry, leftOut: (sentence: string) => void): Promise<TarEntry | null> {
  const raw = entry.fileNameRaw.toString('latin1');
  const unixMode = entry.externalFileAttributes >>> 16;
  const kind = unixMode & 0o170000;
  const name = plainName(raw);
  if (isRootOrGit(name)) return null;
  if (leadsOut(raw)) {
    leftOut(`${shownName(raw)}: leads out of the project's folder, left out`);
    return null;
  }
  const isFolder = raw.endsWith('/');
  const mode = unixMode === 0 ? (isFolder ? 0o755 : 0o644) : unixMode & 0o777;
  const mtime = Math.max(0, Math.floor(entry.getLastModDate().getTime() / 1000)) || 0;
  const common = { name, mode, mtime, linkname: '', size: 0, uid: 0, gid: 0, body: noBody };
  if (isFolder) return { ...common, kind: 'folder' };
  if (kind === 0o120000) {
    const target = entry.uncompressedSize > linkBytes ? '' : await linkTarget(zip, entry);
    if (target !== '' && !target.includes('\0')) return { ...common, kind: 'symlink', linkname: target };
    leftOut(`${shownName(name)}: is a link that leads nowhere, left out`);
    return null;
  }
  if (kind !== 0 && kind !== 0o100000) {
    leftOut(`${shownName(name)}: is neither file, folder nor link, left out`);
    return null;
  }
  const body = contentOf(zip, entry);
  return { ...common, kind: 'file', size: entry.uncompressedSize, body };
}

/** Opened when it is read: what nobody reads holds no descriptor. */
async function* contentOf(zip: ZipFile, entry: Entry): AsyncGenerator<Uint8Array> {
  let crc = 0;
  for await (const chunk of (await zip.openReadStreamPromise(entry)) as AsyncIterable<Uint8Array>) {
    crc = crc32(chunk, crc);
    yield chunk;
  }
  if (crc !== entry.crc32) throw new Error(`${shownName(entry.fileNameRaw.toString('latin1'))} is damaged in the zip`);
}

async function linkTarget(zip: ZipFile, entry: Entry): Promise<ByteName> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of contentOf(zip, entry)) chunks.push(chunk);
  return Buffer.concat(chunks).toString('latin1');
}
