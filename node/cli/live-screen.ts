import { AutogitError } from '../../protocol/errors.ts';
import { showDuration } from '../settings/quantities.ts';
import type { Output } from './context.ts';
import { cut } from './table.ts';

/** What needs attention ends with what to type: cut off, it would say neither. */
function wrapped(line: string, columns: number): string[] {
  const lines: string[] = [];
  let rest = line;
  while (rest.length > columns) {
    const at = rest.lastIndexOf(' ', columns);
    if (at < columns / 2) break;
    lines.push(rest.slice(0, at).trimEnd());
    rest = `#   ${rest.slice(at).trimStart()}`;
  }
  return [...lines, cut(rest, columns)];
}

/** What a screen may show of a picture: the first lines, each one line long but for attention. What is missing is said. */
export function fitScreen(text: string, columns: number, rows: number): string {
  const lines = text
    .split('\n')
    .flatMap((line) => (line.startsWith('# ') ? wrapped(line, columns) : [cut(line, columns)]));
  if (lines.length < rows) return lines.join('\n');
  const kept = Math.max(1, rows - 2);
  return [...lines.slice(0, kept), `… ${lines.length - kept} more lines: a higher window, or autogit-node status`].join(
    '\n',
  );
}

const grey = (text: string): string =>
  text
    .split('\n')
    .map((line) => `\u001b[2m${line}\u001b[0m`)
    .join('\n');

/** Its agent is away for now; a watch goes on. Anything else ends it. */
export const isAway = (error: unknown): error is AutogitError =>
  error instanceof AutogitError && ['no-agent', 'timed-out'].includes(error.code);

/**
 * The screen of a watch (`-w`): news as they come; while the agent does not answer, the last picture greyed under a line
 * that says how old it is. Old news is never shown as new.
 */
export class LiveScreen {
  readonly #out: Output;
  readonly #now: () => number;
  #last: { text: string; at: number } | null = null;
  #isAway = false;

  constructor(out: Output, now: () => number = () => performance.now()) {
    this.#out = out;
    this.#now = now;
  }

  show(text: string): void {
    this.#last = { text, at: this.#now() };
    this.#isAway = false;
    this.#draw(text);
  }

  /** `error`: why nothing is known at the moment. */
  away(error: AutogitError): void {
    const age = this.#last === null ? '' : `; what follows is ${showDuration(this.#now() - this.#last.at)} old`;
    const line = `waiting for the agent: ${error.message}${age}`;
    if (!this.#out.isTerminal) {
      if (!this.#isAway) this.#out.talk(`# ${line}   -> ${error.hint}`);
    } else {
      const old = this.#last === null ? '' : `\n\n${this.#last.text}`;
      this.#draw(`${line}\n  -> ${error.hint}${old}`, 2);
    }
    this.#isAway = true;
  }

  #draw(text: string, freshLines = Number.POSITIVE_INFINITY): void {
    const out = this.#out;
    if (!out.isTerminal) return text === '' ? undefined : out.data(text);
    const lines = fitScreen(text, out.columns, process.stdout.rows ?? 1000).split('\n');
    out.restart();
    const [fresh, old] = [lines.slice(0, freshLines), lines.slice(freshLines)];
    out.data([...fresh, ...(old.length > 0 ? [grey(old.join('\n'))] : [])].join('\n'));
  }
}

/** `q` ends a watch, as it does elsewhere. The keyboard is given back by what is returned. */
export const quitOnKey = (quit: () => void): (() => void) =>
  onKeys((text) => {
    if (text.includes('q') || text.includes('\u0004')) quit();
  });

/** Keys as they are typed, without Enter; Ctrl-C and Ctrl-Z do what they do elsewhere. The keyboard is given back by what is returned. */
export function onKeys(typed: (text: string) => void): () => void {
  const { stdin } = process;
  if (!stdin.isTTY || !process.stdout.isTTY) return () => {};
  const raw = (on: boolean): void => void stdin.setRawMode(on);
  const key = (keys: Buffer): void => {
    const text = keys.toString();
    typed(text);
    // Without its line discipline the terminal sends no signals any more.
    if (text.includes('\u0003')) process.kill(process.pid, 'SIGINT');
    if (text.includes('\u001a')) {
      raw(false);
      process.once('SIGCONT', () => raw(true));
      process.kill(process.pid, 'SIGTSTP');
    }
  };
  raw(true);
  stdin.on('data', key);
  stdin.resume();
  return () => {
    stdin.off('data', key);
    raw(false);
    stdin.pause();
  };
}
