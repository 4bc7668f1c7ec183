import { shown } from '../foreign-text.ts';
import { wrapped } from '../text-wrap.ts';
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
  else out.data(webhookTestView(rows, out));
  return rows.some(({ ok }) => ok) && rows.every(({ ok, url }) => ok || url === null) ? exit.ok : exit.failed;
}

/** Whole answers, and of a door what tells it from others: its path has a hundred characters. In a pipe it is whole too. */
export function webhookTestView(
  rows: readonly { node: string; url: string | null; said: string }[],
  { isTerminal, columns }: { isTerminal: boolean; columns: number },
): string {
  if (!isTerminal)
    return printTable(
      { head: [], rows: rows.map(({ node, url, said }) => [node, url ?? '-', said]) },
      { isTerminal, columns },
    );
  const width = Math.max(...rows.map(({ node }) => shown(node).length)) + 2;
  return rows
    .map(({ node, url, said }) => {
      const text = shown(url === null ? said : `${new URL(url).origin}, ${said}`);
      return `${shown(node).padEnd(width)}${wrapped(text, columns - width).join(`\n${' '.repeat(width)}`)}`;
    })
    .join('\n');
}
