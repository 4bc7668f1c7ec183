import type { Ledger, Run } from '../../protocol/ledger.ts';
import { sharedTimings } from '../../protocol/timings.ts';
import { wake } from '../part-turn.ts';
import { span } from '../phrases.ts';
import { askingFor } from './asking.ts';
import { jobTimings } from './job-timings.ts';
import { type Hold, isUntold, type JobsState, type LeadState } from './jobs-state.ts';
import { type JobsTurn, setLead } from './jobs-turn.ts';

/*
 * A lost run may live on GitLab's answers until GitLab knows that it is lost, and on the last of them a moment longer.
 * Until it surely stands still nobody gets a grant by which GitLab could give its retry away (SAFETY J1): GitLab gives a
 * runner every job whose tags it has, so that is every class that has a tag in common with the run.
 */

/** From now until GitLab knows, and a moment more; called again when it knows. */
export function holdFor(turn: JobsTurn, { run, class: key }: Run): void {
  const { lead } = turn.jobs;
  if (lead === null) return;
  const since = lead.holds[run]?.since ?? turn.at;
  const hold: Hold = { class: key, since, until: turn.at + sharedTimings.standsStillMs };
  setLead(turn, { holds: { ...lead.holds, [run]: hold } });
}

/** A leader that begins knows no hold of the one before, nor when GitLab was told: whatever is lost is held anew. */
export function holdAnew(turn: JobsTurn, { runs }: Ledger): void {
  for (const run of Object.values(runs)) if (run.state === 'lost') holdFor(turn, run);
}

/** Holds of runs that GitLab has long known. Until it knows a hold is kept, also one that holds nothing up for now. */
export function dropHolds(turn: JobsTurn, ledger: Ledger): void {
  const { lead } = turn.jobs;
  if (lead === null) return;
  const all = Object.entries(lead.holds);
  const left = all.filter(([run, hold]) => hold.until > turn.at || isUnknownToGitlab(ledger, run));
  if (left.length < all.length) setLead(turn, { holds: Object.fromEntries(left) });
}

/** `at` at which the last hold of a class ends, as far as that is a time; -Infinity when nothing holds it. */
export const heldUntil = (jobs: JobsState, ledger: Ledger, key: string): number => lastOf(holdsOf(jobs, ledger, key));

const lastOf = (holds: readonly [string, Hold][]): number =>
  Math.max(...holds.map(([, { until }]) => until), Number.NEGATIVE_INFINITY);

/** Why that class waits for lost runs; null when it does not. */
export function holdReason(jobs: JobsState, at: number, ledger: Ledger, key: string): string | null {
  const holds = holdsOf(jobs, ledger, key);
  const until = lastOf(holds);
  if (until > at) return `a lost run of this class may still breathe: no grant for another ${span(until - at)}`;
  const mayStillHold = ([run, { since }]: [string, Hold]): boolean =>
    at - since < jobTimings.holdMostMs && isUnknownToGitlab(ledger, run);
  return holds.some(mayStillHold)
    ? 'a lost run of this class may still breathe: GitLab is being told that it is lost'
    : null;
}

/** GitLab may not be told of it yet, for grants that are on their way. */
export const isHeldForGrants = ({ holds }: Pick<LeadState, 'holds'>, at: number, run: string): boolean =>
  at < (holds[run]?.since ?? Number.NEGATIVE_INFINITY) + jobTimings.grantsFirstMs;

/**
 * Grants that are on their way when a run is called lost may bring its retry as soon as GitLab knows. They are mostly
 * answered at once: GitLab is told when they are, or after a while all the same. A leader that begins waits for reports.
 */
export function mayBeRetriedTooSoon(turn: JobsTurn, ledger: Ledger, run: string): boolean {
  const { jobs, at } = turn;
  const hold = jobs.lead?.holds[run];
  if (jobs.lead === null || hold === undefined) return false;
  const grantsOverAt = hold.since + jobTimings.grantsFirstMs;
  const knowsAt = jobs.lead.since + jobTimings.firstGrantWaitMs;
  const mayShare = (key: string): boolean => mayShareJobs(ledger, hold, key);
  const isAdrift = Object.values(jobs.lead.adrift).some((grant) => grant.until > at && mayShare(grant.class));
  const mayBe = at < grantsOverAt && (at < knowsAt || isAdrift || askingFor(jobs, ledger, mayShare).length > 0);
  if (mayBe) wake(turn, at < knowsAt ? knowsAt : grantsOverAt);
  return mayBe;
}

/** A retry that shows up before GitLab is known to know comes of a call whose answer is still on its way. */
const isUnknownToGitlab = ({ runs }: Ledger, id: string): boolean => {
  const run = runs[id];
  return run !== undefined && isUntold(run);
};

const holdsOf = ({ lead }: JobsState, ledger: Ledger, key: string): [string, Hold][] =>
  Object.entries(lead?.holds ?? {}).filter(([, hold]) => mayShareJobs(ledger, hold, key));

/** A class is named by its tags. A runner that a person made may take untagged jobs beside those of its tags. */
function mayShareJobs({ classes }: Ledger, hold: Hold, key: string): boolean {
  const ofHold = hold.class.split(',');
  const ofKey = key.split(',');
  const isUntagged = (one: string): boolean => one === '' || classes[one]?.given === true;
  return (isUntagged(hold.class) && isUntagged(key)) || ofHold.some((tag) => tag !== '' && ofKey.includes(tag));
}
