import { AutogitError, sentenceOf } from '../../protocol/errors.ts';
import { NoticeName } from '../../protocol/notices.ts';
import { parseQuietHours, quietWords } from '../../scheduler/notices/quiet-hours.ts';
import { plural, span } from '../../scheduler/phrases.ts';
import { shown } from '../foreign-text.ts';
import type { NoticesAnswer } from '../local-api/socket-protocol.ts';
import { checkTarget } from '../notices/notice-target.ts';
import type { Settings } from '../settings/settings.ts';
import { agentOf, type Context } from './context.ts';
import { exit, requireDone } from './failure.ts';
import { sentence } from './output.ts';
import { readText } from './read-text.ts';
import { attentionLine, printTold } from './table.ts';

const hint = 'look who is told: autogit-node notify list';
const most = 2048;
const pipeMs = 5_000;

/** What a variable or a file holds, one of the two; null where neither was named. */
function given(settings: Settings, what: 'url' | 'secret'): string | null {
  const [variable, file] = [settings.text(`notify.${what}Env`), settings.text(`notify.${what}File`)];
  if (variable !== null && file !== null)
    throw new AutogitError('bad-flag', `--${what}-env and --${what}-file: one of the two`);
  if (variable === null && file === null) return null;
  const text = variable === null ? textOf(file as string, what) : process.env[variable];
  if (text === undefined || text.trim() === '')
    throw new AutogitError(
      'bad-flag',
      variable === null ? `${file} is empty` : `the variable ${variable} is empty or not set`,
    );
  return text.trim();
}

function textOf(file: string, what: string): string {
  try {
    return readText(file, most, pipeMs);
  } catch (cause) {
    throw new AutogitError('bad-flag', `--${what}-file: ${sentenceOf(cause)}`, { cause, hint: `ls -l ${file}` });
  }
}

function nameOf(text: string): string {
  if (NoticeName.safeParse(text).success) return text;
  throw new AutogitError(
    'bad-flag',
    `"${text.slice(0, 64)}" is no name for one that is told: a-z, 0-9 and -, at most 32 characters`,
  );
}

/** `notify add KIND [ADDRESS]`. */
export async function add(context: Context): Promise<number> {
  const { settings, out, args } = context;
  const [kind = '', address] = args;
  const read = given(settings, 'url');
  if (address !== undefined && read !== null)
    throw new AutogitError('bad-flag', 'the address is given twice', { hint: 'leave it out behind the kind' });
  const name = settings.text('notify.name');
  const isArgument = address !== undefined;
  const [to, from] = [settings.text('notify.to'), settings.text('notify.from')];
  const people = { ...(to !== null && { to }), ...(from !== null && { from }) };
  const asked = { url: address ?? read, secret: given(settings, 'secret'), ...people };
  // Here too: of another address than was meant nothing goes anywhere.
  checkTarget(kind, asked, isArgument);
  const agent = await agentOf(context);
  const wish = { kind, name: name === null ? null : nameOf(name), ...asked, isArgument };
  const outcome = await agent.noticeAdd(wish);
  requireDone(outcome, hint);
  if (settings.isOn('json')) out.json(outcome);
  else {
    sentence(out, outcome.because);
    out.talk('try it: autogit-node notify test');
  }
  return exit.ok;
}

/** `notify list`: nothing of it is secret. */
export async function list(context: Context): Promise<number> {
  const { settings, out } = context;
  const found = await (await agentOf(context)).notices();
  if (settings.isOn('json')) {
    const rows = found.rows.map((row) => ({
      ...row,
      since: new Date(row.since).toISOString(),
      failing: row.failing && { ...row.failing, since: new Date(row.failing.since).toISOString() },
      heard: row.heard === null ? null : new Date(row.heard).toISOString(),
    }));
    out.json({ ...found, rows });
  } else out.data(noticesView(found, out, Date.now()));
  return exit.ok;
}

