import { invariant } from '../../protocol/errors.ts';
import type { PeerMessage } from '../../protocol/messages.ts';
import { tendStandbys } from '../hosting/choose-standbys.ts';
import { tendSides } from '../hosting/sides-met.ts';
import type { Input } from '../inputs.ts';
import { editsForRemovals } from '../membership-secrets.ts';
import type { PartContext, PartStep } from '../part.ts';
import { wake } from '../part-turn.ts';
import { checkClasses, runnerChecked, suspectKept } from './class-checks.ts';
import { holdAnew } from './class-hold.ts';
import { mayWrite, runnerCreated, runnerDeleted, runnerFailed, tendClasses } from './classes.ts';
import { countComingOver } from './coming-over.ts';
import { jobRetried, tendFaults } from './faults.ts';
import { runnersRemoved, tendDisconnect } from './gitlab-disconnect.ts';
import { heardGrant, tendGrants, tookJob } from './grant-taking.ts';
import { grantAnswered, sendGrants, settleGrants } from './grants.ts';
import { jobTimings } from './job-timings.ts';
import { emptyJobs, emptyLead, type JobsState } from './jobs-state.ts';
import { type JobsTurn, openJobsTurn } from './jobs-turn.ts';
import { loseRuns, runFailedAtGitlab } from './lost-runs.ts';
import { viewOf } from './machines.ts';
import { heardMeasured, heardReport, sayReport } from './own-report.ts';
import { runChanged, tendOwnRuns } from './own-runs.ts';
import { tendTrust, trustAgain } from './own-trust.ts';
import { cancelAsked, hintQueue, queueFailed, queueOfNewGitlab, queueRead, tendQueue, waitingJobs } from './queue.ts';
import { askToCompare, jobRescued, runsCompared, tendRescues } from './run-compare.ts';
import { mergeRuns, runsAnnounced } from './run-edits.ts';

export { emptyJobs, type JobsState };

/**
 * The jobs' part of the core (DESIGN §7). Called with every input. Three things in this order: what the input itself
 * means; then, when anything may have changed, this node's own runs and grants; then, on a leader that may act, the
 * ledger's runs, lost ones, classes, queue and grants. Pure: what shall happen is in the answer.
 */
export function stepJobs(jobs: JobsState, input: Input, context: PartContext): PartStep<JobsState> {
  if (!concerns(input) && !isDue(jobs, context) && jobs.since !== null)
    return { state: jobs, effects: [], edits: [], wakeAt: jobs.wakeAt };
  const turn = openJobsTurn(jobs, context);
  begin(turn);
  receive(turn, input);
  drain(turn);
  // What others report matters to the leader alone, who places jobs by it.
  const isRumour = input.kind === 'report-heard' && !context.isLeader;
  if ((isRumour || !hasChanged(jobs, turn.jobs)) && !isDue(jobs, context))
    return { state: turn.jobs, effects: turn.effects, edits: turn.edits, wakeAt: jobs.wakeAt };
  tendTrust(turn);
  tendGrants(turn);
  tendOwnRuns(turn);
  drain(turn);
  const { own } = turn.jobs;
  lead(turn);
  drain(turn);
  // A grant that the leader gave to its own machine was taken in this very step: the node's part once more.
  if (turn.jobs.own !== own) tendOwnRuns(turn);
  drain(turn);
  sayReport(turn);
  const { ledger, committed, leader, term, mayAct } = context;
  const wakeAt = Math.max(turn.wakeAt, context.at + 1);
  turn.jobs.seen = { ledger, committed, leader, term, mayAct };
  turn.jobs.wakeAt = wakeAt;
  return { state: turn.jobs, effects: turn.effects, edits: turn.edits, wakeAt };
}

const hasChanged = (before: JobsState, after: JobsState): boolean =>
  (Object.keys(before) as (keyof JobsState)[]).some((key) => before[key] !== after[key]);

/** Inputs that mean nothing to the jobs by themselves: rounds of the leader and their answers, timers, streams. */
function concerns(input: Input): boolean {
  if (input.kind !== 'heard') return !ofElectionsOnly.has(input.kind);
  return input.message.kind === 'grant' || input.message.kind === 'grant-answer' || input.message.kind === 'own-runs';
}

const ofElectionsOnly: ReadonlySet<Input['kind']> = new Set<Input['kind']>([
  'ticked',
  'connected',
  'disconnected',
  'probed',
]);

/** Heartbeats come by the dozen; only what can change something here is worth a look at everything. */
const isDue = ({ seen, wakeAt }: JobsState, context: PartContext): boolean =>
  context.at >= wakeAt ||
  seen.ledger !== context.ledger ||
  seen.committed !== context.committed ||
  seen.leader !== context.leader ||
  seen.term !== context.term ||
  seen.mayAct !== context.mayAct;

