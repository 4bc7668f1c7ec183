import { asTyped } from './cli/call-name.ts';
import { shown, shownLines } from './foreign-text.ts';
import { columnsOf, wrapped, wrappedFix, wrappedTalk } from './text-wrap.ts';

type LineState = 'ok' | 'wait' | 'warn' | 'fail';

const colours: Record<LineState, string> = {
  ok: '\u001b[32m',
  wait: '\u001b[33m',
  warn: '\u001b[33m',
  fail: '\u001b[31m',
};
const indent = ' '.repeat(22);

/** One line of a sentence, as far as it fits. */
function fitted(line: string, most: number): string[] {
  if (line.length <= most) return [line];
  if (!line.startsWith('-> ')) return line.startsWith(' ') ? [line] : wrapped(line, most);
  return wrappedFix(line.slice(3), most - 3).map((part, index) => `${index === 0 ? '->' : '  '} ${part}`);
}

/** A sentence with what to type below it. */
export const withFix = (sentence: string, fix: string | null): string =>
  fix === null ? sentence : `${sentence}\n-> ${fix}`;

/**
 * One line of `join` or `doctor`: `  ok    machine     16 cores`; further lines of the sentence are indented below, and so
 * is what does not fit into `columns`.
 */
export function progressLine(
  state: LineState,
  what: string,
  sentence: string,
  { color = false, columns = Number.POSITIVE_INFINITY }: { color?: boolean; columns?: number } = {},
): string {
  const word = color ? `${colours[state]}${state}\u001b[0m${' '.repeat(6 - state.length)}` : state.padEnd(6);
  const most = Math.max(24, columns - indent.length);
  const [first = '', ...more] = sentence
    .split('\n')
    .map(shown)
    .flatMap((line) => fitted(line, most));
  return [`  ${word}${what.padEnd(12)}${first}`.trimEnd(), ...more.map((line) => `${indent}${line}`)].join('\n');
}

/** Progress of a command that takes a while, one line each, on stderr. */
export interface Progress {
  ok(what: string, sentence: string): void;
  wait(what: string, sentence: string): void;
  warn(what: string, sentence: string): void;
  fail(what: string, sentence: string): void;
  /** A line without a state. */
  say(sentence: string): void;
}

/** A stream as wide as its terminal, asked at every line: a window may be pulled. */
interface Screen {
  isTTY?: boolean;
  columns?: number;
  write(text: string): unknown;
}

export function createProgress(options: { color: boolean; quiet?: boolean; stream?: Screen }): Progress {
  const { quiet = false, stream = process.stderr } = options;
  const write = (text: string): void => void stream.write(text);
  const color = options.color && stream.isTTY === true;
  const print = (state: LineState) => (what: string, sentence: string) => {
    if (!quiet || state === 'fail')
      write(`${progressLine(state, what, asTyped(sentence), { color, columns: columnsOf(stream) })}\n`);
  };
  return {
    ok: print('ok'),
    wait: print('wait'),
    warn: print('warn'),
    fail: print('fail'),
    say: (sentence) => {
      if (!quiet) write(`${wrappedTalk(asTyped(shownLines(sentence)), columnsOf(stream))}\n`);
    },
  };
}
