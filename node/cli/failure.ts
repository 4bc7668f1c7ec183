import type { ChangeOutcome } from '../../protocol/changes.ts';
import { AutogitError, type ErrorCode, InvariantError, sentenceOf } from '../../protocol/errors.ts';
import { shownLines } from '../foreign-text.ts';
import { stackOf } from '../source-positions.ts';
import { wrapped, wrappedFix } from '../text-wrap.ts';
import { asTyped } from './call-name.ts';

/** The exit codes of INTERFACE.md. */
export const exit = {
  ok: 0,
  failed: 1,
  usage: 2,
  noAgent: 3,
  waiting: 4,
  unhealthy: 5,
  internal: 70,
  interrupted: 130,
} as const;

/** Of what was asked of the mesh: `hint` is where a person looks that it did not do it, or does not know whether it did. */
export function requireDone({ state, because }: ChangeOutcome, hint: string): void {
  if (state !== 'done') throw new AutogitError(state === 'refused' ? 'unsupported' : 'no-leader', because, { hint });
}

const codes: Partial<Record<ErrorCode, number>> = {
  'bad-flag': exit.usage,
  'bad-config': exit.usage,
  'no-terminal': exit.usage,
  'no-agent': exit.noAgent,
  'not-approved': exit.waiting,
  removed: exit.waiting,
};

const fullDisk = new Set(['ENOSPC', 'EDQUOT', 'EFBIG']);

/** Where what a command says goes to a file, its disk may be full: that is no fault of the program's. */
export function foreseen(error: unknown): unknown {
  const { code, syscall } = error instanceof Error ? (error as NodeJS.ErrnoException) : {};
  if (syscall !== 'write' || code === undefined || !fullDisk.has(code)) return error;
  return new AutogitError('store-failed', `what this command has to write does not fit: ${sentenceOf(error)}`, {
    cause: error,
    hint: 'make room where its output goes: df -h',
  });
}

const isInterruption = (error: unknown): boolean => error instanceof Error && error.name === 'AbortError';

export const exitCodeOf = (error: unknown): number =>
  isInterruption(error)
    ? exit.interrupted
    : error instanceof AutogitError
      ? (codes[error.code] ?? exit.failed)
      : exit.internal;

/** `error: sentence` and `fix: hint`, for stderr. What we did not foresee shows its stack: it is our fault. */
export function describeFailure(error: unknown, verbose: boolean, columns = Number.POSITIVE_INFINITY): string {
  if (isInterruption(error)) return '';
  if (error instanceof AutogitError) {
    const cause = verbose && error.cause instanceof Error ? `cause: ${stackOf(error.cause)}\n` : '';
    const lines = (label: string, text: string, cut: typeof wrapped): string =>
      asTyped(shownLines(text))
        .split('\n')
        .flatMap((line) => (line.length <= columns - label.length ? [line] : cut(line, columns - label.length)))
        .map((line, index) => `${index === 0 ? label : ' '.repeat(label.length)}${line}\n`)
        .join('');
    return `${lines('error: ', error.message, wrapped)}${lines('fix: ', error.hint, wrappedFix)}${cause}`;
  }
  const known = error instanceof Error ? error : new Error(String(error));
  const what = known instanceof InvariantError ? 'a broken invariant' : 'an unforeseen error';
  return `error: ${what}: ${known.message}\nfix: please report it with what follows\n${stackOf(known)}\n`;
}

/** What helps where the GitLab that the mesh runs is not as it was asked for. */
export const gitlabHint = 'look at it: autogit-node gitlab';

/** What an agent says of a failure of its own: the cause, and behind an arrow what helps, where it knows that. `otherwise`: the fix then. */
export function failedWith(code: ErrorCode, said: string, otherwise: string): AutogitError {
  const [because = '', hint = otherwise] = said.split(' -> ');
  return new AutogitError(code, because, { hint });
}
