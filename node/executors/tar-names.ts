import { posix } from 'node:path';
import { Readable } from 'node:stream';
import { extract, type Header, pack } from 'tar-stream';

export interface TarOwner {
  uid: number;
  gid: number;
  /** Below this path (no slash at its ends) folders that entries need are made for the owner too. */
  owned: string;
}

/**
 * A tar stream whose entries are renamed (null drops one) and given an owner on their way through. Streams: a big file
 * is never held in memory. Hard links name their target inside the tar, so they are renamed too.
 */
export function renameTar(
  input: NodeJS.ReadableStream,
  rename: (name: string) => string | null,
  owner: TarOwner | null = null,
): Readable {
  const reader = extract();
  const writer = pack();
  const made = new Set<string>();
  const fail = (error: Error): void => {
    reader.destroy();
    writer.destroy(error);
  };
  reader.on('entry', (header: Header, body, next) => {
    const name = rename(header.name);
    if (name === null) {
      body.resume();
      body.on('end', next);
      return;
    }
    if (owner)
      for (const folder of foldersOf(name, owner.owned)) {
        if (made.has(folder)) continue;
        made.add(folder);
        writer.entry({ name: `${folder}/`, type: 'directory', mode: 0o755, uid: owner.uid, gid: owner.gid });
      }
    if (header.type === 'directory') made.add(name);
    const linked = header.type === 'link' && header.linkname ? rename(header.linkname) : header.linkname;
    const out: Header = { ...header, name, linkname: linked ?? header.linkname ?? null };
    // Long names of the old entry stand there; the new one gets its own.
    delete (out as { pax?: unknown }).pax;
    if (owner) Object.assign(out, { uid: owner.uid, gid: owner.gid, uname: '', gname: '' });
    if (header.type === 'file' || header.type === 'contiguous-file') {
      body.pipe(writer.entry(out, (error) => (error ? fail(error) : next())));
    } else {
      body.resume();
      writer.entry(out, (error) => (error ? fail(error) : next()));
    }
  });
  reader.on('finish', () => writer.finalize());
  reader.on('error', fail);
  writer.on('close', () => reader.destroy());
  input.on('error', fail);
  input.pipe(reader);
  // A stream of Node's own: tar-stream's are of another family, and not all consumers take those.
  return Readable.from(writer);
}

export interface PackedFile {
  name: string;
  mode: number;
  /** Null: a folder. */
  content: string | null;
  uid: number;
  gid: number;
}

/** A small tar of files and folders made here. */
export function packFiles(files: PackedFile[]): Readable {
  const writer = pack();
  for (const { content, ...header } of files)
    if (content === null) writer.entry({ ...header, type: 'directory' });
    else writer.entry(header, content);
  writer.finalize();
  return Readable.from(writer);
}

/** The folders above an entry that lie below `owned`, outermost first. */
const foldersOf = (name: string, owned: string): string[] => {
  const folders: string[] = [];
  for (let path = posix.dirname(name); path.startsWith(`${owned}/`); path = posix.dirname(path)) folders.unshift(path);
  return folders;
};

/** `./a` and `/a` are `a`; folders lose their slash. The empty string is the root itself. */
export const plainName = (name: string): string =>
  name
    .split('/')
    .filter((part) => part !== '' && part !== '.')
    .join('/');
