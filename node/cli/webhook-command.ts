import type { StatusSnapshot } from '../../protocol/status.ts';
import { plural } from '../../scheduler/phrases.ts';
import { agentOf, type Context } from './context.ts';
import { exit } from './failure.ts';
import { sentence } from './output.ts';
import { printTable } from './table.ts';

/** `webhook test`: what each machine's door says to a delivery. Exit 1 when one of them did not take it. */
export async function test(context: Context): Promise<number> {
  const { settings, out } = context;
  const { rows } = await (await agentOf(context)).webhookTest();
  if (settings.isOn('json')) out.json({ rows });
  else if (rows.length === 0) sentence(out, 'no machine may lead here');
  else {
    const head = ['MACHINE', 'DOOR', 'ANSWER'];
    out.data(
      printTable({ head, rows: rows.map(({ node, url, said }) => [node, url ?? '-', said]), lastLeast: 40 }, out),
    );
  }
  return rows.some(({ ok }) => ok) && rows.every(({ ok, url }) => ok || url === null) ? exit.ok : exit.failed;
}

/** The line of `gitlab`. */
export function webhookRow({ webhook }: StatusSnapshot['gitlab']): [string, string][] {
  if (webhook === undefined) return [];
  const { url, projects, lastAt, refused, lastRefusal, problem } = webhook;
  const last = lastAt === null ? 'nothing came yet' : `the last came ${lastAt}`;
  const no = refused === 0 ? '' : `; ${refused} refused, the last: ${lastRefusal ?? '-'}`;
  const told = problem === null ? `hooks in ${plural(projects, 'project')}` : problem;
  return [['webhook', `${url ?? 'no address'}, ${told}; ${last}${no}`]];
}
