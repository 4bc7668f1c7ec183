import { closeSync, constants, fstatSync, openSync, readFileSync } from 'node:fs';

const bytesMost = 1 << 20;

/**
 * Text of a small file of ours that somebody else may have replaced: whoever is root in GitLab's container, or made that disk. Not through a link,
 * nobody is waited for at the end of a pipe, and no more is read than such a file has. Throws as `readFileSync`, with code `ENOTPLAIN` for what is no
 * plain file, or has more than 1 MiB.
 */
export function readSmallFile(path: string): string {
  const file = openPlain(path);
  try {
    const found = fstatSync(file);
    if (!found.isFile() || found.size > bytesMost) throw notPlain(path);
    return readFileSync(file, 'utf8');
  } finally {
    closeSync(file);
  }
}

function openPlain(path: string): number {
  try {
    return openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    // A link; a socket.
    throw ['ELOOP', 'ENXIO'].includes((error as NodeJS.ErrnoException).code ?? '') ? notPlain(path) : error;
  }
}

const notPlain = (path: string): NodeJS.ErrnoException =>
  Object.assign(new Error(`${path} is no small plain file`), { code: 'ENOTPLAIN' });
