import type { JobRow, WhyAnswer } from '../protocol/job-rows.ts';
import type { Ledger, Run } from '../protocol/ledger.ts';
import { awaySentence } from './jobs/away.ts';
import { rfc3339 } from './jobs/civil-time.ts';
import { demandOf, needsSentence } from './jobs/demand.ts';
import { elsewhereFirst, keptFrom } from './jobs/faults.ts';
import { whyClassWaits, whyJobWaits } from './jobs/grants.ts';
import { isBusy, isOpen, type OutGrant, type WaitingJob } from './jobs/jobs-state.ts';
import type { MachineView } from './jobs/machine-fit.ts';
import { machinesOf } from './jobs/machines.ts';
import { type Placement, place } from './jobs/placement.ts';
import { waitingJobs } from './jobs/queue.ts';
import { cut } from './phrases.ts';
import { meshViewOf, nodeName, type ViewInput } from './snapshot-view.ts';

/** Ended runs shown without `--all`. */
const endedShown = 10;

const time = (wallMs: number | null): string | null => (wallMs === null ? null : rfc3339(wallMs));

/** Queue and runs: waiting ones in their order, then what runs, then what ended, newest first. */
export function jobRows(view: ViewInput, all = false): JobRow[] {
  const { ledger } = view;
  if (ledger === null) return [];
  const reasons = new Map<string, string>();
  const machines = machinesOf(meshViewOf(view, ledger));
  const runs = newestRuns(view, ledger);
  const queue: Queue = { view, ledger, machines, reasons, runs };
  const waiting = waitingJobs(view.jobs, ledger, view).map((job) => waitingRow(queue, job));
  const running = runs.filter(isOpen).sort((a, b) => a.takenAt - b.takenAt);
  const ended = runs
    .filter((run) => !isOpen(run))
    .sort((a, b) => (b.finishedAt ?? b.takenAt) - (a.finishedAt ?? a.takenAt));
  const shown = all ? ended : ended.slice(0, endedShown);
  return [...waiting, ...[...running, ...shown].map((run) => runRow(view, ledger, run, runs))];
}

/** The ledger's runs; of this machine's own, what it knows itself where that is newer. */
function newestRuns(view: ViewInput, ledger: Ledger): Run[] {
  const runs = new Map(Object.entries(ledger.runs));
  for (const run of Object.values(view.jobs.own.runs)) {
    const shown = runs.get(run.run);
    if (shown === undefined || (isOpen(shown) && shown.state !== run.state))
      runs.set(run.run, shown?.canceling ? { ...run, canceling: true } : run);
  }
  return [...runs.values()];
}

const grantOf = (view: ViewInput, job: WaitingJob): OutGrant | undefined =>
  Object.values(view.jobs.lead?.grants ?? {}).find((grant) => grant.job === job.job);

/** What all rows of those that wait are made of: worked out once, for a queue may be long, and so may be the list of runs. */
interface Queue {
  view: ViewInput;
  ledger: Ledger;
  machines: readonly MachineView[];
  reasons: Map<string, string>;
  runs: readonly Run[];
}

const pipelineOf = ({ pipeline }: { pipeline?: number | undefined }): { pipeline?: number } =>
  pipeline === undefined ? {} : { pipeline };

function waitingRow({ view, ledger, machines, reasons, runs }: Queue, job: WaitingJob): JobRow {
  const grant = grantOf(view, job);
  const key = job.class;
  let because = reasons.get(key);
  if (because === undefined) {
    because = waitsBecause(view, ledger, key, placementOf(view, ledger, machines, job));
    reasons.set(key, because);
  }
  return {
    job: job.job,
    project: job.project,
    name: job.name,
    ref: job.ref,
    ...pipelineOf(job),
    tags: job.tags,
    state: grant ? 'granted' : 'waiting',
    node: grant ? nodeName(ledger, grant.node) : null,
    attempt: attemptOf(job, runs),
    queuedAt: time(job.queuedAt),
    startedAt: null,
    finishedAt: null,
    exitCode: null,
    because: grant ? grant.because : (whyJobWaits(view.jobs, view.at, job.job) ?? because),
  };
}

/** Without the machines that its class is kept from, as another try of a job of it waits (SAFETY J10). */
function placementOf(view: ViewInput, ledger: Ledger, machines: readonly MachineView[], job: WaitingJob): Placement {
  const { defaultArch } = ledger.settings;
  const kept = keptFrom(ledger, view.wallMs, waitingJobs(view.jobs, ledger, view)).get(job.class);
  return place(demandOf(job.tags, defaultArch), elsewhereFirst(machines, kept, job.tags, defaultArch));
}

/** One sentence: no machine, or a class that is not ready, or simply its turn. */
function waitsBecause(view: ViewInput, ledger: Ledger, key: string, placement: Placement): string {
  if (placement.placed === null) return placement.because;
  const waits = whyClassWaits(view.jobs, view.at, view.accepted ?? ledger, ledger, key);
  return waits ?? `is about to go to ${placement.because}`;
}

/** 1, and one more for every run of the same job that was lost before, or failed by no doing of its own. */
const attemptOf = (job: { job: number; projectId: number; name: string; ref: string }, runs: readonly Run[]): number =>
  1 +
  runs.filter(
    (run) =>
      (run.state === 'lost' || run.fault !== undefined) &&
      run.job < job.job &&
      run.projectId === job.projectId &&
      run.name === job.name &&
      run.ref === job.ref,
  ).length;

