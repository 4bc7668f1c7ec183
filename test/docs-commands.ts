import { commands } from '../node/cli/command-table.ts';
import { type Flag, flags, flagsOf } from '../node/settings/settings-table.ts';

/**
 * Calls of autogit-node in a page, without what surrounds them: typed in its code blocks (sh and console fences, indented
 * ones), or only named in its prose, where arguments may be left away.
 */
export function commandsIn(page: string): { typed: string[]; named: string[] } {
  const typed: string[] = [];
  let fence: string | null = null;
  for (const line of page.replaceAll('\\\n', ' ').split('\n')) {
    const mark = /^ *```(\S*)/.exec(line);
    if (mark) {
      fence = fence === null ? (mark[1] as string) : null;
      continue;
    }
    const isTyped =
      fence === null ? /^ {4}\S/.test(line) : fence === 'sh' || (fence === 'console' && /^[$#] /.test(line));
    if (isTyped) typed.push(...callsIn(line.trim().replace(/^[$#] /, '')));
  }
  const prose = page.replace(/^( *)```[\s\S]*?^\1```/gm, '');
  const named = [...prose.matchAll(/`([^`\n]+)`/g)].flatMap((match) => callsIn(match[1] as string));
  return { typed, named };
}

/** Each call of a line of shell: without `sudo`, variables, pipes and comments. */
const callsIn = (line: string): string[] =>
  line
    .replace(/(?:^| {2,})#.*$/, '')
    .split(/\||&&|;| {3,}/)
    .map((part) => part.trim().replace(/^(?:sudo |[A-Z_]+=\S* |npx )*/, ''))
    .filter((part) => /^autogit-node(?: |$)/.test(part));

/** A synopsis may have its optional parts in brackets. */
const wordsOf = (line: string): string[] => (line.replace(/[[\]]/g, ' ').match(/'[^']*'|"[^"]*"|\S+/g) ?? []).slice(1);
const spellings = (flag: Flag): string[] => [
  ...(flag.default === true ? [`--no-${flag.name}`] : [`--${flag.name}`]),
  ...(flag.short ? [`-${flag.short}`] : []),
];
const knownTo = (path: string, name: string): boolean =>
  ['--help', '-h', '--version', '-V'].includes(name) ||
  [...flagsOf(path), ...flagsOf('*')].some((flag) => spellings(flag).includes(name));

/** Flags apart from what stands plain; the value of a flag belongs to it. */
function parted(given: readonly string[]): { plain: string[]; used: string[] } {
  const plain: string[] = [];
  const used: string[] = [];
  for (let at = 0; at < given.length; at += 1) {
    const word = given[at] as string;
    if (!word.startsWith('-')) {
      plain.push(word);
      continue;
    }
    const name = word.split('=')[0] as string;
    used.push(name);
    const flag = flags.find((one) => spellings(one).includes(name));
    const takesNext = flag !== undefined && flag.kind !== 'switch' && !word.includes('=');
    if (takesNext && given[at + 1]?.startsWith('-') === false) at += 1;
  }
  return { plain, used };
}

/** What is wrong with a command line, by the tables that the program is made from; null when nothing is. */
export function commandFault(line: string, isTyped: boolean): string | null {
  const { plain, used } = parted(wordsOf(line));
  const path = plain[0] === 'help' ? '' : plain.join(' ');
  if (path === '') return used.every((flag) => knownTo('', flag)) ? null : `${line}: no such flag`;
  const command = commands
    .filter((one) => `${path} `.startsWith(`${one.path} `))
    .sort((a, b) => b.path.length - a.path.length)[0];
  if (command === undefined) return `${line}: no such command`;
  const wrong = used.find((flag) => !knownTo(command.path, flag));
  if (wrong !== undefined) return `${line}: ${command.path} has no ${wrong}`;
  const args = plain.length - command.path.split(' ').length;
  const most = command.args?.match(/[[<]/g)?.length ?? 0;
  const least = isTyped ? (command.args?.match(/</g)?.length ?? 0) : 0;
  return args > most || args < least ? `${line}: ${command.path} takes ${command.args ?? 'no argument'}` : null;
}
