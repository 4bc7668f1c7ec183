import { Command as Commander, CommanderError, Option } from 'commander';
import { AutogitError } from '../../protocol/errors.ts';
import { nearWord } from '../../scheduler/jobs/near-word.ts';
import { loadSettings } from '../settings/settings.ts';
import { type Flag, flagsOf, spellingOf } from '../settings/settings-table.ts';
import { wrapped } from '../text-wrap.ts';
import { version } from '../version.ts';
import type { Command } from './command.ts';
import { commands, groups } from './command-table.ts';
import { processOutput } from './output.ts';
import { listenForStop } from './stopping.ts';
import { topicOf, topics } from './topics.ts';

const epilogue = [
  'Exit codes: 0 ok, 1 failed, 2 usage, 3 no agent is running here, 4 waiting for approval or removed from the mesh, 5 something is unhealthy, 70 internal error, 130 interrupted.',
  'Every flag has an AUTOGIT_ variable and a key in autogit.yml: autogit-node config.',
  'The pages that are named as docs/… lie in the folder docs of: autogit-node paths',
];

/** As wide as commander's own help is. */
const helpColumns = (): number => (process.stdout.isTTY ? process.stdout.columns || 80 : 80);

const epilogueLines = (): string =>
  ['', ...epilogue.flatMap((sentence) => wrapped(sentence, helpColumns()))].join('\n');

/** What it does for this command, what may be said, and what is so where nothing is. */
function helpOf({ help, helpOf, choices, default: unsaid, kind }: Flag, command: string): string {
  const isTold = choices?.every((one) => one === unsaid || help.includes(one)) ?? true;
  const known = isTold ? [] : [(choices ?? []).join(', ')];
  const own = helpOf?.[command];
  // What is so for one command alone it says itself.
  const isSaid = own?.includes('default: ') ?? false;
  const usual =
    kind !== 'switch' && typeof unsaid === 'string' && unsaid !== '' && !isSaid ? [`default: ${unsaid}`] : [];
  const more = [...known, ...usual].join('; ');
  return `${own ?? help}${more === '' ? '' : ` (${more})`}`;
}

/** Commander's option of a flag of the table. */
export function optionOf(flag: Flag, command = '*'): Option {
  const long = flag.kind === 'switch' && flag.default === true ? `--no-${flag.name}` : `--${flag.name}`;
  const value = flag.value ?? (flag.choices ? flag.choices.join('|') : 'VALUE');
  const tail = flag.kind === 'switch' ? '' : flag.kind === 'optional' ? ` [${value}]` : ` <${value}>`;
  const option = new Option(`${flag.short ? `-${flag.short}, ` : ''}${long}${tail}`, helpOf(flag, command));
  if (flag.kind === 'list') option.argParser((text: string, before: string[] | undefined) => [...(before ?? []), text]);
  return option;
}

/** What the command line said, by key of the table; what it did not say is absent. */
function givenBy(commander: Commander, flags: readonly Flag[]): Record<string, boolean | string | string[]> {
  const given: Record<string, boolean | string | string[]> = {};
  for (const flag of flags) {
    const name = optionOf(flag).attributeName();
    if (commander.getOptionValueSource(name) !== 'cli') continue;
    given[flag.key] = commander.getOptionValue(name) as boolean | string | string[];
  }
  return given;
}

/** The command line, made from the two tables. `start` is given what was chosen; nothing has run yet. */
export function buildProgram(
  start: (command: Command, args: (string | undefined)[], given: Record<string, boolean | string | string[]>) => void,
): Commander {
  const program = new Commander('autogit-node');
  program.description('Turns the machines of a home lab into one self-healing GitLab CI mesh');
  program.version(version, '-V, --version', 'the version').addHelpText('after', epilogueLines);
  for (const flag of flagsOf('*')) program.addOption(optionOf(flag));
  program.configureHelp({ showGlobalOptions: true, sortSubcommands: false, minWidthToWrap: 20 });
  quiet(program);
  const made = new Map<string, Commander>([['', program]]);
  for (const command of commands) addCommand(made, command, program, start);
  sortByTopic(program);
  return program;
}

