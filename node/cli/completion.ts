import { AutogitError } from '../../protocol/errors.ts';
import { type Flag, flagsOf, spellingOf } from '../settings/settings-table.ts';
import { commands, groups } from './command-table.ts';
import { kindOf, kindOfFlag } from './completion-words.ts';
import type { Context } from './context.ts';
import { exit } from './failure.ts';

const shown = commands.filter(({ path }) => !path.startsWith('__'));
const first = [...new Set(shown.map(({ path }) => path.split(' ')[0] as string))];
/** Words that may follow these: `gitlab` -> deploy, copies, …; `gitlab copies` -> add, remove. */
const under = (words: string): string[] => {
  const longer = shown.filter(({ path }) => path.startsWith(`${words} `));
  return [...new Set(longer.map(({ path }) => path.split(' ')[words.split(' ').length] as string))];
};
/** Commands of two words that more may follow. */
const pairs = [
  ...new Set(
    shown.map(({ path }) => path.split(' ')).flatMap((words) => (words.length > 2 ? [`${words[0]} ${words[1]}`] : [])),
  ),
];
/** The flags that may follow a first word: its own and those of its subcommands. */
const flagsAfter = (word: string): Flag[] => [
  ...new Set(shown.filter(({ path }) => path.split(' ')[0] === word).flatMap(({ path }) => flagsOf(path))),
];
const spellings = (flag: Flag): string[] => [spellingOf(flag), ...(flag.short ? [`-${flag.short}`] : [])];
const after = (word: string): string[] => [
  ...under(word),
  ...(word === 'completion' ? Object.keys(shells) : []),
  ...[...flagsOf(word), ...flagsOf('*')].map(spellingOf),
];
/** Commands of several words, the longest first: each has flags of its own. */
const longer = shown
  .map(({ path }) => path)
  .filter((path) => path.includes(' '))
  .sort((a, b) => b.length - a.length);
const takesValue = ({ kind }: Flag): boolean => kind !== 'switch' && kind !== 'optional';
const valued = (word: string): string =>
  [...flagsAfter(word), ...flagsOf('*')].filter(takesValue).flatMap(spellings).join('|');

/** Case arms of bash: what the value of a flag may be. What is no case here is a file, or nobody's to know. */
const bashValues = first.flatMap((word) =>
  flagsAfter(word)
    .map(
      (flag) =>
        [
          spellings(flag)
            .map((one) => `"${word} ${one}"`)
            .join('|'),
          flag,
        ] as const,
    )
    .flatMap(([pattern, { key, kind, choices }]) => {
      // Where it needs no value another flag may follow as well.
      if (choices && kind === 'optional') return [`    ${pattern}) words="${choices.join(' ')} $words" ;;`];
      if (choices) return [`    ${pattern}) words="${choices.join(' ')}" ;;`];
      return kindOfFlag(key) === null ? [] : [`    ${pattern}) kind=${kindOfFlag(key)} ;;`];
    }),
);
const bashArguments = shown.flatMap((command) => {
  const kind = kindOf(command);
  return kind === null ? [] : [`        "${command.path}") kind=${kind} ;;`];
});
const bashPairs = pairs.map((pair) => `        "${pair}") words="${under(pair).join(' ')}" ;;`);

const bashLonger = longer.map((path) => {
  const words = [...under(path), ...[...flagsOf(path), ...flagsOf('*')].map(spellingOf)];
  return `    "${path}"|"${path} "*) words="${words.join(' ')}" ;;`;
});

