import { lstatSync, realpathSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { dirname } from 'node:path';
import { AutogitError, sentenceOf } from '../../protocol/errors.ts';
import { checkValues } from '../settings/join-options.ts';
import { showBytes, showDuration } from '../settings/quantities.ts';
import { configOf, loadSettings, type Settings } from '../settings/settings.ts';
import type { Note } from '../settings/settings-note.ts';
import { type Flag, flags, variableOf } from '../settings/settings-table.ts';
import { makeFolder } from '../store/home.ts';
import { version } from '../version.ts';
import type { Context } from './context.ts';
import { exit } from './failure.ts';
import { attentionLine, printTable } from './table.ts';

const fileOf = ({ settings }: Context): string => configOf(settings);

/** Keys whose values are nobody's business. */
const secretKeys = new Set(['invite', 'approve.words']);
/** So may the address of a webhook be, and whatever has a password in it. */
const noteValue = ({ key, text }: Note): string =>
  /\.notify\[.*\.url$/.test(key) || text.includes('@') ? '[set]' : text;

/** What becomes of a key that is none of ours. */
const became = ({ fate, as }: Note): string =>
  ({
    obeyed: as === undefined ? 'file' : `file, as ${as}`,
    mesh: 'decided by the mesh',
    'not yet': 'not yet',
    overruled: `overruled by ${as}`,
    placeholder: 'not filled in',
  })[fate];

const plain = (value: unknown): string =>
  value === null ? '-' : typeof value === 'boolean' ? (value ? 'on' : 'off') : [value].flat().join(',') || '-';

/** Every setting, its value in force and its source; also the names by which it is set. */
export async function config(context: Context): Promise<number> {
  const { out, settings } = context;
  const given = Object.fromEntries(
    settings
      .entries()
      .filter(({ source }) => source === 'flag')
      .map(({ key, value }) => [key, value as string | boolean]),
  );
  const all = await loadSettings(null, given);
  const rows = flags.map((flag) => {
    const value = all.get(flag.key);
    const shown = secretKeys.has(flag.key) && value !== null ? '[set]' : value;
    return { key: flag.key, value: shown, source: all.source(flag.key), variable: variableOf(flag) };
  });
  if (settings.isOn('json')) {
    const others = all.notes.map((note) => ({
      key: note.key,
      line: note.line,
      value: noteValue(note),
      fate: note.fate,
      setting: note.as ?? null,
    }));
    out.json({ file: fileOf(context), settings: rows, others, unknownVariables: all.unknownVariables });
  } else showSettings(context, rows, all);
  // What no agent could start with is shown all the same, and then named.
  checkValues(all);
  return exit.ok;
}

interface Row {
  key: string;
  value: unknown;
  source: string;
  variable: string;
}

function showSettings(context: Context, rows: readonly Row[], all: Settings): void {
  const { out } = context;
  // Bytes, ms and bare figures are for scripts.
  const people: Partial<Record<Flag['kind'], (amount: number) => string>> = out.isTerminal
    ? { duration: showDuration, size: showBytes, percent: (amount) => `${amount} %` }
    : {};
  const show = (value: unknown, kind: Flag['kind']): string =>
    typeof value === 'number' && people[kind] ? people[kind](value) : plain(value);
  const shownRows = rows.map((row, index) => [
    row.key,
    show(row.value, flags[index]?.kind ?? 'text'),
    row.source,
    row.variable,
  ]);
  out.data(printTable({ head: ['KEY', 'VALUE', 'FROM', 'VARIABLE'], spare: ['VARIABLE'], rows: shownRows }, out));
  showOthers(context, all.notes);
  for (const name of all.unknownVariables) out.talk(`# ${name} is set and means nothing`);
}

function showOthers({ out }: Context, notes: readonly Note[]): void {
  if (notes.length === 0) return;
  const rows = notes.map((note) => ({ key: note.key, value: noteValue(note), fate: became(note) }));
  if (!out.isTerminal) {
    const cells = rows.map(({ key, value, fate }) => [key, value, fate, '-']);
    return out.data(printTable({ head: [], rows: cells }, out));
  }
  out.data('');
  const head = ['OTHER KEY OF THE FILE', 'WHAT BECOMES OF IT', 'VALUE'];
  const cells = rows.map(({ key, value, fate }) => [key, fate, value]);
  out.data(printTable({ head, spare: ['VALUE'], rows: cells }, out));
  out.data('\n# in words   -> autogit-node doctor');
}

/** Writes an autogit.yml for this machine. */
export async function init(context: Context): Promise<number> {
  const { out, settings } = context;
  const file = fileOf(context);
  const { machineFigures } = await import('../machine/figures.ts');
  const { settingsTemplate } = await import('../settings/settings-template.ts');
  const text = settingsTemplate({ host: hostname(), version, ...(await machineFigures()) });
  if (!settings.isOn('configForce')) refuseExisting(file, settings.text('config') !== null);
  write(file, text);
  if (settings.isOn('json')) out.json({ file });
  else out.data(out.isTerminal ? `wrote ${file}` : file);
  out.talk(attentionLine('each line counts when its # is taken away', 'autogit-node config', out.columns));
  return exit.ok;
}

function refuseExisting(file: string, isNamed: boolean): void {
  if (!lstatSync(file, { throwIfNoEntry: false })) return;
  throw new AutogitError('unsupported', `${file} is there already, and is left as it is`, {
    hint: isNamed
      ? `to overwrite it: autogit-node config init --force --config ${file}`
      : 'to overwrite it: autogit-node config init --force',
  });
}

/** Whole, or not at all. Where the name is a link (people keep such files in one folder), what it leads to is written. */
function write(file: string, text: string): void {
  const found = lstatSync(file, { throwIfNoEntry: false });
  try {
    makeFolder(dirname(file), 0o700);
    const place = found?.isSymbolicLink() ? realpathSync(file) : file;
    const kind = found?.isSymbolicLink() ? lstatSync(place) : found;
    if (kind && !kind.isFile()) throw new Error('it is no file');
    const fresh = `${place}.new-${process.pid}`;
    try {
      writeFileSync(fresh, text, { flag: 'wx', mode: 0o644 });
      renameSync(fresh, place);
    } finally {
      rmSync(fresh, { force: true });
    }
  } catch (cause) {
    throw new AutogitError('home-unwritable', `${file} cannot be written: ${sentenceOf(cause)}`, {
      cause,
      hint: 'make its folder writable for this user, or name another file: autogit-node config init --config FILE',
    });
  }
}
