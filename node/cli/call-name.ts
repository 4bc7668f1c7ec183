import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';
import type { Environment } from '../store/home.ts';
import { commands } from './command-table.ts';

const isOnPath = (path: string): boolean =>
  path.split(delimiter).some((folder) => {
    // While npx runs, its own cache stands first in PATH; the next shell will not have it.
    if (folder === '' || /[/\\](_npx|node_modules)[/\\]/.test(`${folder}/`)) return false;
    try {
      accessSync(join(folder, 'autogit-node'), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });

/** How this program is called by whoever started it: people who came by npx have no `autogit-node` in their PATH. */
export function callName(script = process.argv[1] ?? '', env: Environment = process.env): string {
  // Installed in the folder where npx is typed there is no cache in the path; npm says then what it was asked to run.
  const isOurs = /(^|[\s"'/])autogit-node(@[\w.-]+)?(["'\s]|$)/.test(env.npm_lifecycle_script ?? '');
  const isNpx = /[/\\]_npx[/\\]/.test(script) || (env.npm_command === 'exec' && isOurs);
  return isNpx && !isOnPath(env.PATH ?? '') ? 'npx autogit-node' : 'autogit-node';
}

const words = [...new Set(commands.map(({ path }) => path.split(' ')[0] as string))].filter(
  (word) => !word.startsWith('__'),
);
/** A command in a sentence of ours: our name before a word that is a command, or a flag. */
const ours = new RegExp(`(?<![\\w/.-])(?<!npx )autogit-node (?=(?:${words.join('|')}|help|-)\\b|--)`, 'g');

/** For a shell, as it stands: quoted where it must be. */
const quoted = (word: string): string =>
  /^[\w@%+=:,./-][\w@%+=:,./~-]*$/.test(word) ? word : `'${word.replace(/'/g, "'\\''")}'`;

/** `--home DIR`, where it was typed: what is typed next is meant for the same agent. */
export function typedHome(argv: readonly string[] = process.argv.slice(2)): string | null {
  const own = argv.includes('--') ? argv.slice(0, argv.indexOf('--')) : argv;
  const at = own.findLastIndex((word) => word === '--home' || word.startsWith('--home='));
  const home = own[at] === '--home' ? own[at + 1] : own[at]?.slice('--home='.length);
  return home ? `--home ${quoted(home)}` : null;
}

/** The command is for another machine, which has a home of its own: `on kang: …`, but not `it goes on by itself: …`. */
const elsewhere = /(?<!\b(?:goes|go) )\b(?:on (?!this |another disk|a terminal)[^:]+|types there):\s+(?:sudo )?$/i;

/** Typed at the machine that comes. */
const isInvite = /\bAUTOGIT_INVITE=\S* $/;

/** Help is the same for every home. */
const asksHelp = /^autogit-node (?:help\b|[^:]*--help\b)/;

/** A text whose commands can be typed as they stand here, by whoever typed this one. */
export function asTyped(text: string, name = callName(), home = typedHome()): string {
  if (name === 'autogit-node' && home === null) return text;
  return text.replace(ours, (_, at: number) => {
    // What ends on a colon goes on below it.
    const before = text
      .slice(0, at)
      .split(/;|(?<!: *)\n/)
      .at(-1) as string;
    const after = text.slice(at).split(/[;\n]/)[0] as string;
    const isOther =
      elsewhere.test(before) || isInvite.test(before) || after.includes(' --home ') || asksHelp.test(after);
    return home === null || isOther ? `${name} ` : `${name} ${home} `;
  });
}

/** The same in a pipe, where this program has one name; what a script reads, or pastes, is still meant for the same agent. */
export const asPiped = (text: string): string => asTyped(text, 'autogit-node');