/** A list of forty is read by nobody: they stand below what they are for. */
function sortByTopic(program: Commander): void {
  const order = Object.values(topics).flat();
  const ownTopic = topicOf('help') as string;
  program.commandsGroup(ownTopic).helpCommand('help [command]', 'what a command does, and its flags');
  for (const one of program.commands) one.helpGroup(topicOf(one.name()) ?? ownTopic);
  // What is hidden has no place.
  const place = (one: Commander): number =>
    topicOf(one.name()) === undefined ? order.length : order.indexOf(one.name());
  (program.commands as Commander[]).sort((a, b) => place(a) - place(b));
}

function quiet(commander: Commander): void {
  // Its guesses are far-fetched (`--home` for `--nope`): ours are made in usage().
  commander
    .exitOverride()
    .showSuggestionAfterError(false)
    .configureOutput({ outputError: () => {} });
}

function addCommand(
  made: Map<string, Commander>,
  command: Command,
  program: Commander,
  start: Parameters<typeof buildProgram>[0],
): void {
  const words = command.path.split(' ');
  const name = words.pop() as string;
  const parent = groupOf(made, words.join(' '));
  const own = parent.command(`${name}${command.args ? ` ${command.args}` : ''}`, { hidden: name.startsWith('__') });
  own.description(command.help);
  quiet(own);
  made.set(command.path, own);
  const flags = flagsOf(command.path);
  for (const flag of flags) own.addOption(optionOf(flag, command.path));
  own.action((...all: unknown[]) => {
    const args = all.slice(0, -2).flat() as (string | undefined)[];
    const above = words.length === 0 ? {} : givenAbove(parent, flagsOf(words.join(' ')), flags);
    start(command, args, { ...givenBy(program, flagsOf('*')), ...above, ...givenBy(own, flags) });
  });
}

/** Commander gives `dashboard key --role viewer` to `dashboard`, which has a flag of that name too. One that only that has is no flag here. */
function givenAbove(parent: Commander, flags: readonly Flag[], own: readonly Flag[]): ReturnType<typeof givenBy> {
  const given = givenBy(parent, flags);
  const odd = flags.find(({ key }) => key in given && !own.some((flag) => flag.key === key));
  if (odd !== undefined)
    throw new CommanderError(1, 'commander.unknownOption', `error: unknown option '${spellingOf(odd)}'`);
  return given;
}

function groupOf(made: Map<string, Commander>, path: string): Commander {
  const known = made.get(path);
  if (known) return known;
  const group = (made.get('') as Commander)
    .command(path)
    .description(groups[path] ?? '')
    .helpCommand(false);
  quiet(group);
  made.set(path, group);
  return group;
}

const elsewhere = 'it is about this machine alone; of another one: autogit-node';
/** What who types so has in mind, where the command's own help does not say it. */
const meantBy: { path: string; sentence: RegExp; hint: string }[] = [
  { path: 'pause', sentence: /^too many/, hint: `${elsewhere} drain NODE` },
  { path: 'resume', sentence: /^too many/, hint: `${elsewhere} undrain NODE` },
  {
    path: 'leave',
    sentence: /^too many/,
    hint: 'it ends the agent of this machine: type it alone, on the one that shall leave',
  },
  { path: 'approve', sentence: /^too many/, hint: 'join the four words by dashes: --words amber-fox-lake-moon' },
  {
    path: 'gitlab connect',
    sentence: /^unknown option '--token'/,
    hint: 'put the token into a variable, where nobody else reads it, and name that: --token-env TOKEN',
  },
];

/** A usage error in our words: one sentence, and what to type. */
function usage(error: CommanderError, argv: readonly string[]): AutogitError {
  const sentence = error.message.replace(/^error: /, '');
  const words = ` ${argv.join(' ')} `;
  const named = commands.findLast(({ path }) => words.includes(` ${path} `));
  const help = `autogit-node ${named ? `${named.path} ` : ''}--help`;
  const near = nearOf(sentence, named);
  const meant = meantBy.find((one) => one.path === named?.path && one.sentence.test(sentence))?.hint;
  const hint = meant ?? (near === null ? help : `did you mean ${near}? See: ${help}`);
  return new AutogitError('bad-flag', sentence, { cause: error, hint });
}