export function noticesView(
  { rows, quiet }: NoticesAnswer,
  form: { isTerminal: boolean; columns: number },
  now: number,
): string {
  const { isTerminal } = form;
  const cells = rows.map((row) => [
    ...[row.name, row.kind, row.shown],
    isTerminal ? span(Math.max(0, now - row.since)) : new Date(row.since).toISOString(),
    stateOf(row, (at) => (isTerminal ? `${span(Math.max(0, now - at))} ago` : new Date(at).toISOString())),
  ]);
  const head = ['NAME', 'KIND', 'TO', 'SINCE', 'STATE'];
  const table = rows.length > 0 ? [printTold({ head, rows: cells, spare: ['SINCE', 'KIND'] }, form)] : [];
  if (!isTerminal) return table.join('\n');
  const none = attentionLine('nobody is told when something is wrong', 'autogit-node notify add --help', form.columns);
  const hours = quiet === null ? [] : [`# it is quiet ${shown(quietWords(quiet))}`];
  return [...(rows.length === 0 ? [none] : table), ...hours].join('\n');
}

/** Who never heard anything is not called told: nothing was to be told yet, or it could not be. */
function stateOf({ waiting, failing, heard }: NoticesAnswer['rows'][number], when: (at: number) => string): string {
  if (failing !== null) {
    const since = heard === null ? 'never reached; first tried' : 'not reached since';
    return `${since} ${when(failing.since)}: ${failing.because}`;
  }
  if (waiting > 0) return `${plural(waiting, 'notice')} ${waiting === 1 ? 'waits' : 'wait'}`;
  return heard === null ? 'no notice yet; tests do not count' : 'told';
}

/** `notify remove NAME`. */
export async function remove(context: Context): Promise<number> {
  const { settings, out, args } = context;
  const name = nameOf(args[0] as string);
  const outcome = await (await agentOf(context)).noticeRemove(name);
  requireDone(outcome, hint);
  if (settings.isOn('json')) out.json(outcome);
  else sentence(out, outcome.because);
  return exit.ok;
}

/** `notify test [NAME]`: exit 1 where one of them could not be told. */
export async function test(context: Context): Promise<number> {
  const { settings, out, args } = context;
  const name = args[0] === undefined ? null : nameOf(args[0]);
  const { rows } = await (await agentOf(context)).noticeTest(name);
  if (settings.isOn('json')) out.json({ rows });
  else {
    const cells = rows.map(({ name: one, kind, shown: to, said }) => [one, kind, to, said]);
    out.data(printTold({ head: ['NAME', 'KIND', 'TO', 'SAID'], rows: cells, spare: ['KIND'] }, out));
  }
  return rows.every(({ ok }) => ok) ? exit.ok : exit.failed;
}

/** Undefined: none were said; null: there shall be none. Throws `bad-flag`. */
function hoursOf(text: string | undefined): ReturnType<typeof parseQuietHours> | undefined {
  if (text === undefined) return undefined;
  const hours = text === 'off' ? null : parseQuietHours(text);
  if (text === 'off' || hours !== null) return hours;
  throw new AutogitError('bad-flag', `"${text.slice(0, 40)}" are no quiet hours`, {
    hint: 'off, or as in: autogit-node notify quiet 22:00-07:00',
  });
}

/** `notify quiet [HOURS]`: shows them without; `off` ends them. */
export async function quiet(context: Context): Promise<number> {
  const { settings, out, args } = context;
  const [text] = args;
  const hours = hoursOf(text);
  if (settings.isOn('notify.all') && !hours)
    throw new AutogitError('bad-flag', '--all goes with the hours in which it shall be quiet', {
      hint: 'as in: autogit-node notify quiet 22:00-07:00 --all',
    });
  const agent = await agentOf(context);
  if (hours === undefined) {
    const found = (await agent.notices()).quiet;
    if (settings.isOn('json')) out.json({ quiet: found });
    else sentence(out, found === null ? 'there are no quiet hours' : `it is quiet ${quietWords(found)}`);
    return exit.ok;
  }
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone || 'UTC';
  const outcome = await agent.change({
    kind: 'quiet-hours',
    quiet: hours && { ...hours, zone, all: settings.isOn('notify.all') },
  });
  requireDone(outcome, hint);
  if (settings.isOn('json')) out.json(outcome);
  else sentence(out, outcome.because);
  return exit.ok;
}
