import { type BackupRow, ProjectName } from '../../protocol/asks.ts';
import { AutogitError } from '../../protocol/errors.ts';
import { shown } from '../foreign-text.ts';
import { parseDuration } from '../settings/quantities.ts';
import type { Settings } from '../settings/settings.ts';

export const showUtc = (at: number): string => new Date(at).toISOString().slice(0, 19).replace('T', ' ');
/** In a table whose head says UTC; in a pipe by RFC 3339, as everywhere. */
export const timeCell = (at: number, { isTerminal }: { isTerminal: boolean }): string =>
  isTerminal ? showUtc(at) : new Date(at).toISOString();

const hint = 'as history shows it, in UTC: --at "2026-11-29 14:05"; or how long ago: --at 2h';
const pattern = /^(\d{4}-\d\d-\d\d)(?:[ T](\d\d:\d\d)(?::(\d\d)(\.\d{1,3})?)?(Z|[+-]\d\d:\d\d)?)?$/;

/** An instant in ms: a date with a time (UTC unless it says another zone), a date (its end), or so long ago. Throws `bad-flag`. */
export function readTime(text: string, nowMs: number): number {
  const words = text.trim();
  if (/^[\d.]+(ms|s|m|h|d)$/.test(words)) return nowMs - parseDuration(words);
  const [, day, minute, second, part = '.999', zone = 'Z'] = pattern.exec(words) ?? [];
  const at = day === undefined ? Number.NaN : Date.parse(`${day}T${minute ?? '23:59'}:${second ?? '59'}${part}${zone}`);
  // A calendar that rolls over would make another day of the 31st of February.
  const noon = day === undefined ? Number.NaN : Date.parse(`${day}T12:00:00Z`);
  const isDay = day !== undefined && Number.isFinite(noon) && new Date(noon).toISOString().startsWith(day);
  if (!Number.isFinite(at) || !isDay) throw new AutogitError('bad-flag', `"${text}" is no time`, { hint });
  if (at < 0) throw new AutogitError('bad-flag', `"${text}" is before there was any GitLab`, { hint });
  return at;
}

/** Of those that can be put back here: the newest at or before that time. Throws `backup`. */
export function rowAt(rows: readonly BackupRow[], at: number): BackupRow {
  const able = rows.filter((row) => row.isOwn && row.at > 0).sort((a, b) => b.at - a.at);
  const found = able.find((row) => row.at <= at);
  if (found) return found;
  const oldest = able.at(-1);
  throw new AutogitError(
    'backup',
    oldest
      ? `the oldest that there is is of ${showUtc(oldest.at)} UTC (${oldest.id}): nothing is of ${showUtc(at)} or before`
      : 'there is no backup and no round yet',
    { hint: 'which there are: autogit-node gitlab history' },
  );
}

/** Throws `backup`. `wanted`: a whole id, or what restic prints of one. */
export function rowNamed(rows: readonly BackupRow[], wanted: string): BackupRow {
  const row = rows.find(({ id }) => id === wanted || (/^[0-9a-f]{8,}$/.test(wanted) && wanted.startsWith(id)));
  if (row) return row;
  throw new AutogitError('backup', `there is no backup or round ${wanted.slice(0, 80)}`, {
    hint: 'which there are: autogit-node gitlab history',
  });
}

/** `--project`; null: all of it. Throws `bad-flag`. */
export function projectOf(settings: Pick<Settings, 'text'>): string | null {
  const project = settings.text('gitlab.project');
  if (project === null) return null;
  const named = ProjectName.safeParse(project.replace(/^\/+|\/+$/g, ''));
  if (named.success) return named.data;
  throw new AutogitError('bad-flag', `--project ${shown(project)} is no path of a project`, {
    hint: 'with its namespace, as in its address: --project group/name',
  });
}
