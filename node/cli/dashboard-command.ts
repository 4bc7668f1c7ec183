import { AutogitError } from '../../protocol/errors.ts';
import { pageLimits } from '../page/page-limits.ts';
import type { Role } from '../page/page-types.ts';
import { showDuration } from '../settings/quantities.ts';
import { agentOf, type Context } from './context.ts';
import { exit } from './failure.ts';
import { sentence } from './output.ts';
import { printTable } from './table.ts';

const roleOf = ({ settings }: Context, usual: Role): Role => (settings.text('page.role') as Role | null) ?? usual;

/** `dashboard`: a link that lets one browser in, once. In a pipe it stands alone. */
export async function dashboard(context: Context): Promise<number> {
  const { settings, out } = context;
  const forMs = settings.number('page.for');
  if (forMs !== null && (forMs < pageLimits.sessionLeastMs || forMs > pageLimits.sessionMostMs))
    throw new AutogitError('bad-flag', `a browser stays in for 1m to 365d, not for ${showDuration(forMs)}`, {
      hint: 'autogit-node dashboard --for 12h',
    });
  const agent = await agentOf(context);
  const link = await agent.pageLink(roleOf(context, 'owner'), forMs);
  const until = new Date(link.goodUntil).toISOString();
  if (settings.isOn('json')) {
    out.json({ url: link.urls[0], urls: link.urls, role: link.role, goodUntil: until, forMs: link.forMs });
    return exit.ok;
  }
  const [first = '', ...others] = link.urls;
  out.data(first);
  for (const other of others) out.talk(`from other machines: ${other}`);
  out.talk(
    `good once, for ${showDuration(link.goodUntil - Date.now())}; the browser that opens it is ${link.role} for ${showDuration(link.forMs)}`,
  );
  if (link.beyond)
    out.talk(
      'the page is served by plain http: whoever reads this LAN can read it, and what lets a browser in (a way around: docs/threats.md)',
    );
  else if (process.env.SSH_CONNECTION !== undefined) {
    const port = new URL(first).port;
    out.talk(`from your own machine, open it through: ssh -L ${port}:127.0.0.1:${port} ${hostOfSsh()}`);
  }
  return exit.ok;
}

/** The address by which this person came, which is surely one that his machine reaches. */
const hostOfSsh = (): string => process.env.SSH_CONNECTION?.split(' ')[2] ?? 'THIS-MACHINE';

/** `dashboard key`: for a program; shown this once. */
export async function key(context: Context): Promise<number> {
  const { settings, out } = context;
  const name = settings.text('page.name');
  if (name !== null && !pageLimits.keyName.test(name))
    throw new AutogitError('bad-flag', `--name ${name}: a key's name is a-z, 0-9 and -, at most 40 characters`);
  const agent = await agentOf(context);
  const role = roleOf(context, 'viewer');
  const made = await agent.pageKey(role, name);
  if (settings.isOn('json')) out.json({ ...made, role });
  else {
    out.data(made.key);
    out.talk(
      `${made.name}, for ${role === 'viewer' ? 'a viewer' : `an ${role}`}; it is shown this once. In each request to ${made.url}: Authorization: Bearer KEY (what there is to ask: ${made.url}/api/openapi.json)`,
    );
  }
  return exit.ok;
}

/** `dashboard keys`: who is let in, browsers too. */
export async function keys(context: Context): Promise<number> {
  const { settings, out } = context;
  const rows = await (await agentOf(context)).pageKeys();
  const time = (ms: number | null): string | null => (ms === null ? null : new Date(ms).toISOString());
  if (settings.isOn('json'))
    out.json(
      rows.map(({ madeAt, until, usedAt, ...row }) => ({
        ...{ ...row, madeAt: time(madeAt), until: time(until), usedAt: time(usedAt) },
      })),
    );
  else if (rows.length > 0 || out.isTerminal) {
    const now = Date.now();
    const ago = (ms: number | null): string =>
      ms === null ? '-' : out.isTerminal ? `${showDuration(Math.max(0, now - ms))} ago` : (time(ms) as string);
    const left = (ms: number | null): string =>
      ms === null ? '-' : out.isTerminal ? `for ${showDuration(Math.max(0, ms - now))}` : (time(ms) as string);
    const table = {
      head: out.isTerminal ? ['NAME', 'KIND', 'ROLE', 'MADE', 'USED', 'STAYS'] : [],
      rows: rows.map((row) => [row.name, row.kind, row.role, ago(row.madeAt), ago(row.usedAt), left(row.until)]),
    };
    out.data(rows.length === 0 ? 'nobody is let in' : printTable(table, out));
  }
  return exit.ok;
}

/** `dashboard key-remove NAME`: also ends a browser's session, at once. */
export async function keyRemove(context: Context): Promise<number> {
  const { settings, out, args } = context;
  const said = await (await agentOf(context)).pageKeyRemove(args[0] as string);
  if (settings.isOn('json')) out.json({ said });
  else sentence(out, said);
  return exit.ok;
}
