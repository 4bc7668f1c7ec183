import { AutogitError } from '../../protocol/errors.ts';
import { flagsOf, spellingOf } from '../settings-table.ts';
import { commands } from './command-table.ts';
import type { Context } from './context.ts';
import { exit } from './failure.ts';

const shown = commands.filter(({ path }) => !path.startsWith('__'));
const first = [...new Set(shown.map(({ path }) => path.split(' ')[0] as string))];
const under = (word: string): string[] =>
  shown.filter(({ path }) => path.startsWith(`${word} `)).map(({ path }) => path.split(' ')[1] as string);
const spellings = (path: string): string[] => [...flagsOf(path), ...flagsOf('*')].map(spellingOf);
/** What may follow a first word: its subcommands and the flags of all of them. */
const after = (word: string): string[] => {
  const own = shown
    .filter(({ path }) => path === word || path.startsWith(`${word} `))
    .flatMap(({ path }) => spellings(path));
  return [...under(word), ...new Set(own)];
};

const bash = (): string => `_autogit_node() {
  local current="\${COMP_WORDS[COMP_CWORD]}" words="${first.join(' ')}" word
  for word in "\${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    case "$word" in
${first.map((word) => `      ${word}) words="${after(word).join(' ')}" ;;`).join('\n')}
    esac
  done
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}
complete -o default -F _autogit_node autogit-node
`;

const zsh = (): string => `#compdef autogit-node
autoload -U +X bashcompinit && bashcompinit
${bash()}`;

const quote = (text: string): string => `'${text.replace(/'/g, "\\'")}'`;
const fish = (): string =>
  [
    'complete -c autogit-node -f',
    ...first.map((word) => {
      const help = shown.find(({ path }) => path === word)?.help ?? '';
      return `complete -c autogit-node -n __fish_use_subcommand -a ${word} -d ${quote(help)}`;
    }),
    ...first.flatMap((word) => [
      ...under(word).map((sub) => `complete -c autogit-node -n '__fish_seen_subcommand_from ${word}' -a ${sub}`),
      ...[...new Set(shown.filter(({ path }) => path.split(' ')[0] === word).flatMap(({ path }) => flagsOf(path)))].map(
        (flag) =>
          `complete -c autogit-node -n '__fish_seen_subcommand_from ${word}' -l ${spellingOf(flag).slice(2)} -d ${quote(flag.help)}`,
      ),
    ]),
    ...flagsOf('*').map((flag) => `complete -c autogit-node -l ${spellingOf(flag).slice(2)} -d ${quote(flag.help)}`),
    '',
  ].join('\n');

const shells: Record<string, () => string> = { bash, zsh, fish };

/** Prints the completion script of a shell: `source <(autogit-node completion bash)`. */
export async function completion({ args, out }: Context): Promise<number> {
  const make = shells[args[0] as string];
  if (!make) throw new AutogitError('bad-flag', `no completion for "${args[0]}"`, { hint: 'bash, zsh or fish' });
  out.data(make());
  return exit.ok;
}