// bash takes `node:desktop-1` for three words, and puts what follows the colon alone into the line: `all` has them as one.
// `line` is what was typed without flags: where it is a command, a node's name or a job is what may follow it.
const bash = (): string => `_autogit_node() {
  local current="" previous="" first="" words="${first.join(' ')}" kind="" skip="" line="" i word
  local home=() all=()
  for ((i = 0; i <= COMP_CWORD; i++)); do
    word="\${COMP_WORDS[i]}"
    if [ "$i" -gt 0 ] && { [ "$word" = ":" ] || [ "$previous" = ":" ]; }; then all[\${#all[@]}-1]+="$word"; else all+=("$word"); fi
    previous="$word"
  done
  current="\${all[\${#all[@]}-1]}" previous=""
  for ((i = 1; i < \${#all[@]} - 1; i++)); do
    word="\${all[i]}"
    if [ "$word" = "=" ]; then continue; fi
    previous=""
    if [ -n "$skip" ]; then
      if [ "$skip" = --home ]; then home=(--home "$word"); fi
      skip=""
      continue
    fi
    case "$first" in
      "") case "$word" in ${flagsOf('*').filter(takesValue).flatMap(spellings).join('|')}) skip="$word" ;; esac ;;
${first.map((one) => `      ${one}) case "$word" in ${valued(one)}) skip="$word" ;; esac ;;`).join('\n')}
    esac
    case "$word" in
      -*) previous="$word" ;;
      *) line="\${line:+$line }$word" ;;
    esac
    if [ -n "$first" ]; then continue; fi
    case "$word" in
${first.map((one) => `      ${one}) first="$word" words="${after(one).join(' ')}" ;;`).join('\n')}
    esac
  done
  if [ "$current" = "=" ]; then current=""; fi
  case "$line" in
${bashLonger.join('\n')}
  esac
  if [ -n "$skip" ]; then words=""; fi
  case "$first $previous" in
${bashValues.join('\n')}
    *) if [ -z "$skip" ] && [ "\${current#-}" = "$current" ]; then
      case "$line" in
${[...bashPairs, ...bashArguments].join('\n')}
      esac
    fi ;;
  esac
  if [ -n "$kind" ]; then words="$("\${COMP_WORDS[0]}" "\${home[@]}" __complete "$kind" 2>/dev/null | cut -f 1)"; fi
  COMPREPLY=($(compgen -W "$words" -- "$current"))
  case "$current\${COMP_WORDBREAKS-}" in
    *:*:*) COMPREPLY=("\${COMPREPLY[@]#"\${current%"\${current##*:}"}"}") ;;
  esac
}
complete -o default -F _autogit_node autogit-node
`;

const zsh = (): string => `#compdef autogit-node
autoload -U +X bashcompinit && bashcompinit
${bash()}`;

const quote = (text: string): string => `'${text.replace(/'/g, "\\'")}'`;
const seen = (words: string): string =>
  `'${words
    .split(' ')
    .map((word) => `__fish_seen_subcommand_from ${word}`)
    .join('; and ')}'`;

/** fish shows what stands behind the tab as the word's description. */
const fishFlag = (path: string, flag: Flag): string => {
  const kind = kindOfFlag(flag.key);
  const values = flag.choices ? flag.choices.join(' ') : kind === null ? null : `(__autogit_node_words ${kind})`;
  const short = flag.short ? ` -s ${flag.short}` : '';
  // Of a place for backups a folder is one too.
  const how = kind === 'keepers' ? '-r -F' : flag.kind === 'optional' ? '-f' : '-x';
  const value = values === null ? '' : ` ${how} -a ${quote(values)}`;
  return `complete -c autogit-node -n ${seen(path)} -l ${spellingOf(flag).slice(2)}${short}${value} -d ${quote(flag.helpOf?.[path] ?? flag.help)}`;
};

const fish = (): string =>
  [
    'function __autogit_node_words',
    '  set -l words (commandline -opc)',
    '  set -l home',
    '  for i in (seq 2 (math (count $words) - 1))',
    '    if test "$words[$i]" = --home; set home --home $words[(math $i + 1)]; end',
    '  end',
    '  $words[1] $home __complete $argv[1] 2>/dev/null',
    'end',
    'complete -c autogit-node -f',
    ...first.map((word) => {
      const help = shown.find(({ path }) => path === word)?.help ?? groups[word] ?? '';
      return `complete -c autogit-node -n __fish_use_subcommand -a ${word} -d ${quote(help)}`;
    }),
    ...first.flatMap((word) => [...under(word).map((sub) => `complete -c autogit-node -n ${seen(word)} -a ${sub}`)]),
    ...shown.flatMap(({ path }) => flagsOf(path).map((flag) => fishFlag(path, flag))),
    ...shown.flatMap((command) => {
      const kind = kindOf(command);
      return kind === null
        ? []
        : [`complete -c autogit-node -n ${seen(command.path)} -a ${quote(`(__autogit_node_words ${kind})`)}`];
    }),
    ...pairs.flatMap((pair) => under(pair).map((sub) => `complete -c autogit-node -n ${seen(pair)} -a ${sub}`)),
    `complete -c autogit-node -n ${seen('completion')} -a 'bash zsh fish'`,
    ...flagsOf('*').map((flag) => `complete -c autogit-node -l ${spellingOf(flag).slice(2)} -d ${quote(flag.help)}`),
    '',
  ].join('\n');

const shells: Record<string, () => string> = { bash, zsh, fish };

/** Prints the completion script of a shell: `source <(autogit-node completion bash)`. */
export async function completion({ args, out }: Context): Promise<number> {
  const make = Object.hasOwn(shells, args[0] as string) ? shells[args[0] as string] : undefined;
  if (!make) throw new AutogitError('bad-flag', `no completion for "${args[0]}"`, { hint: 'bash, zsh or fish' });
  out.data(make());
  return exit.ok;
}
