import type { Leaving } from '../../protocol/gitlab-leaving.ts';
import { type NodeId, own } from '../../protocol/ids.ts';
import type { Ledger, Run } from '../../protocol/ledger.ts';
import { gitlabGone, leavingOf } from '../disconnecting.ts';
import { hostingDrained } from '../hosting/hosted-edits.ts';
import type { InputOf } from '../inputs.ts';
import { wake } from '../part-turn.ts';
import { listed } from '../phrases.ts';
import { holdFor, isHeldForGrants } from './class-hold.ts';
import { mayWrite } from './classes.ts';
import { backoffMs, jobTimings } from './job-timings.ts';
import { isBusy, isOpen, isUntold, type JobsState, type LeadState, noDisconnect } from './jobs-state.ts';
import { type JobsTurn, setLead } from './jobs-turn.ts';
import { lostRun } from './run-edits.ts';

/*
 * GitLab is being disconnected (../disconnecting.ts). No grant, no new runner; the jobs that run end, or are given up
 * (`now`), and GitLab hears of each; then the runners are deleted there, and the ledger forgets GitLab. `force`: what GitLab
 * does not answer is left, and named.
 */

export function tendDisconnect(turn: JobsTurn): void {
  const { ledger, committed } = turn.context;
  const leaving = leavingOf(committed);
  if (turn.jobs.lead === null || ledger === null) return;
  const isOver = ledger.gitlab.hosted?.ending?.drained === true;
  if (leaving === null || leavingOf(ledger) === null || isOver) return setDisconnect(turn, noDisconnect);
  giveUpRuns(turn, ledger, leaving);
  // That a run was given up may be proposed only: until it is committed the run may be anybody's.
  const isCommitted = committed?.runs === ledger.runs && !Object.values(ledger.runs).some(isOpen);
  if (!isCommitted || whyDisconnectWaits(turn.jobs, { at: turn.at, self: turn.context.self }, ledger) !== null) {
    wake(turn, turn.at + jobTimings.lookEveryMs);
    return;
  }
  if (ledger.gitlab.token === null) {
    return settled(turn, ledger, leaving.of, goneSentence(ledger, 0, [], null));
  }
  const { nextAt, because } = turn.jobs.lead.disconnect;
  // It was tried: what a person who says `force` by now does not want to wait for.
  if (leaving.force && because !== null) return runnersRemoved(turn, { removed: 0, left: [], because });
  wake(turn, nextAt);
  if (turn.at < nextAt || !mayWrite(turn)) return;
  turn.effects.push({ kind: 'remove-runners', of: leaving.of });
  wake(turn, turn.at + jobTimings.removeLimitMs);
  return setDisconnect(turn, { nextAt: turn.at + jobTimings.removeLimitMs });
}

function setDisconnect(turn: JobsTurn, change: Partial<LeadState['disconnect']>): void {
  const { disconnect } = turn.jobs.lead ?? { disconnect: noDisconnect };
  const next = { ...disconnect, ...change };
  const isSame =
    next.nextAt === disconnect.nextAt && next.tries === disconnect.tries && next.because === disconnect.because;
  // The lead stays the same object where nothing changes.
  if (!isSame) setLead(turn, { disconnect: next });
}

function giveUpRuns(turn: JobsTurn, ledger: Ledger, { now, force, since }: Leaving): void {
  for (const run of Object.values(ledger.runs)) {
    // Its result is on its way to a GitLab that does not answer; with `force` nobody waits for it longer.
    const sinceMs = turn.wallMs - Math.max(since, run.finishedAt ?? since);
    const isStuck = run.state === 'finished' && force && sinceMs > jobTimings.removeLimitMs;
    if (isStuck) turn.edits.push(lostRun(run.run, 'GitLab was disconnected before it had the result', turn.wallMs));
    else if (now && isBusy(run)) {
      turn.edits.push(lostRun(run.run, 'GitLab is disconnected, at once', turn.wallMs));
      // Its machine may be away, and the run lives on GitLab's answers; GitLab itself may try it again, by a grant of before (SAFETY J1).
      holdFor(turn, run);
    }
  }
}

