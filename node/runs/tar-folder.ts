import { createReadStream } from 'node:fs';
import { lstat, readdir, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { type Header, pack } from 'tar-stream';

/** A folder of the agent's own as a tar stream: files, folders and links, names relative to it, nobody's ownership. */
export function tarFolder(folder: string): Readable {
  const tar = pack();
  const add = (header: Partial<Header> & { name: string }): Promise<void> =>
    new Promise((resolve, reject) => tar.entry(header, (error) => (error ? reject(error) : resolve())));
  const walk = async (below: string): Promise<void> => {
    for (const name of (await readdir(join(folder, below))).sort()) {
      const path = below === '' ? name : `${below}/${name}`;
      const stat = await lstat(join(folder, path));
      const common = { name: path, mode: stat.mode & 0o777, mtime: stat.mtime };
      if (stat.isDirectory()) {
        await add({ ...common, name: `${path}/`, type: 'directory' });
        await walk(path);
      } else if (stat.isSymbolicLink())
        await add({ ...common, type: 'symlink', linkname: await readlink(join(folder, path)) });
      else if (stat.isFile())
        await pipeline(createReadStream(join(folder, path)), tar.entry({ ...common, type: 'file', size: stat.size }));
    }
  };
  walk('').then(
    () => tar.finalize(),
    (error: unknown) => tar.destroy(error instanceof Error ? error : new Error(String(error))),
  );
  return Readable.from(tar as AsyncIterable<Uint8Array>, { objectMode: false });
}
