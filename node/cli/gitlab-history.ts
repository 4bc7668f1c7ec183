import type { BackupRow } from '../../protocol/asks.ts';
import { AutogitError } from '../../protocol/errors.ts';
import { isFencedName } from '../../protocol/fenced.ts';
import { backupKind, backupWords, fewer } from '../faces/backup-words.ts';
import { shown, shownLines } from '../foreign-text.ts';
import type { AgentClient } from '../local-api/socket-client.ts';
import { projectOf, readTime, rowAt, rowNamed, showUtc, timeCell } from './backup-choice.ts';
import { agentOf, type Context } from './context.ts';
import { exit, failedWith, gitlabHint } from './failure.ts';
import { type GitlabView, hosted, watched } from './gitlab-backup.ts';
import { bring } from './gitlab-fenced.ts';
import { whyNotRestored } from './gitlab-protect.ts';
import { promptOf } from './mesh-commands.ts';
import { sentence } from './output.ts';
import { isAgreed } from './prompt.ts';
import { printTable } from './table.ts';
import { hearsMs, lostWords, quietTimer, stopsWatching, whyGone } from './watching.ts';

/** `gitlab history`: what GitLab can be made of again, the newest first. */
export async function history(context: Context): Promise<number> {
  const { settings, out } = context;
  const { rows, problem } = await (await agentOf(context)).gitlabBackups();
  if (problem !== null) out.talk(shownLines(problem));
  if (settings.isOn('json')) {
    out.json(
      rows.map((row) => ({ ...row, kind: backupKind(row), at: row.at === 0 ? null : new Date(row.at).toISOString() })),
    );
    return exit.ok;
  }
  const told = settings.isOn('gitlab.all') ? rows : fewer(rows, Date.now());
  const lines = told.map((row) => [
    row.id,
    row.at === 0 ? '-' : timeCell(row.at, out),
    backupKind(row),
    row.version ?? '-',
    String(row.epoch),
    backupWords(row),
  ]);
  const head = ['ID', 'UTC', 'KIND', 'GITLAB', 'EPOCH', 'WHERE'];
  if (lines.length === 0 && problem === null && out.isTerminal)
    out.talk('there is none yet: autogit-node gitlab backup --to /mnt/disk/gitlab');
  else out.data(printTable({ head, rows: lines, spare: ['EPOCH', 'KIND'], lastLeast: 32 }, out));
  if (out.isTerminal && told.length < rows.length)
    out.talk(`and ${rows.length - told.length} more rounds: autogit-node gitlab history --all`);
  return exit.ok;
}

/** One of the two is said; the time in ms, null for a name. Throws `bad-flag`. */
export function checkChoice({ args: [wanted], settings }: Context): number | null {
  const when = settings.text('gitlab.at');
  if ((wanted === undefined) === (when === null))
    throw new AutogitError('bad-flag', 'name either a backup (or a round), or a time: --at 2h', {
      hint: 'which there are: autogit-node gitlab history',
    });
  return when === null ? null : readTime(when, Date.now());
}

/** By its name, or by a time. */
export async function chosenRow(context: Context, agent: AgentClient): Promise<BackupRow> {
  const { out } = context;
  const [wanted] = context.args;
  const at = checkChoice(context);
  const { rows, problem } = await agent.gitlabBackups();
  if (problem !== null) out.talk(shownLines(problem));
  const row = at === null ? rowNamed(rows, wanted as string) : rowAt(rows, at);
  if (at !== null)
    out.talk(`the newest at or before that is ${row.id}, of ${showUtc(row.at)} UTC: ${shown(row.because)}`);
  if (row.on && row.at === 0)
    throw new AutogitError('backup', `${row.id} lies on ${shown(row.on.join(' and '))} alone, which does not answer`, {
      hint: 'take one that another machine has, or see whether that one is there: autogit-node status',
    });
  return row;
}

/** What is of before an upgrade comes back with its own version. */
const asVersion = ({ id, version }: BackupRow, now: string | null): string =>
  id.startsWith('replaced-') && version !== null && now !== null && version !== now
    ? `, as GitLab ${shown(version)} again (it is ${shown(now)})`
    : '';

/** `gitlab restore`: GitLab as it was then. It serves until that is ready, and what it has now is kept. */
export async function restore(context: Context): Promise<number> {
  const { settings, out } = context;
  checkChoice(context);
  const project = projectOf(settings);
  const agent = await agentOf(context);
  const { gitlab } = (await agent.status()).snapshot;
  if (gitlab.mode !== 'hosted' && gitlab.protected)
    throw whyNotRestored(await chosenRow(context, agent), gitlab.protected, gitlab.vault?.target ?? null);
  const { epoch, host, vault, version } = await hosted(agent);
  const [wanted] = context.args;
  if (wanted !== undefined && isFencedName(wanted)) return bring(context, agent, wanted);
  const row = await chosenRow(context, agent);
  const before = vault?.restored ?? null;
  if (project !== null) await agent.gitlabRestore({ backup: row.id, project });
  else {
    const brought =
      row.on && !row.on.includes(host ?? '') ? `, brought over from ${shown(row.on.join(' or '))} first` : '';
    const question = `Put GitLab on ${host} back to ${showUtc(row.at)} UTC (${row.id}${brought})${asVersion(row, version)}? What came after goes out of the way (kept there as replaced-${epoch}), and jobs that run have no GitLab to tell.`;
    if (!(await isAgreed('GitLab shall be restored', question, promptOf(context)))) return exit.failed;
    await agent.gitlabRestore({ backup: row.id });
  }
  const end = await untilRestored(context, agent, { id: row.id, epoch, host, before });
  if (end === null) return stopsWatching(context, 'restoring', 'it goes on by itself: autogit-node gitlab');
  if (settings.isOn('json')) out.json({ state: end.isDone ? 'restored' : 'failed', of: row.id, because: end.because });
  if (!end.isDone) throw failedWith('backup', end.because, gitlabHint);
  if (!settings.isOn('json')) sentence(out, end.because);
  return exit.ok;
}

const whatCame = (id: string): string =>
  `autogit-node gitlab diff ${id}; then again: autogit-node gitlab restore ${id}`;

type Restored = NonNullable<NonNullable<GitlabView['vault']>['restored']>;

function untilRestored(
  context: Context,
  agent: AgentClient,
  { id, epoch, host, before }: { id: string; epoch: number; host: string | null; before: Restored | null },
): Promise<{ isDone: boolean; because: string } | null> {
  const quietFor = quietTimer();
  // How one of before ended is told until this one has begun there, maybe of the same backup.
  let isNews = before === null;
  return watched(context, agent, ({ vault, epoch: now, state }, all) => {
    const gone = whyGone(all, host);
    if (gone !== null)
      return { isDone: false, because: `nothing more is heard of ${id}: ${gone} -> what came of it: ${whatCame(id)}` };
    const restored = vault?.restored ?? null;
    isNews ||= vault?.doing?.what === 'restore' || JSON.stringify(restored) !== JSON.stringify(before);
    if (isNews && vault?.doing?.what !== 'restore' && restored?.backup === id) return restored;
    const isQuiet = vault?.doing == null && now === epoch && state === 'healthy';
    if (quietFor(!isQuiet) < 2 * hearsMs) return null;
    return { isDone: false, because: `${lostWords}: nothing was changed` };
  });
}
