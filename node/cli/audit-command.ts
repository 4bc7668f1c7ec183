import type { AuditEntry } from '../../protocol/audit.ts';
import { agentOf, type Context } from './context.ts';
import { exit } from './failure.ts';
import { localTime } from './local-time.ts';
import { printTold } from './table.ts';

/** Who did what in the mesh, the oldest first, as this machine wrote it down. */
export async function audit(context: Context): Promise<number> {
  const { out, settings } = context;
  const { entries, isVoter } = await (await agentOf(context)).audit();
  const most = settings.number('audit.lines') ?? (out.isTerminal && !settings.isOn('json') ? 40 : entries.length);
  const newest = most === 0 ? [] : entries.slice(-most);
  if (settings.isOn('json')) out.json(newest);
  else {
    const rows = newest.map((entry, index) => {
      const missing = gapBefore(newest, index);
      const said = out.isTerminal ? [`${entry.sentence}${missing && ` (${missing})`}`] : [entry.sentence, missing];
      return [whenOf(entry, out.isTerminal), entry.who, entry.on, entry.what, ...said];
    });
    if (rows.length > 0)
      out.data(printTold({ head: ['WHEN', 'WHO', 'ON', 'ACT', 'WHAT CAME OF IT'], rows, spare: ['ACT'] }, out));
    else if (entries.length === 0) out.talk('nobody has done anything since the mesh writes it down');
  }
  if (!isVoter)
    out.talk(
      'this machine does not vote, and knows the newest only: those that vote write all of it down (autogit-node status -o wide)',
    );
  return exit.ok;
}

/** Acts that this machine did not see: it was away for longer than the newest travel with the ledger. */
function gapBefore(entries: readonly AuditEntry[], index: number): string {
  const [before, now] = [entries[index - 1], entries[index]];
  const missing = before && now ? now.n - before.n - 1 : 0;
  return missing > 0 ? `${missing} before it were not seen here` : '';
}

function whenOf({ at }: AuditEntry, isTerminal: boolean): string {
  const time = new Date(at);
  return isTerminal ? localTime(time) : time.toISOString();
}
