import { open } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGzip } from 'node:zlib';
import { AutogitError } from '../../protocol/errors.ts';
import { type TarEntry, writeTar } from '../executors/tar-format.ts';

/** One text of the file, or why it is not there. */
export interface SupportPart {
  name: string;
  what: string;
  text: string | null;
  missing: string | null;
}

/** Writes them below one folder as tar.gz (0600), never over a file that is there. Throws `bad-flag`. */
export async function writeSupportFile(
  path: string,
  folder: string,
  parts: readonly SupportPart[],
  wallMs: number,
): Promise<void> {
  const file = await open(path, 'wx', 0o600).catch((cause: NodeJS.ErrnoException) => {
    throw new AutogitError(
      'bad-flag',
      `${path} cannot be written: ${cause.code === 'EEXIST' ? 'it is there already' : cause.message}`,
      {
        cause,
        hint: 'another one: autogit-node support --out FILE',
      },
    );
  });
  const entries = parts.flatMap(({ name, text }): TarEntry[] => {
    if (text === null) return [];
    const bytes = Buffer.from(text);
    const common = {
      kind: 'file' as const,
      mode: 0o600,
      mtime: Math.floor(wallMs / 1000),
      linkname: '',
      uid: 0,
      gid: 0,
    };
    return [{ ...common, name: `${folder}/${name}`, size: bytes.length, body: Readable.from([bytes]), whole: bytes }];
  });
  await pipeline(Readable.from(writeTar(entries)), createGzip(), file.createWriteStream());
}
