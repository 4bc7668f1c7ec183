import { closeSync, fsyncSync, openSync, renameSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';

/** Old or new, never half, and on the disk when it returns. */
export function replaceFileNow(path: string, text: string): void {
  const file = openSync(`${path}.new`, 'w', 0o600);
  try {
    // Not `writeSync`: on a disk that is nearly full that writes a part, and says so by a number.
    writeFileSync(file, text);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
  renameSync(`${path}.new`, path);
  const folder = openSync(dirname(path), 'r');
  try {
    fsyncSync(folder);
  } finally {
    closeSync(folder);
  }
}
