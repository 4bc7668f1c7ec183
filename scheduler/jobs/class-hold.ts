import type { Ledger, Run } from '../../protocol/ledger.ts';
import { sharedTimings } from '../../protocol/timings.ts';
import { span } from '../phrases.ts';
import { jobTimings } from './job-timings.ts';
import type { Hold, JobsState } from './jobs-state.ts';
import { type JobsTurn, setLead } from './jobs-turn.ts';

/*
 * A lost run may live on GitLab's answers until GitLab knows that it is lost, and on the last of them a moment longer.
 * Until it surely stands still nobody gets a grant by which GitLab could give its retry away (SAFETY J1): GitLab gives a
 * runner every job whose tags it has, so that is every class that has a tag in common with the run.
 */

/** So often GitLab is told that a run is lost before its not knowing holds nothing up any more: most of a minute. */
const triesHeld = 4;

/** From now until GitLab knows, and a moment more; called again when it knows. */
export function holdFor(turn: JobsTurn, { run, class: key }: Run): void {
  const { lead } = turn.jobs;
  if (lead === null) return;
  const since = lead.holds[run]?.since ?? turn.at;
  const hold: Hold = { class: key, since, until: turn.at + sharedTimings.standsStillMs };
  setLead(turn, { holds: { ...lead.holds, [run]: hold } });
}

/** A leader that begins knows no hold of the one before: whatever was lost lately, or GitLab may not know, is held anew. */
export function holdAnew(turn: JobsTurn, { runs }: Ledger): void {
  for (const run of Object.values(runs)) {
    if (run.state !== 'lost') continue;
    const isLately = turn.wallMs - (run.finishedAt ?? run.takenAt) < jobTimings.adoptionMs;
    if (run.failedAtGitlab !== true || isLately) holdFor(turn, run);
  }
}

/** Holds that hold nothing up any more. */
export function dropHolds(turn: JobsTurn, ledger: Ledger): void {
  const { lead } = turn.jobs;
  if (lead === null) return;
  const all = Object.entries(lead.holds);
  const left = all.filter(([run, hold]) => hold.until > turn.at || isBeingFailed(turn.jobs, ledger, run));
  if (left.length < all.length) setLead(turn, { holds: Object.fromEntries(left) });
}

/** `at` at which the last hold of a class ends, as far as that is a time; -Infinity when nothing holds it. */
export const heldUntil = (jobs: JobsState, key: string): number =>
  Math.max(...holdsOf(jobs, key).map(([, { until }]) => until), Number.NEGATIVE_INFINITY);

/** Why that class waits for lost runs; null when it does not. */
export function holdReason(jobs: JobsState, at: number, ledger: Ledger, key: string): string | null {
  const until = heldUntil(jobs, key);
  if (until > at) return `a lost run of this class may still breathe: no grant for another ${span(until - at)}`;
  return holdsOf(jobs, key).some(([run]) => isBeingFailed(jobs, ledger, run))
    ? 'a lost run of this class may still breathe: GitLab is being told that it is lost'
    : null;
}

/**
 * Grants that are on their way when a run is called lost may bring its retry as soon as GitLab knows. They are mostly
 * answered at once: GitLab is told when they are, or after a while all the same.
 */
export function mayBeRetriedTooSoon({ jobs, at }: JobsTurn, run: string): boolean {
  const hold = jobs.lead?.holds[run];
  if (hold === undefined || jobs.lead === null || at - hold.since >= jobTimings.grantsFirstMs) return false;
  return Object.values(jobs.lead.grants).some((grant) => grant.state === 'out' && mayShareJobs(hold, grant.class));
}

/** A retry that shows up before GitLab is known to know comes of a call whose answer is still on its way. */
const isBeingFailed = (jobs: JobsState, { runs }: Ledger, id: string): boolean => {
  const run = runs[id];
  const tries = jobs.lead?.failing[id]?.tries ?? 0;
  return run?.state === 'lost' && run.failedAtGitlab !== true && tries < triesHeld;
};

const holdsOf = ({ lead }: JobsState, key: string): [string, Hold][] =>
  Object.entries(lead?.holds ?? {}).filter(([, hold]) => mayShareJobs(hold, key));

/** A class is named by its tags. */
function mayShareJobs(hold: Hold, key: string): boolean {
  const tags = key.split(',');
  return hold.class === key || hold.class.split(',').some((tag) => tag !== '' && tags.includes(tag));
}