function rowState(run: Run): JobRow['state'] {
  if (run.state === 'lost') return 'lost';
  if (isBusy(run)) return run.canceling ? 'canceling' : 'running';
  if (run.state === 'discarded' || run.result?.state === 'canceled') return 'canceled';
  return run.result?.state === 'success' ? 'done' : 'failed';
}

/** Of a run whose machine does not answer: that, not how it came there. */
function awayBecause({ jobs, at, self, liveness }: ViewInput, ledger: Ledger, run: Run): string | null {
  const { node } = run;
  if (!isBusy(run) || node === self) return null;
  const live = liveness(node);
  if (live.state === 'alive' || live.since === Number.NEGATIVE_INFINITY) return null;
  return awaySentence(jobs, node, nodeName(ledger, node), { state: live.state, since: live.since }, at);
}

/** What becomes of one that failed by no doing of its own. */
const retryWords = (ledger: Ledger, run: Run): string => {
  const fault = ledger.faults?.[run.run];
  return fault === undefined ? '' : `; ${fault.because}`;
};

const runBecause = (run: Run): string => {
  if (run.canceling && isBusy(run)) return 'it is being canceled at GitLab';
  if (run.held !== undefined && isBusy(run)) return run.held;
  if (run.state === 'lost' || run.result === null) return run.frozen ? `frozen: ${run.because}` : run.because;
  return run.state === 'finished' ? `${run.result.because}; GitLab does not know yet` : run.result.because;
};

function runRow(view: ViewInput, ledger: Ledger, run: Run, runs: readonly Run[]): JobRow {
  return {
    job: run.job,
    project: run.project,
    name: run.name,
    ref: run.ref,
    ...pipelineOf(run),
    tags: run.tags,
    state: rowState(run),
    node: nodeName(ledger, run.node),
    attempt: attemptOf(run, runs),
    queuedAt: null,
    startedAt: time(run.startedAt),
    finishedAt: time(run.finishedAt),
    exitCode: run.result?.exitCode ?? null,
    because: cut(`${awayBecause(view, ledger, run) ?? runBecause(run)}${retryWords(ledger, run)}`),
  };
}

/** Every machine, and the one reason it was not chosen; null when nobody here knows the job. */
export function why(view: ViewInput, job: number): WhyAnswer | null {
  const { ledger } = view;
  if (ledger === null) return null;
  const waiting = waitingJobs(view.jobs, ledger, view).find((one) => one.job === job);
  if (waiting) return whyWaiting(view, ledger, waiting);
  const run = newestRuns(view, ledger)
    .filter((one) => one.job === job)
    .sort((a, b) => b.takenAt - a.takenAt)[0];
  return run ? whyRun(view, ledger, run) : null;
}

function whyWaiting(view: ViewInput, ledger: Ledger, job: WaitingJob): WhyAnswer {
  const demand = demandOf(job.tags, ledger.settings.defaultArch);
  const placement = placementOf(view, ledger, machinesOf(meshViewOf(view, ledger)), job);
  const grant = grantOf(view, job);
  return {
    job: job.job,
    project: job.project,
    name: job.name,
    ref: job.ref,
    state: grant ? 'granted' : 'waiting',
    waitedMs: Math.max(0, view.wallMs - job.queuedAt),
    needs: needsSentence(demand),
    machines: placement.verdicts.map((verdict) =>
      grant && verdict.node === grant.node
        ? { node: verdict.name, fits: true, because: `is chosen: ${grant.because}` }
        : { node: verdict.name, fits: verdict.fits, because: cut(verdict.because) },
    ),
    because: grant
      ? grant.because
      : (whyJobWaits(view.jobs, view.at, job.job) ?? waitsBecause(view, ledger, job.class, placement)),
  };
}

/** A job that has its machine: the others as they are now. Of one that is over they say nothing: only its own counts. */
function whyRun(view: ViewInput, ledger: Ledger, run: Run): WhyAnswer {
  const demand = demandOf(run.tags, ledger.settings.defaultArch);
  const row = runRow(view, ledger, run, []);
  const told = {
    job: run.job,
    project: run.project,
    name: run.name,
    ref: run.ref,
    state: row.state,
    waitedMs: 0,
    needs: needsSentence(demand),
    because: row.because,
  };
  const name = nodeName(ledger, run.node);
  if (!isOpen(run)) {
    const { startedAt, finishedAt, exitCode } = row;
    // An agent before this one wrote the end over the reason why the machine was chosen.
    const chosen = run.because === row.because ? 'had it' : `had it: ${reasonOf(run, name)}`;
    return {
      ...told,
      machines: [{ node: name, fits: true, because: chosen }],
      ended: { node: name, startedAt, finishedAt, exitCode },
    };
  }
  return {
    ...told,
    machines: place(demand, machinesOf(meshViewOf(view, ledger))).verdicts.map((verdict) =>
      verdict.node === run.node
        ? { node: verdict.name, fits: true, because: `has it: ${reasonOf(run, verdict.name)}` }
        : { node: verdict.name, fits: verdict.fits, because: verdict.fits ? 'has room now' : cut(verdict.because) },
    ),
  };
}

/** Beside its machine's name the sentence need not begin with it. */
const reasonOf = ({ because }: Run, node: string): string =>
  because.startsWith(`${node}: `) ? because.slice(node.length + 2) : because;