/** What must be over first; null when nothing is. Also what a person is told. */
export function whyDisconnectWaits(
  jobs: JobsState,
  { at, self }: { at: number; self: NodeId },
  ledger: Ledger,
): string | null {
  const { lead } = jobs;
  if (lead === null) return 'there is no leader';
  const announced = Object.values(jobs.announced).flatMap(({ runs }) => runs);
  const open = [...Object.values(ledger.runs), ...announced.filter(({ run }) => ledger.runs[run] === undefined)].filter(
    isOpen,
  );
  if (open.length > 0) return runsSentence(open);
  const isForced = leavingOf(ledger)?.force === true;
  const lost = Object.values(ledger.runs).filter(isUntold);
  // What a grant on its way holds up is told of all the same, by force too, before nobody would be.
  const isHeld = lost.some(({ run }) => lead.failing[run] === undefined && isHeldForGrants(lead, at, run));
  if (lost.length > 0 && (!isForced || isHeld)) return `GitLab is told that ${jobsOf(lost)} ended`;
  if (Object.keys(lead.grants).length > 0 || Object.values(lead.adrift).some(({ until }) => until > at))
    return 'a machine may be taking a job in this moment';
  const isMaking = Object.entries(ledger.classes).some(([key, entry]) => {
    const attempts = own(lead.classes, key);
    const isAsked =
      entry.state === 'creating' && attempts !== undefined && attempts.nonce === entry.nonce && attempts.made === null;
    return isAsked && at < attempts.createAskedAt + jobTimings.createLimitMs;
  });
  if (isMaking) return 'GitLab is making a runner in this moment';
  return grantsWait(jobs, lead, { at, self }, ledger);
}

/**
 * A leader of before may have given a grant that is still on its way. A node that told this leader its runs takes no grant
 * of an older term any more, and what it had taken by then stands in its next report; who says nothing is waited for.
 */
function grantsWait(
  jobs: JobsState,
  lead: LeadState,
  { at, self }: { at: number; self: NodeId },
  ledger: Ledger,
): string | null {
  if (at >= lead.since + jobTimings.retireWaitMs) return null;
  for (const [node, { name }] of Object.entries(ledger.nodes)) {
    const announced = jobs.announced[node];
    const heard = jobs.reports[node];
    if (node === self && Object.keys(jobs.own.reserved).length === 0) continue;
    if (announced && heard && heard.at > announced.at && heard.report.reserved.length === 0) continue;
    return `${name} may be taking a job that a former leader gave it`;
  }
  return null;
}

const jobsOf = (runs: readonly Run[]): string =>
  `${runs.length === 1 ? 'job' : 'jobs'} ${listed(runs.slice(0, 5).map(({ job, name }) => `${job} (${name})`))}${runs.length > 5 ? ` and ${runs.length - 5} more` : ''}`;

/** Also where only the ledger is known. */
export const runsSentence = (open: readonly Run[]): string =>
  open.every((run) => run.state === 'finished')
    ? `GitLab gets the result of ${jobsOf(open)}`
    : `${jobsOf(open.filter(isBusy))} ${open.filter(isBusy).length === 1 ? 'runs to its' : 'run to their'} end`;

type Removed = Pick<InputOf<'runners-removed'>, 'removed' | 'left' | 'because'>;

export function runnersRemoved(turn: JobsTurn, input: Removed): void {
  const { ledger } = turn.context;
  const leaving = leavingOf(ledger);
  if (turn.jobs.lead === null || ledger === null || leaving === null) return;
  const { removed, because } = input;
  // The mesh's own one goes away with all that is left in it: it is asked twice, not waited for.
  const isOwn = ledger.gitlab.mode === 'hosted' && turn.jobs.lead.disconnect.tries > 0;
  if (because !== null && !leaving.force && !isOwn) {
    const { tries } = turn.jobs.lead.disconnect;
    const nextAt = turn.at + backoffMs(tries);
    wake(turn, nextAt);
    return setDisconnect(turn, { tries: tries + 1, nextAt, because });
  }
  const known = Object.values(ledger.classes).flatMap(({ runner, given }) =>
    runner === null || given ? [] : [runner],
  );
  const left = because === null ? [] : input.left.length > 0 ? input.left : known;
  return settled(turn, ledger, leaving.of, goneSentence(ledger, removed, left, because));
}

/** Nothing of the mesh is left at GitLab. One that the mesh hosts is taken down by its host now. */
function settled(turn: JobsTurn, ledger: Ledger, of: string, because: string): void {
  const { mode, hosted } = ledger.gitlab;
  turn.edits.push(
    mode === 'hosted' && hosted ? hostingDrained(hosted.data, because) : gitlabGone(of, because, turn.wallMs),
  );
}

function goneSentence(ledger: Ledger, removed: number, left: readonly number[], because: string | null): string {
  const gone = `GitLab at ${ledger.gitlab.url} is disconnected`;
  const deleted = removed === 0 ? '' : `, ${removed} ${removed === 1 ? 'runner' : 'runners'} deleted there`;
  if (because === null) return `${gone}${deleted}`;
  const which =
    left.length === 0
      ? 'runners that the mesh made may be'
      : `${left.length === 1 ? 'runner' : 'runners'} ${left.join(', ')} ${left.length === 1 ? 'is' : 'are'}`;
  return `${gone}${deleted}; ${which} left there, to be deleted by hand (${because})`;
}
