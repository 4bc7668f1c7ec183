import { isUtf8 } from 'node:buffer';

/**
 * Names of files are bytes, not text: Git, tar, zip and the kernel keep them as they are, so they travel here as strings
 * of one character a byte (latin1). Only for patterns and people they become text.
 */
export type ByteName = string;

export const byteName = (text: string): ByteName => Buffer.from(text, 'utf8').toString('latin1');

export const bytesOf = (name: ByteName): Buffer => Buffer.from(name, 'latin1');

/** As text: UTF-8 where it is that; any other byte becomes one character of its own (a lone surrogate, as in Python). */
export function textOf(name: ByteName): string {
  if (!/[\x80-\xff]/.test(name)) return name;
  const bytes = bytesOf(name);
  if (isUtf8(bytes)) return bytes.toString('utf8');
  let text = '';
  for (let at = 0; at < bytes.length; ) {
    const first = bytes[at] as number;
    const length = first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    const part = bytes.subarray(at, at + length);
    if (isUtf8(part)) {
      text += part.toString('utf8');
      at += length;
    } else {
      text += String.fromCharCode(0xdc00 + first);
      at++;
    }
  }
  return text;
}

/** For a line of the trace: control characters and bytes that are no text are written out. */
export const shownName = (name: ByteName): string =>
  textOf(name).replace(/[\p{Cc}\p{Cs}]/gu, (char) => {
    const code = char.charCodeAt(0);
    return `\\x${(code >= 0xdc00 ? code - 0xdc00 : code & 0xff).toString(16).padStart(2, '0')}`;
  });

/** `./a` and `/a` are `a`; folders lose their slash. The empty string is the root itself. */
export function plainName(name: string): string {
  const from = name.startsWith('./') ? 2 : 0;
  const plain = name.slice(from, name.endsWith('/') ? -1 : undefined);
  // Nearly all are done here; taking each apart cost more than packing a small file.
  if (!/(?:^|\/)\.?(?:\/|$)/.test(plain)) return plain;
  return name
    .split('/')
    .filter((part) => part !== '' && part !== '.')
    .join('/');
}

/** Somebody else's archive would write it elsewhere than into the tree, or at no name at all. */
export const leadsOut = (name: string): boolean =>
  name.startsWith('/') || name.includes('\0') || name.split('/').includes('..');

/** The root of the tree, or Git's own in it: neither goes out with files of a job, nor comes in. `plain`: as plainName has it. */
export const isRootOrGit = (plain: string): boolean => plain === '' || plain === '.git' || plain.startsWith('.git/');
