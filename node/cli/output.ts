import { asTyped } from './call-name.ts';

/** Where a command speaks: data on stdout, talk on stderr. */
export interface Output {
  /** True when people read stdout; otherwise tabs, RFC 3339, nothing cut. */
  readonly isTerminal: boolean;
  readonly columns: number;
  data(text: string): void;
  json(value: unknown): void;
  talk(text: string): void;
  /** Clears the screen before the next picture of a watch, on a terminal. */
  restart(): void;
}

export function processOutput(options: { quiet: boolean }): Output {
  const isTerminal = process.stdout.isTTY === true;
  const line = (text: string): string => (text.endsWith('\n') ? text : `${text}\n`);
  const data = (text: string): void => void process.stdout.write(line(text));
  return {
    isTerminal,
    columns: isTerminal ? Math.max(40, process.stdout.columns ?? 100) : Number.POSITIVE_INFINITY,
    // Who reads it may type what it says; a script gets the same words everywhere.
    data: (text) => data(isTerminal ? asTyped(text) : text),
    json: (value) => data(JSON.stringify(value, null, isTerminal ? 2 : 0)),
    talk: (text) => {
      if (!options.quiet) process.stderr.write(line(asTyped(text)));
    },
    restart: () => {
      if (isTerminal) process.stdout.write('\u001b[H\u001b[2J\u001b[3J');
    },
  };
}
