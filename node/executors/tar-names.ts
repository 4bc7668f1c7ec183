import { posix } from 'node:path';
import { Readable } from 'node:stream';
import { type ByteName, byteName, plainName } from './byte-names.ts';
import { madeEntry, noBody, readTar, type TarEntry, writeTar } from './tar-format.ts';

export { plainName };

export interface TarOwner {
  uid: number;
  gid: number;
  /** Below this path (no slash at its ends) folders that entries need are made for the owner too. */
  owned: string;
}

/**
 * A tar stream whose entries are renamed (null drops one) and given an owner on their way through. Streams: a big file
 * is never held in memory. Hard links name their target inside the tar, so they are renamed too. Names are bytes.
 */
export function renameTar(
  input: AsyncIterable<unknown>,
  rename: (name: ByteName) => ByteName | null,
  owner: TarOwner,
): Readable {
  const tar = writeTar(renamed(input as AsyncIterable<Uint8Array>, rename, owner));
  // It is all taken: the next pieces are made while the engine unpacks those before them.
  return Readable.from(inPieces(tar), { objectMode: false, highWaterMark: 4 * pieceBytes });
}

const pieceBytes = 256 << 10;

/** A write to the engine costs the same whatever is in it. */
async function* inPieces(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  let piece = Buffer.allocUnsafe(pieceBytes);
  let held = 0;
  for await (const chunk of chunks) {
    if (held > 0 && held + chunk.length > pieceBytes) {
      yield piece.subarray(0, held);
      piece = Buffer.allocUnsafe(pieceBytes);
      held = 0;
    }
    if (chunk.length > pieceBytes) yield chunk;
    else {
      piece.set(chunk, held);
      held += chunk.length;
    }
  }
  if (held > 0) yield piece.subarray(0, held);
}

/** The entries themselves. */
export async function* renamed(
  input: AsyncIterable<Uint8Array>,
  rename: (name: ByteName) => ByteName | null,
  owner: TarOwner | null = null,
): AsyncGenerator<TarEntry> {
  const made = new Set<string>();
  const own = owner === null ? {} : { uid: owner.uid, gid: owner.gid };
  for await (const entry of readTar(input)) {
    const name = rename(entry.name);
    if (name === null) continue;
    if (owner)
      for (const folder of foldersOf(name, byteName(owner.owned))) {
        if (made.has(folder)) continue;
        made.add(folder);
        yield { ...entry, ...own, name: folder, kind: 'folder', mode: 0o755, linkname: '', size: 0, body: noBody };
      }
    if (entry.kind === 'folder') made.add(name);
    const linkname = entry.kind === 'link' ? (rename(entry.linkname) ?? entry.linkname) : entry.linkname;
    yield { ...entry, ...own, name, linkname };
  }
}

export interface PackedFile {
  name: string;
  mode: number;
  /** Null: a folder. */
  content: string | Buffer | null;
  uid: number;
  gid: number;
}

/** A small tar of files and folders made here. */
export function packFiles(files: PackedFile[]): Readable {
  const entries = files.map(({ content, name, ...header }) =>
    madeEntry(name, content === null ? header : { ...header, content }),
  );
  return Readable.from(writeTar(entries), { objectMode: false });
}

/** The folders above an entry that lie below `owned`, outermost first. */
const foldersOf = (name: string, owned: string): string[] => {
  const folders: string[] = [];
  for (let path = posix.dirname(name); path.startsWith(`${owned}/`); path = posix.dirname(path)) folders.unshift(path);
  return folders;
};
