import { invariant } from '../../protocol/errors.ts';
import type { PeerMessage } from '../../protocol/messages.ts';
import type { Input } from '../inputs.ts';
import type { PartContext, PartStep } from '../part.ts';
import { checkClasses, runnerChecked, suspectKept } from './class-checks.ts';
import { mayWrite, runnerCreated, runnerDeleted, runnerFailed, tendClasses } from './classes.ts';
import { heardGrant, tendGrants, tookJob } from './grant-taking.ts';
import { grantAnswered, sendGrants, settleGrants } from './grants.ts';
import { jobTimings } from './job-timings.ts';
import { emptyJobs, emptyLead, type JobsState } from './jobs-state.ts';
import { type JobsTurn, newJobsTurn, wake } from './jobs-turn.ts';
import { loseRuns, runFailedAtGitlab } from './lost-runs.ts';
import { lookOf } from './machines.ts';
import { heardMeasured, heardReport, sayReport } from './own-report.ts';
import { runChanged, tendOwnRuns } from './own-runs.ts';
import { runnersRemoved, tendParting } from './parting.ts';
import { cancelAsked, hintQueue, queueFailed, queueOfNewGitlab, queueRead, tendQueue, waitingJobs } from './queue.ts';
import { askToCompare, jobRescued, runsCompared, tendRescues } from './run-compare.ts';
import { mergeRuns, runsTold } from './run-edits.ts';

export { emptyJobs, type JobsState };

/**
 * The jobs' part of the core (DESIGN §7). Called with every input. Three things in this order: what the input itself
 * means; then, when anything may have changed, this node's own runs and grants; then, on a leader that may act, the
 * ledger's runs, lost ones, classes, queue and grants. Pure: what shall happen is in the answer.
 */
export function stepJobs(jobs: JobsState, input: Input, context: PartContext): PartStep<JobsState> {
  const turn = newJobsTurn(context);
  const begun = drain(receive(begin(jobs, turn), turn, input), turn);
  // What others report matters to the leader alone, who places jobs by it.
  const isRumour = input.kind === 'report-heard' && !context.isLeader;
  if (!isDue(isRumour ? begun : jobs, begun, context))
    return { state: begun, effects: turn.effects, edits: turn.edits, wakeAt: jobs.wakeAt };
  const own = drain(tendOwnRuns(tendGrants(begun, turn), turn), turn);
  const led = drain(lead(own, turn), turn);
  const said = sayReport(settled(led, own, turn), turn);
  const seen = {
    ledger: context.ledger,
    committed: context.committed,
    leader: context.leader,
    term: context.term,
    mayAct: context.mayAct,
  };
  const wakeAt = Math.max(turn.wakeAt, context.at + 1);
  return { state: { ...said, seen, wakeAt }, effects: turn.effects, edits: turn.edits, wakeAt };
}

/** A grant that the leader gave to its own machine was taken in this very step: the node's part once more. */
const settled = (led: JobsState, own: JobsState, turn: JobsTurn): JobsState =>
  led.own === own.own ? led : drain(tendOwnRuns(led, turn), turn);

/** Heartbeats come by the dozen; only what can change something here is worth a look at everything. */
function isDue(before: JobsState, after: JobsState, context: PartContext): boolean {
  const { seen } = before;
  return (
    before !== after ||
    context.at >= before.wakeAt ||
    seen.ledger !== context.ledger ||
    seen.committed !== context.committed ||
    seen.leader !== context.leader ||
    seen.term !== context.term ||
    seen.mayAct !== context.mayAct
  );
}

function begin(jobs: JobsState, turn: JobsTurn): JobsState {
  const { context } = turn;
  let next = jobs;
  if (next.since === null) next = { ...next, since: { wallMs: turn.wallMs, at: turn.at } };
  if (context.isNewEra) next = { ...next, highestTerm: 0 };
  if (context.term > next.highestTerm) next = { ...next, highestTerm: context.term };
  // What was told to a former leadership of this node may be long out of date: all tell the new leader again.
  const ledBefore = next.seen.leader === context.self && next.seen.term === context.term;
  if (context.isLeader && !ledBefore) next = { ...next, told: {} };
  if (context.mayAct && next.lead?.term !== context.term) next = { ...next, lead: emptyLead(context.term, turn.at) };
  if (!context.mayAct && next.lead !== null) next = { ...next, lead: null };
  return next;
}

