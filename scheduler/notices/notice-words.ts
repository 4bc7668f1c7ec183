import type { Notice, OpenCause } from '../../protocol/notices.ts';
import { cut, plural, span } from '../phrases.ts';
import type { Cause } from './causes.ts';
import { known } from './severity.ts';

/** One thing to tell: a cause as it is now, or as it was when it was told, where it is over. */
export type Due =
  | { state: 'broken' | 'still'; cause: Cause; open: OpenCause | null }
  | { state: 'fixed'; cause: null; open: OpenCause };

export const severityOf = (due: Due): Notice['severity'] =>
  due.state === 'fixed' ? due.open.severity : due.cause.severity;

/** It happened, and is not broken. */
export const isOnce = ({ cause }: Due): boolean => cause !== null && cause.once !== null;

const sentenceOf = (due: Due): string => (due.state === 'fixed' ? due.open.sentence : due.cause.sentence);

/** `broken`, `still so after 2 h`, `fixed after 2 h`; a question is asked, not broken. */
function stateWords(due: Due, wallMs: number): string {
  const isQuestion = known(severityOf(due)) === 'info';
  const after = due.open === null ? '' : ` after ${span(Math.max(0, wallMs - due.open.since))}`;
  if (due.state === 'fixed') return `${isQuestion ? 'over' : 'fixed'}${after}`;
  if (due.state === 'still') return `still so${after}`;
  if (isQuestion || isOnce(due)) return '';
  return due.open !== null && due.open.fixedAt !== null ? 'broken again' : 'broken';
}

/** One line, of what others chose (tags, what GitLab answers) too: nothing that moves a cursor or turns the direction of writing. */
const short = (sentence: string, chars: number): string =>
  cut(sentence.replace(/[\s\p{Cc}\p{Cf}\p{Zl}\p{Zp}]+/gu, ' '), chars);

type Words = Pick<Notice, 'title' | 'text' | 'fix' | 'act' | 'severity'>;

export function wordsOfOne(due: Due, mesh: string, wallMs: number): Words {
  const state = stateWords(due, wallMs);
  const { so = [], fix = null } = due.cause ?? {};
  const more = so.slice(0, 3).map((sentence) => `so: ${short(sentence, 120)}`);
  if (so.length > more.length) more.push(`and ${plural(so.length - more.length, 'more line')}: autogit-node status`);
  return {
    title: short(`${mesh}${state === '' ? '' : `, ${state}`}: ${sentenceOf(due)}`, 200),
    text: [short(sentenceOf(due), 400), ...more].join('\n'),
    fix: fix === null ? null : short(fix, 300),
    act: due.cause?.act ?? null,
    severity: severityOf(due),
  };
}

const listedMost = 5;

/** Several at once: the worst in the title, a line each. */
export function wordsOfMany(dues: readonly [Due, ...Due[]], mesh: string, wallMs: number): Words {
  const line = (due: Due): string => {
    const state = stateWords(due, wallMs);
    return short(`${state !== '' ? state : isOnce(due) ? 'happened' : 'asked'}: ${sentenceOf(due)}`, 130);
  };
  const lines = dues.slice(0, listedMost).map(line);
  if (dues.length > lines.length) lines.push(`and ${dues.length - lines.length} more`);
  return {
    title: short(`${mesh}: ${dues.length} things, the worst ${line(dues[0])}`, 200),
    text: lines.join('\n'),
    fix: 'autogit-node status',
    act: null,
    severity: severityOf(dues[0]),
  };
}
