import type { Ledger } from '../../protocol/ledger.ts';
import { span } from '../phrases.ts';
import { memoOf, setMemo } from './classes.ts';
import type { JobsState } from './jobs-state.ts';
import type { JobsTurn } from './jobs-turn.ts';

/*
 * A lost run may have lived on GitLab's last answer. Until it surely stands still nobody gets a grant by which GitLab could
 * give its retry away (SAFETY J1): GitLab gives a runner every job whose tags it has, so that is every class that has a tag
 * in common with the one of the run.
 */

export function holdClass(turn: JobsTurn, key: string, ms: number): void {
  setMemo(turn, key, { holdUntil: Math.max(memoOf(turn.jobs, key).holdUntil, turn.at + ms) });
}

export const wasHeld = (jobs: JobsState, key: string): boolean =>
  memoOf(jobs, key).holdUntil > Number.NEGATIVE_INFINITY;

/** `at` until which a class gets no grant for the sake of lost runs; -Infinity when nothing holds it. */
export function heldUntil(jobs: JobsState, ledger: Ledger, key: string): number {
  let until = Number.NEGATIVE_INFINITY;
  for (const [other, { holdUntil }] of Object.entries(jobs.lead?.classes ?? {}))
    if (holdUntil > until && mayShareJobs(ledger.classes, key, other)) until = holdUntil;
  return until;
}

/** Why that class waits for lost runs; null when it does not. */
export function holdReason(jobs: JobsState, at: number, ledger: Ledger, key: string): string | null {
  const until = heldUntil(jobs, ledger, key);
  if (until === Number.NEGATIVE_INFINITY) return null;
  if (until > at) return `a lost run of this class may still breathe: no grant for another ${span(until - at)}`;
  return isBeingFailed(jobs, ledger, key)
    ? 'a lost run of this class may still breathe: GitLab is being told that it is lost'
    : null;
}

/** So often GitLab is told that a run is lost before its not knowing holds nothing up any more: most of a minute. */
const triesHeld = 4;

/** A retry that shows up before GitLab is known to know comes of a call whose answer is still on its way. */
const isBeingFailed = (jobs: JobsState, { runs, classes }: Ledger, key: string): boolean =>
  Object.entries(jobs.lead?.failing ?? {}).some(([id, { tries }]) => {
    const run = runs[id];
    if (run?.state !== 'lost' || run.failedAtGitlab === true || tries >= triesHeld) return false;
    return wasHeld(jobs, run.class) && mayShareJobs(classes, key, run.class);
  });

function mayShareJobs(classes: Ledger['classes'], one: string, other: string): boolean {
  const tags = classes[one]?.tags ?? [];
  return one === other || classes[other]?.tags.some((tag) => tags.includes(tag)) === true;
}
