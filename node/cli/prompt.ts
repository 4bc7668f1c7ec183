import { AutogitError } from '../../protocol/errors.ts';
import { shownLines } from '../foreign-text.ts';
import { columnsOf, wrapped } from '../text-wrap.ts';

export interface PromptOptions {
  /** False with --no-input. */
  input: boolean;
  /** True with --yes: the default answers. */
  yes: boolean;
  signal?: AbortSignal;
}

/** Beside the last words of a question. */
const answerRoom = 4;

export const hasTerminal = (options: PromptOptions): boolean =>
  options.input && process.stdin.isTTY === true && process.stderr.isTTY === true;

/**
 * Asks on the terminal (stderr, so that stdout stays data); an empty line takes the default. Throws `no-terminal`
 * without a terminal or with --no-input, an AbortError on Ctrl-C or when the signal says so.
 */
export const ask = (question: string, fallback: string, options: PromptOptions): Promise<string> =>
  answerTo(question, fallback, options, false);

/** The same for a secret: nothing of what is typed is shown. */
export const askHidden = (question: string, options: PromptOptions): Promise<string> =>
  answerTo(question, '', options, true);

async function answerTo(
  question: string,
  fallback: string,
  options: PromptOptions,
  isHidden: boolean,
): Promise<string> {
  if (options.yes) return fallback;
  if (!hasTerminal(options))
    throw new AutogitError('no-terminal', `nobody can answer: ${question}`, {
      hint: 'answer by flag, or take the default with --yes: autogit-node help COMMAND',
    });
  const { createInterface } = await import('node:readline/promises');
  const mine = turn();
  await mine.comes;
  if (options.signal?.aborted) {
    mine.over();
    throw new DOMException('withdrawn before it was asked', 'AbortError');
  }
  const { Writable } = await import('node:stream');
  // readline edits the line itself, in raw mode: it shows only what it can write.
  const nowhere = new Writable({ write: (_chunk, _encoding, done) => done() });
  const lines = createInterface({ input: process.stdin, output: isHidden ? nowhere : process.stderr, terminal: true });
  // Words are not broken at the terminal's edge; readline has the last line, which it writes anew as one types.
  const parts = shownLines(question)
    .split('\n')
    .flatMap((line) => wrapped(line, columnsOf(process.stderr) - answerRoom));
  const asked = `${parts.pop() ?? ''} `;
  for (const part of parts) process.stderr.write(`${part}\n`);
  if (isHidden) process.stderr.write(asked);
  // readline eats Ctrl-C and Ctrl-D and then never answers: both end the question here.
  let isLeftOpen = isHidden;
  const ended = new Promise<never>((_, reject) => {
    lines.once('SIGINT', () => {
      isLeftOpen = true;
      process.kill(process.pid, 'SIGINT');
      reject(new DOMException('interrupted at a question', 'AbortError'));
    });
    lines.once('close', () => {
      isLeftOpen = true;
      reject(new AutogitError('no-terminal', `the terminal closed before an answer: ${question}`));
    });
  });
  try {
    const answered = lines.question(asked, options.signal ? { signal: options.signal } : {});
    const answer = (await Promise.race([answered, ended])).trim();
    return answer === '' ? fallback : answer;
  } finally {
    // What comes next, the shell's prompt too, begins a line of its own.
    const isNewLineDue = isLeftOpen;
    lines.close();
    if (isNewLineDue) process.stderr.write('\n');
    mine.over();
  }
}

let last: Promise<void> = Promise.resolve();

/** There is one keyboard: whoever asks waits until the question before is answered or withdrawn. */
function turn(): { comes: Promise<void>; over: () => void } {
  const comes = last;
  let over = (): void => {};
  last = new Promise((resolve) => {
    over = resolve;
  });
  return { comes, over };
}

/** A yes-or-no question: `[Y/n]` or `[y/N]`; anything else than y or n is asked again. */
export async function confirm(question: string, fallback: boolean, options: PromptOptions): Promise<boolean> {
  for (;;) {
    const answer = await ask(`${question} [${fallback ? 'Y/n' : 'y/N'}]`, fallback ? 'y' : 'n', options);
    if (/^y(es)?$/i.test(answer)) return true;
    if (/^no?$/i.test(answer)) return false;
  }
}

/**
 * A question that a person is asked and a script is not: without a terminal it counts as agreed. Throws `no-terminal` with --no-input, which
 * never asks and fails instead.
 */
export async function isConfirmed(question: string, fallback: boolean, options: PromptOptions): Promise<boolean> {
  if (options.yes) return true;
  if (!options.input)
    throw new AutogitError('no-terminal', `--no-input, and nobody has answered: ${question}`, {
      hint: 'the same command with --yes',
    });
  return !hasTerminal(options) || confirm(question, fallback, options);
}

/**
 * What nobody gets by an answer that was not given. `what`: that somebody has to say. Throws `no-terminal` where nobody can, and
 * `--yes` does not stand for it.
 */
export async function isAgreed(what: string, question: string, options: PromptOptions): Promise<boolean> {
  if (options.yes) return true;
  if (!hasTerminal(options))
    throw new AutogitError('no-terminal', `nobody here can say that ${what}`, { hint: 'the same command with --yes' });
  return confirm(question, false, options);
}
