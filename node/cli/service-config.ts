import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { userInfo } from 'node:os';
import { dirname, join } from 'node:path';
import { parseDocument } from 'yaml';
import { AutogitError } from '../../protocol/errors.ts';
import { readSettingsFile } from '../settings/settings-file.ts';
import { configFile } from '../store/home.ts';
import type { Remembered } from '../store/join-memory.ts';

/** The autogit.yml of a service. Root's is looked up by its own account: HOME may be that of whoever typed sudo. */
export const serviceConfig = (isSystem: boolean): string =>
  isSystem ? join(userInfo().homedir, '.config', 'autogit-node', 'autogit.yml') : configFile(process.env);

/**
 * Writes into autogit.yml what the agent was started with, so that the service starts the same way; comments and
 * everything else stay. Returns the keys that were written. Throws `bad-config` for a file that is no good already.
 */
export function writeFlags(file: string, flags: Remembered): string[] {
  const { values: before } = readSettingsFile(file, false);
  const text = existsSync(file) ? readFileSync(file, 'utf8') : '';
  const document = parseDocument(text);
  if (document.errors.length > 0)
    throw new AutogitError('bad-config', `${file} is no YAML: ${document.errors[0]?.message}`);
  const changed = Object.entries(flags).filter(
    ([key, { value, source }]) =>
      !(source === 'file' && before.has(key)) && JSON.stringify(before.get(key)) !== JSON.stringify(value),
  );
  if (changed.length === 0) return [];
  for (const [key, { value }] of changed) document.set(key, value);
  mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
  writeFileSync(file, document.toString(), { mode: 0o600 });
  return changed.map(([key]) => key);
}

/**
 * Root's service must know whose its process jobs are. Where nobody ever chose, each is a user of its own; what an agent
 * of before did as root goes on (`wereRoot`), and the agent warns of it. Returns what was decided.
 */
export function chooseJobUser(file: string, wereRoot: boolean): string | null {
  const { values: settings } = readSettingsFile(file, false);
  const executors = [settings.get('executors') ?? []].flat().flatMap((text) => text.split(/[\s,]+/));
  if (!executors.includes('process') || settings.has('user') || wereRoot) return null;
  writeFlags(file, { user: { value: 'auto', source: 'flag' } });
  return `wrote user: auto to ${file}: each process job is a user of its own   (NAME there: jobs are that person; root: jobs are root)`;
}
