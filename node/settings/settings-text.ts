import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import { AutogitError, sentenceOf } from '../../protocol/errors.ts';
import { limits } from '../../protocol/limits.ts';

const most = limits.socketRequestBytes;
const wrong = (file: string, sentence: string, hint?: string, cause?: unknown): AutogitError =>
  new AutogitError('bad-config', `${file} ${sentence}`, { cause, ...(hint === undefined ? {} : { hint }) });

/**
 * The text of autogit.yml; null where there is none, unless it was named. A byte order mark and the line ends of Windows
 * are read as what they are. Throws `bad-config`.
 */
export function readSettingsText(file: string, isNamed: boolean): string | null {
  let handle: number;
  try {
    // A named pipe that nobody writes into would hold every command for ever: it is opened without waiting, and refused.
    handle = openSync(file, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT' && !isNamed) return null;
    throw wrong(file, `cannot be read: ${sentenceOf(cause)}`, undefined, cause);
  }
  try {
    const found = fstatSync(handle);
    if (found.isDirectory())
      throw wrong(
        file,
        'is a folder, not a file',
        `name the file in it: --config ${file.replace(/\/+$/, '')}/autogit.yml`,
      );
    if (!found.isFile())
      throw wrong(file, 'is a pipe, a socket or a device, not a file', 'write the settings into a file');
    return decoded(file, contents(file, handle));
  } finally {
    closeSync(handle);
  }
}

/** By what is read, not by the size that the file system tells: files of /proc tell none. */
function contents(file: string, handle: number): Buffer {
  const bytes = Buffer.alloc(most + 1);
  let length = 0;
  try {
    for (let read = -1; read !== 0 && length < bytes.length; length += read)
      read = readSync(handle, bytes, length, bytes.length - length, null);
  } catch (cause) {
    throw wrong(file, `cannot be read: ${sentenceOf(cause)}`, undefined, cause);
  }
  if (length > most) throw wrong(file, `is too large: settings have at most ${most >> 10} KiB`);
  return bytes.subarray(0, length);
}

function decoded(file: string, bytes: Buffer): string {
  const hint = `save it as UTF-8, for example: iconv -f UTF-16 -t UTF-8 ${file} >new.yml`;
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (cause) {
    throw wrong(file, 'is not UTF-8', hint, cause);
  }
  const control = /(?![\t\n\r])\p{Cc}/u.exec(text);
  if (control === null) return text;
  const line = text.slice(0, control.index).split('\n').length;
  const code = control[0].charCodeAt(0).toString(16).padStart(2, '0');
  throw new AutogitError('bad-config', `${file}, line ${line}: the control character 0x${code}: is this UTF-8?`, {
    hint,
  });
}
