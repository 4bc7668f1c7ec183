import { shownLines } from '../foreign-text.ts';
import { columnsOf, wrappedTalk } from '../text-wrap.ts';
import { asPiped, asTyped } from './call-name.ts';
import type { Output } from './context.ts';

/** A sentence that is the answer: as it stands in a pipe, and as wide as the terminal is for a person. */
export function sentence(out: Pick<Output, 'isTerminal' | 'columns' | 'data'>, text: string): void {
  const clean = shownLines(text);
  // What it is lengthened by is there before it is cut into lines.
  out.data(out.isTerminal ? wrappedTalk(asTyped(clean), out.columns) : asPiped(clean));
}

export function processOutput(options: { quiet: boolean }): Output {
  const isTerminal = process.stdout.isTTY === true;
  const line = (text: string): string => (text.endsWith('\n') ? text : `${text}\n`);
  const data = (text: string): void => void process.stdout.write(line(text));
  return {
    isTerminal,
    // A window may be pulled while it is watched.
    get columns() {
      return columnsOf(process.stdout);
    },
    // Who reads it may type what it says; a script gets the same words everywhere.
    data: (text) => data(isTerminal ? asTyped(text) : text),
    json: (value) => data(JSON.stringify(value, null, isTerminal ? 2 : 0)),
    talk: (text) => {
      if (!options.quiet) process.stderr.write(line(wrappedTalk(asTyped(text), columnsOf(process.stderr))));
    },
    restart: () => {
      if (isTerminal) process.stdout.write('\u001b[H\u001b[2J\u001b[3J');
    },
  };
}
