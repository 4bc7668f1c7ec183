/** Words in lines of at most so many characters; a word that is longer stands alone. */
export function wrapped(text: string, most: number): string[] {
  const lines: string[] = [];
  for (const word of text.split(' ')) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + 1 + word.length <= most) lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(word);
  }
  return lines;
}

/** What a fix begins with that is a command; ours may be called by another name by then, which has that one in it. */
const command =
  /autogit-node|^(?:sudo|systemctl|docker|kill|dmesg|mv|chmod|ip|apt|apt-get|useradd|top|grep|fuser|timedatectl|nvidia-smi|getent|curl|df|ls|export|mount|cp|cat|rm|btrfs|npx|ssh) /;

/** A fix as words and the command at its end, where it ends with one that can be pasted: `on kang: systemctl status autogit-node`. */
export function splitFix(text: string): { words: string; command: string | null } {
  const [, words, rest = text] = /^(.*:) (.*)$/.exec(text) ?? [];
  if (command.test(rest)) return { words: words ?? '', command: rest };
  return { words: text, command: null };
}

/**
 * A sentence that may end with a command to type, in lines of at most so many characters: `read this: autogit-node status`. The command is
 * never broken, it could not be pasted; nor is a line that is set in by hand.
 */
export function wrappedFix(text: string, most: number): string[] {
  if (text.length <= most) return [text];
  const [, words, rest = text] = /^(.*:) (.*)$/.exec(text) ?? [];
  const last = command.test(rest) ? [rest] : wrapped(rest, most);
  return words === undefined ? last : [...wrapped(words, most), ...last];
}

/** A command of ours, or one as root, at the end of a sentence. */
const endsInCommand = /: (?:sudo |npx )*(?:autogit-node|apt|docker|systemctl) \S[^:]*$/;

/** What is told, line by line, as it fits: words are wrapped, a command at the end stays whole, and so does what is set in by hand. */
export const wrappedTalk = (text: string, most: number): string =>
  text
    .split('\n')
    .flatMap((line) => {
      if (line.length <= most || line.startsWith(' ')) return [line];
      // What an arrow leads to is to be typed.
      const [, words, typed] = /^(.+?) +-> (.+)$/.exec(line) ?? [];
      if (words !== undefined && typed !== undefined && command.test(typed))
        return [...wrapped(words, most), `${words.startsWith('#') ? '#   ' : '  '}-> ${typed}`];
      return endsInCommand.test(line) ? wrappedFix(line, most) : wrapped(line, most);
    })
    .join('\n');

/** Of what is written to it now; a pipe has no lines that end, and a terminal of no columns does not know its own. */
export const columnsOf = ({ isTTY, columns }: { isTTY?: boolean; columns?: number }): number =>
  isTTY === true ? Math.max(40, columns || 100) : Number.POSITIVE_INFINITY;
