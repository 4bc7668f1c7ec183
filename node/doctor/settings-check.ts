import { existsSync } from 'node:fs';
import { warningsOf } from '../settings/seed-warnings.ts';
import { configOf, type Settings } from '../settings/settings.ts';
import { type Finding, finding } from './finding.ts';

/** Which autogit.yml counts, and what of it does not, or not as it stands there. One that is no good ends the command before. */
export function checkSettings(settings: Settings): Finding[] {
  const file = configOf(settings);
  if (!existsSync(file)) return [finding('settings', 'ok', `no ${file} (made by autogit-node config init)`)];
  const found = warningsOf(settings.notes).map(({ sentence, fix }) => finding('settings', 'warn', sentence, fix));
  return [finding('settings', 'ok', file), ...found];
}