/** Which flag or command was probably meant by the unknown one; null when none is near. */
function nearOf(sentence: string, command: Command | undefined): string | null {
  const [, kind, word = ''] = /^unknown (option|command) '(.*)'$/.exec(sentence) ?? [];
  if (kind === 'command') return nearWord(word, topWords());
  if (kind !== 'option' || !word.startsWith('--')) return null;
  const known = [...(command ? flagsOf(command.path) : []), ...flagsOf('*')].map(spellingOf);
  const near = nearWord(
    word.slice(2),
    [...known, '--help', '--version'].map((one) => one.slice(2)),
  );
  return near === null ? null : `--${near}`;
}

const topWords = (): string[] =>
  [...new Set(commands.map(({ path }) => path.split(' ')[0] as string))].filter((word) => !word.startsWith('__'));

/** The command line without the flags of all commands that stand before the command. */
function afterGlobals(argv: readonly string[]): readonly string[] {
  const first = argv[0];
  if (first === undefined || !first.startsWith('-')) return argv;
  const flag = flagsOf('*').find((one) => [spellingOf(one), `-${one.short}`].includes(first));
  return afterGlobals(argv.slice(flag && flag.kind !== 'switch' ? 2 : 1));
}

/** `help cache clear` is `cache clear --help`: commander would look at the first of these words alone. */
function asAsked(argv: readonly string[]): readonly string[] {
  const words = afterGlobals(argv);
  if (words[0] !== 'help' || words.length === 1 || words[1]?.startsWith('-')) return argv;
  const about = words[1] === 'help' ? [] : words.slice(1);
  return [...argv.slice(0, argv.length - words.length), ...about, '--help'];
}

/** `gitlab conect`, `help foo`: commander takes the one for an argument too many, the other for nothing at all. */
function refuseUnknownWords(argv: readonly string[]): void {
  const [first, ...more] = afterGlobals(argv);
  if (first === undefined) return;
  if (first === 'help') {
    requireKnown('', more[0], [...topWords(), 'help']);
    return refuseUnknownWords(more);
  }
  let path = first;
  for (const word of more) {
    const under = commands
      .filter((one) => one.path.startsWith(`${path} `))
      .map((one) => one.path.split(' ')[path.split(' ').length] as string);
    const takesArguments = commands.some((one) => one.path === path && one.args !== undefined);
    if (word.startsWith('-') || under.length === 0 || takesArguments) return;
    requireKnown(`${path} `, word, under);
    path = `${path} ${word}`;
  }
}

function requireKnown(group: string, word: string | undefined, known: readonly string[]): void {
  if (word === undefined || word.startsWith('-') || known.includes(word)) return;
  const near = nearWord(word, known);
  throw new AutogitError('bad-flag', `unknown command '${group}${word}'`, {
    hint: `${near === null ? '' : `did you mean ${group}${near}? See: `}autogit-node ${group}--help`,
  });
}

/** Parses and runs one command line; resolves with the exit code. Throws `bad-flag` on wrong usage. */
export async function runProgram(argv: readonly string[]): Promise<number> {
  let chosen: {
    command: Command;
    args: (string | undefined)[];
    given: Record<string, boolean | string | string[]>;
  } | null = null;
  const program = buildProgram((command, args, given) => {
    chosen = { command, args, given };
  });
  refuseUnknownWords(argv);
  try {
    program.parse([...asAsked(argv)], { from: 'user' });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    if (error.exitCode === 0 || error.code === 'commander.help') return error.exitCode === 0 ? 0 : 2;
    throw usage(error, argv);
  }
  if (chosen === null) return 0;
  return start(chosen);
}

async function start({
  command,
  args,
  given,
}: {
  command: Command;
  args: (string | undefined)[];
  given: Record<string, boolean | string | string[]>;
}): Promise<number> {
  const stop = listenForStop();
  try {
    const settings = await loadSettings(command.path, given, process.env, command.ignoresFile);
    // In a variable or in autogit.yml it is meant for the commands that have it.
    if (command.hasNoJson && settings.isOn('json') && settings.source('json') === 'flag')
      throw new AutogitError('bad-flag', `${command.path} has nothing to say as JSON`, {
        hint: `autogit-node ${command.path} --help`,
      });
    const out = processOutput({ quiet: settings.isOn('quiet') });
    return await command.run({ command: command.path, args, settings, out, stop });
  } catch (error) {
    if (!(error instanceof AutogitError) || error.hint !== 'autogit-node --help') throw error;
    throw new AutogitError(error.code, error.message, {
      cause: error,
      hint: `autogit-node ${command.path} --help`,
    });
  }
}
