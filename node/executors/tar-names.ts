import { Readable } from 'node:stream';
import { extract, type Header, pack } from 'tar-stream';

/**
 * A tar stream whose entries are renamed (null drops one) and given an owner on their way through. Streams: a big file
 * is never held in memory. Hard links name their target inside the tar, so they are renamed too.
 */
export function renameTar(
  input: NodeJS.ReadableStream,
  rename: (name: string) => string | null,
  owner: { uid: number; gid: number } | null = null,
): Readable {
  const reader = extract();
  const writer = pack();
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
    const linked = header.type === 'link' && header.linkname ? rename(header.linkname) : header.linkname;
    const { pax: _, ...plain } = header;
    const out: Header = { ...plain, name, linkname: linked ?? header.linkname ?? null };
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

/** `./a` and `/a` are `a`; folders lose their slash. The empty string is the root itself. */
export const plainName = (name: string): string =>
  name
    .split('/')
    .filter((part) => part !== '' && part !== '.')
    .join('/');
