import type { Run } from '../../protocol/ledger.ts';
import type { Measured } from '../../protocol/report.ts';
import { note } from '../note.ts';
import { wake } from '../part-turn.ts';
import { cut, listed, plural, span } from '../phrases.ts';
import { jobTimings } from './job-timings.ts';
import { isBusy, type JobsState } from './jobs-state.ts';
import { type JobsTurn, setOwn } from './jobs-turn.ts';
import { fullTrust, type RunEnd } from './trust.ts';

/*
 * A machine on which jobs of several projects fail by no doing of their own takes no more of them (SAFETY J10): all jobs, or, where
 * only those with a GPU failed, those. It comes back by itself: after a pause, once all that jobs need here is well, one job is
 * tried; its end decides. Each time it is right again, the pause is twice as long. What is remembered ends with the agent.
 */

/** Enough to look at. */
const endsKept = 100;
/** So many, of so many projects: one project's jobs may all ask for what is nowhere. */
const least = { faults: 3, projects: 2 } as const;

const isFault = ({ kind }: RunEnd): boolean => kind !== null;

/** More failed so than did not, not of one project alone, and not for one server's sake, which may answer nobody. */
function isDistrusted(ends: readonly RunEnd[]): boolean {
  const faults = ends.filter(isFault);
  const projects = new Set(faults.map(({ projectId }) => projectId));
  const causes = new Set(faults.map(({ server }, index) => server ?? index));
  return causes.size >= least.faults && projects.size >= least.projects && 2 * faults.length > ends.length;
}

/** A run of this machine has ended, in whatever way. */
export function trustAfter(turn: JobsTurn, run: Run): void {
  const { trust } = turn.jobs.own;
  if (run.result === null || run.result.state === 'canceled') return;
  const kind = run.fault?.kind ?? null;
  // Its owner's wish says nothing of the machine, for or against it.
  if (kind === 'owner') return;
  const gpu = run.gpus.length > 0;
  const server = run.fault?.server ?? null;
  const end = { at: turn.at, projectId: run.projectId, kind, server, gpu, because: run.result.because };
  const ends = [...trust.ends.filter(({ at }) => turn.at - at < jobTimings.endsCountMs), end].slice(-endsKept);
  setOwn(turn, { trust: { ...trust, ends } });
  if (trust.cordon?.trial) {
    if (trust.cordon.trial.beside.includes(run.run) || (trust.cordon.gpu && !gpu)) return;
    return kind === null ? trustAgain(turn, `job ${run.job} went well here`) : cordon(turn, ends, trust.cordon.gpu);
  }
  if (trust.cordon !== null || kind === null) return;
  if (!isDistrusted(ends.filter((one) => one.gpu)) && !isDistrusted(ends)) return;
  cordon(
    turn,
    ends,
    ends.filter(isFault).every((one) => one.gpu),
  );
}

function cordon(turn: JobsTurn, ends: readonly RunEnd[], gpu: boolean): void {
  const { trust } = turn.jobs.own;
  const counted = gpu ? ends.filter((one) => one.gpu) : ends;
  const faults = counted.filter(isFault);
  const kinds = [...new Set(faults.map(({ kind }) => `${kind}`))].sort();
  const last = faults.at(-1)?.because ?? '';
  const sentence = cut(
    `${faults.length} of the last ${plural(counted.length, gpu ? 'job with a GPU' : 'job', gpu ? 'jobs with a GPU' : 'jobs')} failed here by no doing of their own (${listed(kinds)}; the last: ${cut(last, 300)}): one is tried again after ${span(trust.pauseMs)}, or after autogit-node resume on this machine`,
  );
  const until = turn.at + trust.pauseMs;
  wake(turn, until);
  const pauseMs = Math.min(jobTimings.cordonMostMs, trust.pauseMs * 2);
  setOwn(turn, { trust: { ends, cordon: { gpu, until, trial: null, sentence }, pauseMs } });
  note(turn, {
    event: 'machine-cordoned',
    level: 'error',
    because: `this machine takes no ${gpu ? 'GPU ' : ''}jobs: ${sentence}`,
  });
}

/** By a job that went well, or a person's word. */
export function trustAgain(turn: JobsTurn, because: string): void {
  if (turn.jobs.own.trust.cordon !== null)
    note(turn, { event: 'machine-trusted', because: `this machine takes jobs again: ${because}` });
  setOwn(turn, { trust: fullTrust });
}

/** The pause is over: one job is tried, as soon as all that jobs need is well here. */
export function tendTrust(turn: JobsTurn): void {
  const { trust } = turn.jobs.own;
  if (trust.cordon === null) return;
  if (trust.cordon.trial) return endLongTrial(turn, trust.cordon.trial.beside);
  if (turn.at < trust.cordon.until) return wake(turn, trust.cordon.until);
  const measured = turn.jobs.measured?.measured;
  if (!measured?.healthy || (measured.workProblems ?? []).length > 0) return;
  const beside = Object.values(turn.jobs.own.runs).flatMap((run) => (isBusy(run) ? [run.run] : []));
  setOwn(turn, { trust: { ...trust, cordon: { ...trust.cordon, trial: { beside } } } });
  note(turn, { event: 'machine-tried', because: 'this machine takes one job, whose end says whether it takes more' });
}

/** A job that has run for so long since it was tried runs well; its end may be days away. */
function endLongTrial(turn: JobsTurn, beside: readonly string[]): void {
  const isOfGpus = turn.jobs.own.trust.cordon?.gpu === true;
  for (const { run, job, state, startedAt, gpus } of Object.values(turn.jobs.own.runs)) {
    if (state !== 'running' || startedAt === null || (isOfGpus && gpus.length === 0) || beside.includes(run)) continue;
    const leftMs = jobTimings.trialMs - (turn.wallMs - startedAt);
    if (leftMs <= 0) return trustAgain(turn, `job ${job} has run here for ${span(jobTimings.trialMs)}`);
    wake(turn, turn.at + leftMs);
  }
}

/** What this machine says of itself, by what became of its jobs: earlier versions understand it too. */
export function asTrusted({ own }: JobsState, measured: Measured): Measured {
  const { cordon: is } = own.trust;
  if (is === null) return measured;
  if (is.trial && is.gpu) return measured;
  if (is.trial) {
    // What ran here before may go on for days, and keeps nobody from trying one beside it.
    const left = is.trial.beside.filter((run) => own.runs[run] !== undefined && isBusy(own.runs[run])).length;
    return { ...measured, maxRuns: Math.min(left + 1, measured.maxRuns ?? Number.POSITIVE_INFINITY) };
  }
  if (!is.gpu) {
    const workProblems = [...(measured.workProblems ?? []), { about: 'job-faults', sentence: is.sentence }].slice(-8);
    return { ...measured, executors: [], workProblems };
  }
  const gpus = measured.gpus.map((gpu) => ({ ...gpu, foreign: true, problem: gpu.problem ?? is.sentence }));
  return { ...measured, gpus, gpuProblems: [...(measured.gpuProblems ?? []), is.sentence].slice(-8) };
}
