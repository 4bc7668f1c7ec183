import { showBytes, showDuration } from '../settings/quantities.ts';
import { agentOf, type Context } from './context.ts';
import { exit } from './failure.ts';
import { printTable } from './table.ts';

/** `cache`: what this machine keeps of its jobs' caches, the last used first. */
export async function show(context: Context): Promise<number> {
  const { settings, out } = context;
  const found = await (await agentOf(context)).caches();
  if (settings.isOn('json')) {
    out.json(found);
    return exit.ok;
  }
  const now = Date.now();
  const age = (at: number): string => (out.isTerminal ? showDuration(now - at) : new Date(at).toISOString());
  const rows = found.rows.map(({ project, key, sizeBytes, savedAt, usedAt }) => [
    project === '' ? '?' : project,
    out.isTerminal ? showBytes(sizeBytes) : String(sizeBytes),
    age(savedAt),
    age(usedAt),
    key === '' ? 'damaged, or of another version' : key,
  ]);
  if (rows.length > 0)
    out.data(printTable({ head: ['PROJECT', 'SIZE', 'KEPT', 'USED', 'KEY'], rows, spare: ['KEPT', 'USED'] }, out));
  if (!out.isTerminal) return exit.ok;
  if (found.count > rows.length) out.data(`and ${found.count - rows.length} more`);
  const total = `${showBytes(found.bytes)} of at most ${showBytes(found.limitBytes)} (--cache-limit)`;
  out.data(found.count === 0 ? `this machine keeps no caches; they may take ${showBytes(found.limitBytes)}` : total);
  return exit.ok;
}

/** `cache clear [project]`: jobs that run keep what they have opened. */
export async function clear(context: Context): Promise<number> {
  const [project] = context.args;
  const { said } = await (await agentOf(context)).clearCaches(project ?? null);
  if (context.settings.isOn('json')) context.out.json({ said });
  else context.out.talk(said);
  return exit.ok;
}