function begin(turn: JobsTurn): void {
  const { context, jobs, at, wallMs } = turn;
  jobs.since ??= { wallMs, at };
  if (context.isNewEra) jobs.highestTerm = 0;
  if (context.term > jobs.highestTerm) jobs.highestTerm = context.term;
  // What was announced to a former leadership of this node may be long out of date: all announce their runs again.
  const ledBefore = jobs.seen.leader === context.self && jobs.seen.term === context.term;
  if (context.isLeader && !ledBefore) jobs.announced = {};
  if (context.mayAct && jobs.lead?.term !== context.term) {
    jobs.lead = emptyLead(context.term, at);
    if (context.ledger !== null) holdAnew(turn, context.ledger);
  }
  if (!context.mayAct) jobs.lead = null;
}

function receive(turn: JobsTurn, input: Input): void {
  switch (input.kind) {
    case 'heard':
      return hear(turn, input.from, input.message);
    case 'report-heard':
      return heardReport(turn, input);
    case 'measured':
      return heardMeasured(turn, input);
    case 'gitlab-seen':
      turn.jobs.gitlabSeen = input.report;
      return;
    case 'protected-seen':
      turn.jobs.protectedSeen = input.report;
      return;
    case 'standby-seen':
      turn.jobs.standbySeen = input.report;
      return;
    case 'jobs-trusted':
      return trustAgain(turn, 'a person said so');
    case 'copies-said':
      turn.jobs.copiesSaid = input.copies;
      return;
    case 'run-changed':
      return runChanged(turn, input);
    case 'take-ended':
      return tookJob(turn, input);
    case 'queue-read':
      return queueRead(turn, input);
    case 'queue-failed':
      return queueFailed(turn, input.because, input.isRefused === true);
    case 'cancel-asked':
      return cancelAsked(turn, input.job);
    case 'queue-hinted':
      return hintQueue(turn, 'something happened at GitLab', input.answers === true);
    case 'runner-created':
      return runnerCreated(turn, input);
    case 'runner-failed':
      return runnerFailed(turn, input);
    case 'runner-deleted':
      return runnerDeleted(turn, input);
    case 'runners-removed':
      return runnersRemoved(turn, input);
    case 'runner-checked':
      return runnerChecked(turn, input);
    case 'run-failed-at-gitlab':
      return runFailedAtGitlab(turn, input);
    case 'runs-compared':
      return turn.context.ledger ? runsCompared(turn, viewOf(turn, turn.context.ledger), input) : undefined;
    case 'job-rescued':
      return jobRescued(turn, input);
    case 'job-retried':
      return jobRetried(turn, input);
  }
}

function hear(turn: JobsTurn, from: string, message: PeerMessage): void {
  switch (message.kind) {
    case 'grant':
      return heardGrant(turn, from, message);
    case 'grant-answer':
      return grantAnswered(turn, from, message);
    case 'own-runs': {
      if (!turn.context.isLeader) return;
      const before = turn.jobs.announced[from];
      const announced = { boot: message.boot, runs: message.runs, at: turn.at };
      turn.jobs.announced = { ...turn.jobs.announced, [from]: announced };
      const over = (runs: readonly { state: string; run: string }[]): string[] =>
        runs.filter((run) => run.state === 'delivered' || run.state === 'discarded').map((run) => run.run);
      const known = new Set(over(before?.runs ?? []));
      if (over(message.runs).some((run) => !known.has(run))) hintQueue(turn, 'a run ended', true);
    }
  }
}

/** What this node says to itself is heard within the same step. */
function drain(turn: JobsTurn): void {
  for (let count = 0; turn.inbox.length > 0; count += 1) {
    invariant(count < 10_000, 'a node does not talk to itself without end', { left: turn.inbox.length });
    const message = turn.inbox.shift();
    if (message !== undefined) hear(turn, turn.context.self, message);
  }
}

function lead(turn: JobsTurn): void {
  const { ledger, mayAct } = turn.context;
  if (!mayAct || ledger === null || turn.jobs.lead === null) return;
  // Without fresh proof of leading nothing is written to GitLab: look again when the next round has come back.
  if (!mayWrite(turn)) wake(turn, turn.at + jobTimings.workLeftMs);
  // Nobody says when a machine falls silent: the leader looks.
  wake(turn, turn.at + jobTimings.lookEveryMs);
  const { announced } = turn.jobs;
  if (mergeRuns(ledger, announced, turn.wallMs) !== ledger) turn.edits.push(runsAnnounced(announced, turn.wallMs));
  turn.edits.push(...editsForRemovals(ledger));
  queueOfNewGitlab(turn);
  suspectKept(turn);
  countComingOver(turn);
  loseRuns(turn);
  tendFaults(turn);
  settleGrants(turn, ledger);
  const waiting = waitingJobs(turn.jobs, ledger, turn);
  checkClasses(turn);
  tendClasses(turn, waiting);
  sendGrants(turn, waiting);
  tendDisconnect(turn);
  tendStandbys(turn);
  tendSides(turn);
  askToCompare(turn);
  tendRescues(turn);
  tendQueue(turn);
  // An edit may find no place in the leader's pipeline: it is made again, from what is still missing then.
  if (turn.edits.length > 0) wake(turn, turn.at + jobTimings.workLeftMs);
}
