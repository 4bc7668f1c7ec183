import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { AutogitError } from '../../protocol/errors.ts';
import { replaceFileNow } from '../hosting/replace-file-now.ts';
import { places } from '../store/home.ts';
import { configMark } from './runner-config.ts';

/** Where the files of a fall-back are when nothing else was said. */
export const fallbackFolder = (home: string): string => places(home).fallback;

const configFile = (folder: string): string => join(folder, 'config.toml');
const idFile = (folder: string): string => join(folder, '.runner_system_id');

const isOurs = (folder: string): boolean =>
  existsSync(configFile(folder)) && readFileSync(configFile(folder), 'utf8').startsWith(configMark);

/** Whether a fall-back was prepared there and not ended. */
export function isPrepared(folder: string): boolean {
  try {
    return isOurs(folder);
  } catch {
    return false;
  }
}

/** gitlab-runner's name for its machine beside the token: `r_` and twelve letters or digits, here ones that the mesh knows again. */
const systemIdOf = (self: string): string => `r_fallback${createHash('sha256').update(self).digest('hex').slice(0, 4)}`;

/** Writes both files, for their owner only. Throws `bad-flag` where somebody else's config lies. */
export function writeFallback(folder: string, self: string, text: string): { config: string; systemId: string } {
  if (existsSync(configFile(folder)) && !isOurs(folder))
    throw new AutogitError('bad-flag', `${configFile(folder)} is a gitlab-runner's own, and stays`, {
      hint: 'choose another folder: --out DIR',
    });
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const systemId = systemIdOf(self);
  replaceFileNow(idFile(folder), systemId);
  replaceFileNow(configFile(folder), text);
  return { config: configFile(folder), systemId };
}

/** Removes both; false where there is none of ours. */
export function removeFallback(folder: string): boolean {
  if (!isOurs(folder)) return false;
  rmSync(configFile(folder));
  rmSync(idFile(folder), { force: true });
  return true;
}
