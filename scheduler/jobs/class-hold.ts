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
    if (holdUntil > until && mayShareJobs(ledger, key, other)) until = holdUntil;
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

/** Tries to fail a lost run at GitLab (most of a minute) after which an unanswered one no longer holds its class. */
const triesHeld = 4;

/**
 * True while a lost run of the class is being failed at GitLab. A retry that is in the queue by then comes of a call whose
 * answer is still on its way.
 */
const isBeingFailed = (jobs: JobsState, ledger: Ledger, key: string): boolean =>
  Object.values(ledger.runs).some(
    (run) =>
      run.state === 'lost' &&
      run.failedAtGitlab !== true &&
      wasHeld(jobs, run.class) &&
      (jobs.lead?.failing[run.run]?.tries ?? 0) < triesHeld &&
      mayShareJobs(ledger, key, run.class),
  );

function mayShareJobs({ classes }: Ledger, one: string, other: string): boolean {
  const tags = classes[one]?.tags ?? [];
  return one === other || classes[other]?.tags.some((tag) => tags.includes(tag)) === true;
}
