import type { Comparison, Difference } from '../../protocol/differences.ts';
import { AutogitError } from '../../protocol/errors.ts';
import { isFencedName } from '../../protocol/fenced.ts';
import { plural } from '../../scheduler/phrases.ts';
import { shown, shownLines } from '../foreign-text.ts';
import type { AgentClient } from '../local-api/socket-client.ts';
import { showDuration } from '../settings/quantities.ts';
import { showUtc } from './backup-choice.ts';
import { agentOf, type Context } from './context.ts';
import { exit } from './failure.ts';
import { hosted } from './gitlab-backup.ts';
import { checkChoice, chosenRow } from './gitlab-history.ts';
import { printTable } from './table.ts';

/** Rows for a person without `--all`. */
const rowsShown = 40;

/** `gitlab diff`: what is not as it was then. Changes nothing. */
export async function diff(context: Context): Promise<number> {
  const { settings, out } = context;
  if (context.args[0] !== undefined || settings.text('gitlab.at') !== null) checkChoice(context);
  const agent = await agentOf(context);
  await hosted(agent);
  const id = await chosenId(context, agent);
  const heldPushes = isFencedName(id) && (await holdsPushes(agent, id));
  const all = settings.isOn('gitlab.all') || settings.isOn('json');
  const found = await read(agent, id, all ? Number.POSITIVE_INFINITY : rowsShown);
  if (settings.isOn('json')) {
    out.json({ with: id, ...found, at: found.at === 0 ? null : new Date(found.at).toISOString() });
    return exit.ok;
  }
  const told = all ? found.rows : found.rows.slice(0, rowsShown);
  out.talk(shownLines(headline(id, found)));
  if (told.length > 0) {
    const rows = told.map((row) => [
      shown(row.repository),
      shown(row.ref ?? '-'),
      brief(row.then),
      brief(row.now),
      words(row),
    ]);
    out.data(printTable({ head: ['REPOSITORY', 'REF', 'THEN', 'NOW', 'WHAT'], rows, spare: ['THEN', 'NOW'] }, out));
  }
  if (told.length < found.total)
    out.talk(`and ${found.total - told.length} more: autogit-node gitlab diff ${id} --all`);
  for (const line of filesLines(found)) out.talk(shown(line));
  for (const note of found.notes) out.talk(shownLines(note));
  if (heldPushes) out.talk('that was looked at now: GitLab takes pushes again');
  return exit.ok;
}

/** Both sides of a recovery by force served, and nobody has looked yet. */
async function holdsPushes(agent: AgentClient, id: string): Promise<boolean> {
  const { attention } = (await agent.status()).snapshot;
  return attention.some(({ code, fix }) => code === 'gitlab-two-sides' && fix?.endsWith(` ${id}`));
}

/** By its name or a time; without either the newest thing that a restore has replaced, else the newest round or backup. */
async function chosenId(context: Context, agent: AgentClient): Promise<string> {
  const [wanted] = context.args;
  const when = context.settings.text('gitlab.at');
  // What was fenced is in no history: nothing is made of it again.
  if (wanted !== undefined && when === null && isFencedName(wanted)) return wanted;
  if (wanted !== undefined || when !== null) return (await chosenRow(context, agent)).id;
  const { rows } = await agent.gitlabBackups();
  const newest = rows.find(({ id }) => id.startsWith('replaced-')) ?? rows.find(({ at, isOwn }) => at > 0 && isOwn);
  if (newest) return newest.id;
  throw new AutogitError('backup', 'there is nothing yet that GitLab could be compared with', {
    hint: 'name a place for backups: autogit-node gitlab backup --to /mnt/disk/gitlab',
  });
}

/** Page by page, up to so many rows. */
async function read(agent: AgentClient, id: string, most: number): Promise<Comparison> {
  const first = await agent.gitlabCompare({ with: id, from: 0 });
  const rows = [...first.rows];
  for (let from = rows.length; from < first.total && from < most; from = rows.length) {
    const next = await agent.gitlabCompare({ with: id, from });
    if (next.rows.length === 0) break;
    rows.push(...next.rows);
  }
  return { ...first, rows };
}

export function headline(
  id: string,
  { at, passedMs, total, files }: Pick<Comparison, 'at' | 'passedMs' | 'total' | 'files'>,
): string {
  const when = at === 0 ? id : `${id}, of ${showUtc(at)} UTC, ${showDuration(passedMs)} ago`;
  if (total === 0 && files.length === 0)
    return isBackup(id)
      ? `repositories and files are those of ${when}, by their names`
      : `repositories and files are as in ${when}; rows of the database are not compared`;
  return `between ${when}, and now: ${plural(total, 'difference')} of repositories; rows of the database are not compared`;
}

/** Of a backup no refs are read. */
const isBackup = (id: string): boolean => !/^(round|replaced|fenced)-/.test(id);

const brief = (id: string | null): string => (id === null ? '-' : id.slice(0, 10));

export function words({ what, then, now, added, lost }: Difference): string {
  if (what === 'gone') return 'there then, not now';
  if (what === 'new') return 'not there then';
  if (what === 'unread') return 'its refs are kept in a form that is not read here (reftable)';
  if (what === 'others') return `${added} of GitLab's own refs (merge requests, pipelines) differ`;
  if (then === null) return 'new since';
  if (now === null) return 'deleted since';
  if (added === null || lost === null) return 'another commit';
  const count = (of: number): string => `${of} commit${of === 1 ? '' : 's'}`;
  if (lost === 0) return `${count(added)} since`;
  return added === 0 ? `${count(lost)} back` : `${count(added)} since, ${count(lost)} of then are gone`;
}

export const filesLines = ({ files }: Pick<Comparison, 'files'>): string[] =>
  files.map(({ kind, then, now }) => `files of ${kind}: ${then} only then, ${now} only now`);