function receive(jobs: JobsState, turn: JobsTurn, input: Input): JobsState {
  switch (input.kind) {
    case 'heard':
      return hear(jobs, turn, input.from, input.message);
    case 'report-heard':
      return heardReport(jobs, turn, input);
    case 'measured':
      return heardMeasured(jobs, turn, input);
    case 'run-changed':
      return runChanged(jobs, turn, input);
    case 'take-ended':
      return tookJob(jobs, turn, input);
    case 'queue-read':
      return queueRead(jobs, turn, input);
    case 'queue-failed':
      return queueFailed(jobs, turn, input.because, input.isRefused === true);
    case 'cancel-asked':
      return cancelAsked(jobs, turn, input.job);
    case 'queue-hinted':
      return hintQueue(jobs, turn, 'something happened at GitLab', input.answers === true);
    case 'runner-created':
      return runnerCreated(jobs, turn, input);
    case 'runner-failed':
      return runnerFailed(jobs, turn, input);
    case 'runner-deleted':
      return runnerDeleted(jobs, turn, input);
    case 'runners-removed':
      return runnersRemoved(jobs, turn, input);
    case 'runner-checked':
      return runnerChecked(jobs, turn, input);
    case 'run-failed-at-gitlab':
      return runFailedAtGitlab(jobs, turn, input);
    case 'runs-compared':
      return turn.context.ledger ? runsCompared(jobs, turn, lookOf(jobs, turn, turn.context.ledger), input) : jobs;
    case 'job-rescued':
      return jobRescued(jobs, turn, input);
    default:
      return jobs;
  }
}

function hear(jobs: JobsState, turn: JobsTurn, from: string, message: PeerMessage): JobsState {
  switch (message.kind) {
    case 'grant':
      return heardGrant(jobs, turn, from, message);
    case 'grant-answer':
      return grantAnswered(jobs, turn, from, message);
    case 'own-runs': {
      if (!turn.context.isLeader) return jobs;
      const before = jobs.told[from];
      const told = { boot: message.boot, runs: message.runs, at: turn.at };
      const heard = { ...jobs, told: { ...jobs.told, [from]: told } };
      const over = (runs: readonly { state: string; run: string }[]): string[] =>
        runs.filter((run) => run.state === 'delivered' || run.state === 'discarded').map((run) => run.run);
      const known = new Set(over(before?.runs ?? []));
      return over(message.runs).some((run) => !known.has(run)) ? hintQueue(heard, turn, 'a run ended', true) : heard;
    }
    default:
      return jobs;
  }
}

/** What this node says to itself is heard within the same step. */
function drain(jobs: JobsState, turn: JobsTurn): JobsState {
  let next = jobs;
  for (let count = 0; turn.inbox.length > 0; count += 1) {
    invariant(count < 10_000, 'a node does not talk to itself without end', { left: turn.inbox.length });
    const message = turn.inbox.shift();
    if (message !== undefined) next = hear(next, turn, turn.context.self, message);
  }
  return next;
}

function lead(jobs: JobsState, turn: JobsTurn): JobsState {
  const { ledger, mayAct } = turn.context;
  if (!mayAct || ledger === null || jobs.lead === null) return jobs;
  // Without fresh proof of leading nothing is written to GitLab: look again when the next round has come back.
  if (!mayWrite(turn)) wake(turn, turn.at + jobTimings.workLeftMs);
  // Nobody says when a machine falls silent: the leader looks.
  wake(turn, turn.at + jobTimings.lookEveryMs);
  if (mergeRuns(ledger, jobs.told, turn.wallMs) !== ledger) turn.edits.push(runsTold(jobs.told, turn.wallMs));
  const settledGrants = settleGrants(loseRuns(suspectKept(queueOfNewGitlab(jobs, turn), turn), turn), turn, ledger);
  const waiting = waitingJobs(settledGrants, ledger, turn);
  const classed = tendClasses(checkClasses(settledGrants, turn), turn, waiting);
  const granted = tendParting(sendGrants(classed, turn, waiting), turn);
  const led = tendQueue(tendRescues(askToCompare(granted, turn), turn), turn);
  // An edit may find no place in the leader's pipeline: it is made again, from what is still missing then.
  if (turn.edits.length > 0) wake(turn, turn.at + jobTimings.workLeftMs);
  return led;
}
