import { shownClass } from '../../protocol/ids.ts';
import { leavingOf } from '../disconnecting.ts';
import type { InputOf } from '../inputs.ts';
import { note } from '../note.ts';
import { wake } from '../part-turn.ts';
import { cut } from '../phrases.ts';
import { foundClass, lostClass } from './class-edits.ts';
import { attemptsOf, mayWrite, setAttempts } from './classes.ts';
import { jobTimings } from './job-timings.ts';
import type { ClassAttempts } from './jobs-state.ts';
import { type JobsTurn, mint } from './jobs-turn.ts';

/*
 * A class whose runner GitLab no longer knows: an admin who tidied up, a token that was reset, a restore from a backup
 * that is older than the runner. Whatever hints at it (a 403 to a request, a new `connect`) makes the leader ask GitLab
 * about the token itself; only GitLab's own no counts, and then the class gets a new runner (SAFETY J7).
 */

export const isBeingChecked = ({ checkAt }: ClassAttempts, at: number): boolean =>
  checkAt !== null && at < checkAt - jobTimings.classAskAgainMs + jobTimings.classAnswerMs;

export function suspectClass(turn: JobsTurn, key: string): void {
  if (attemptsOf(turn.jobs, key).checkAt === null) setAttempts(turn, key, { checkAt: turn.at });
}

/**
 * Connected anew, perhaps to a GitLab that was installed anew at the same address, or gone on from a copy that is older than a runner
 * (SAFETY J8): every class that was kept is asked about.
 */
export function suspectKept(turn: JobsTurn): void {
  const [was, is] = [turn.jobs.seen.ledger?.gitlab, turn.context.ledger?.gitlab];
  if (turn.jobs.lead === null || was === undefined || is === undefined || was === is) return;
  const isSame = was.url === is.url && was.token === is.token && was.instance === is.instance;
  if (isSame && was.epoch === is.epoch) return;
  for (const key of Object.keys(turn.context.ledger?.classes ?? {})) suspectClass(turn, key);
}

export function checkClasses(turn: JobsTurn): void {
  const { committed } = turn.context;
  if (turn.jobs.lead === null || committed === null || !mayWrite(turn) || leavingOf(committed) !== null) return;
  for (const [key, { checkAt }] of Object.entries(turn.jobs.lead.classes)) {
    const entry = committed.classes[key];
    if (checkAt === null) continue;
    if (entry?.state !== 'ready' || entry.token === null) {
      setAttempts(turn, key, { checkAt: null });
      continue;
    }
    wake(turn, turn.at < checkAt ? checkAt : turn.at + jobTimings.classAnswerMs);
    if (turn.at < checkAt) continue;
    turn.effects.push({ kind: 'check-runner', class: key, token: entry.token });
    setAttempts(turn, key, { checkAt: turn.at + jobTimings.classAskAgainMs });
  }
}

export function runnerChecked(turn: JobsTurn, input: InputOf<'runner-checked'>): void {
  const entry = turn.context.ledger?.classes[input.class];
  if (turn.jobs.lead === null || entry?.state !== 'ready' || entry.token !== input.token) return;
  if (input.state === 'unclear') return;
  if (input.state === 'known') {
    if (entry.lost !== undefined) turn.edits.push(foundClass(input.class, input.token));
    return setAttempts(turn, input.class, { checkAt: null });
  }
  const what = entry.given ? 'the runner token for' : `runner ${entry.runner ?? ''} for`;
  const because = cut(`GitLab does not know ${what} ${shownClass(input.class)} any more (${input.because})`);
  const nonce = mint(turn, 'class');
  turn.edits.push(lostClass(input.class, input.token, nonce, because));
  if (entry.lost === undefined)
    note(turn, { event: 'class-lost', level: 'warn', because, fields: { class: input.class } });
  // A given one is asked about again: its owner may bring it back.
  if (entry.given) return setAttempts(turn, input.class, { checkAt: turn.at + jobTimings.classAskAgainMs });
  setAttempts(turn, input.class, {
    nonce,
    made: null,
    createAskedAt: Number.NEGATIVE_INFINITY,
    createNotBefore: turn.at,
    misses: 0,
    missBecause: '',
    notBefore: turn.at,
    // Holds grants of the old token back until the edit is committed.
    checkAt: turn.at + jobTimings.classAskAgainMs,
  });
}
