import { createReadStream } from 'node:fs';
import { lstat, readdir, readFile, readlink } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { type ByteName, bytesOf } from '../executors/byte-names.ts';
import { noBody, type TarEntry, writeTar } from '../executors/tar-format.ts';

/** Read in one piece up to here. */
const smallBytes = 64 << 10;

/**
 * A checked out tree of the agent's own as a tar stream: files, folders and links, names as the bytes that they are,
 * relative to it, nobody's ownership. Of a mode Git keeps one bit only, so the rest of it is not the agent's umask's.
 */
export function tarFolder(folder: string): Readable {
  return Readable.from(writeTar(entriesOf(Buffer.from(folder), '')), { objectMode: false });
}

async function* entriesOf(folder: Buffer, below: ByteName): AsyncGenerator<TarEntry> {
  const at = (path: ByteName): Buffer => Buffer.concat([folder, bytesOf(path === '' ? '' : `/${path}`)]);
  const names = (await readdir(at(below), { encoding: 'buffer' })).map((name) => name.toString('latin1')).sort();
  for (const name of names) {
    const path = below === '' ? name : `${below}/${name}`;
    const file = at(path);
    const stat = await lstat(file);
    const mode = stat.isDirectory() || (stat.mode & 0o100) !== 0 ? 0o755 : 0o644;
    const mtime = Math.floor(stat.mtimeMs / 1000);
    const common = { name: path, mode, mtime, linkname: '', size: 0, uid: 0, gid: 0, body: noBody };
    if (stat.isDirectory()) {
      yield { ...common, kind: 'folder' };
      yield* entriesOf(folder, path);
    } else if (stat.isSymbolicLink())
      yield { ...common, kind: 'symlink', linkname: (await readlink(file, { encoding: 'buffer' })).toString('latin1') };
    else if (stat.isFile()) yield { ...common, kind: 'file', size: stat.size, body: contentOf(file, stat.size) };
  }
}

async function* contentOf(file: Buffer, size: number): AsyncGenerator<Uint8Array> {
  if (size > smallBytes) yield* createReadStream(file) as AsyncIterable<Uint8Array>;
  else yield await readFile(file);
}
