import type { Ledger, Run } from '../../protocol/ledger.ts';
import { limits } from '../../protocol/limits.ts';
import type { InputOf } from '../inputs.ts';
import { note } from '../note.ts';
import { tell, wake } from '../part-turn.ts';
import { unseenIn } from '../recovered.ts';
import { jobTimings } from './job-timings.ts';
import { isBusy, isOpen, without } from './jobs-state.ts';
import { type JobsTurn, setOwn } from './jobs-turn.ts';
import { trustAfter } from './own-trust.ts';
import { isReportedAnew } from './report-pace.ts';

export function runChanged(turn: JobsTurn, input: InputOf<'run-changed'>): void {
  const { run } = input;
  if (run.node !== turn.context.self) return;
  const before = turn.jobs.own.runs[run.run];
  if (before === undefined && !isOpen(run) && sameInLedger(turn.context.committed, run)) return;
  if (before === undefined && isOpen(run) && run.startedAt !== null)
    note(turn, {
      event: 'run-adopted',
      because: `job ${run.job} was under way here when this agent was started`,
      fields: {
        job: run.job,
        run: run.run,
        state: run.state,
      },
    });
  else if (run.state === 'running' && before?.state !== 'running')
    note(turn, {
      event: 'run-started',
      because: `job ${run.job} runs here: ${run.because}`,
      fields: { job: run.job, run: run.run },
    });
  if (run.result !== null && (before?.result ?? null) === null)
    note(turn, {
      event: 'run-finished',
      because: `job ${run.job}: ${run.result.because}`,
      fields: {
        job: run.job,
        run: run.run,
        state: run.result.state,
        exitCode: run.result.exitCode,
        fault: run.fault?.kind ?? null,
        tookMs: run.startedAt === null || run.finishedAt === null ? null : Math.max(0, run.finishedAt - run.startedAt),
      },
    });
  if (run.result !== null && before !== undefined && before.result === null) trustAfter(turn, run);
  setOwn(turn, { runs: { ...turn.jobs.own.runs, [run.run]: run }, hasUnannounced: true });
}

/** True when two records of a run agree in all that anybody decides by; fields that only the leader sets do not count. */
export const sameRun = (a: Run, b: Run): boolean =>
  a.state === b.state &&
  a.frozen === b.frozen &&
  a.startedAt === b.startedAt &&
  a.finishedAt === b.finishedAt &&
  a.result?.state === b.result?.state &&
  a.result?.exitCode === b.result?.exitCode;

const sameInLedger = (ledger: Ledger | null, run: Run): boolean => {
  const known = ledger?.runs[run.run];
  return known !== undefined && (sameRun(known, run) || (!isOpen(known) && !isOpen(run)));
};

/** Drops what is no longer ours, forgets what is over and known, and tells the leader until the ledger agrees. */
export function tendOwnRuns(turn: JobsTurn): void {
  hintCanceling(turn);
  dropDisowned(turn);
  forgetKnown(turn);
  announceRuns(turn);
}

/** Has each run that is being canceled ask GitLab at once: when the ledger that says so is committed, and at an agent's start. */
function hintCanceling(turn: JobsTurn): void {
  const { own, seen } = turn.jobs;
  for (const run of Object.values(own.runs)) {
    const isNews = turn.context.committed?.runs[run.run]?.canceling && !seen.committed?.runs[run.run]?.canceling;
    if (isNews && isBusy(run)) turn.effects.push({ kind: 'hint-run', run: run.run });
  }
}

/** SAFETY J1: once `lost` is committed the run may be given to another, so it must not go on here. */
function dropDisowned(turn: JobsTurn): void {
  const { committed, self } = turn.context;
  if (committed === null) return;
  const removed = committed.forgotten[self] !== undefined && committed.nodes[self] === undefined;
  for (const run of Object.values(turn.jobs.own.runs)) {
    if (!isOpen(run)) continue;
    const shown = committed.runs[run.run];
    if (!removed && shown?.state !== 'lost') continue;
    const because = removed ? 'this node was removed from the mesh' : `the mesh gave it up: ${shown?.because ?? ''}`;
    turn.effects.push({ kind: 'drop-run', run: run.run, because });
    const dropped: Run = { ...run, state: 'lost', because };
    setOwn(turn, { runs: { ...turn.jobs.own.runs, [run.run]: dropped }, hasUnannounced: true });
  }
}

function forgetKnown(turn: JobsTurn): void {
  let runs = turn.jobs.own.runs;
  for (const run of Object.values(runs)) {
    if (isOpen(run)) continue;
    const shown = turn.context.committed?.runs[run.run];
    const tooOld = shown === undefined && turn.wallMs - (run.finishedAt ?? run.takenAt) > jobTimings.forgetEndedMs;
    if (tooOld || (shown !== undefined && !isOpen(shown))) runs = without(runs, run.run);
  }
  if (runs !== turn.jobs.own.runs) setOwn(turn, { runs });
}

/** True while leader and node see the same runs of this node in the same states, and the leader knows that the node is here. */
function agrees(turn: JobsTurn): boolean {
  const { committed, self } = turn.context;
  // After a recovery by force: what it announced before may never have come (SAFETY J1).
  if (committed !== null && unseenIn(committed).includes(self)) return false;
  const own = Object.values(turn.jobs.own.runs);
  if (!own.every((run) => sameInLedger(committed, run))) return false;
  const shown = Object.values(committed?.runs ?? {}).filter((run) => run.node === self && isOpen(run));
  return shown.every((run) => turn.jobs.own.runs[run.run] !== undefined);
}

function announceRuns(turn: JobsTurn): void {
  const { leader, term, boot, committed } = turn.context;
  if (leader === null) return;
  const { own } = turn.jobs;
  const isNew = own.announcedTo !== leader || own.announcedTerm !== term;
  const again = own.announcedAt + jobTimings.announceEveryMs;
  const disagrees = !agrees(turn);
  if (!isNew && !own.hasUnannounced && (!disagrees || turn.at < again)) {
    if (disagrees) wake(turn, again);
    return;
  }
  const open = Object.values(own.runs).filter(isOpen);
  const over = Object.values(own.runs).filter((run) => !isOpen(run));
  const runs = [...open, ...over].slice(0, limits.runsInFlight);
  tell(turn, leader, { kind: 'own-runs', boot, runs });
  if (disagrees) wake(turn, turn.at + jobTimings.announceEveryMs);
  const reserves = Object.keys(own.reserved).length > 0;
  if (isNew && (reserves || isReportedAnew(committed))) turn.jobs.gossip = { ...turn.jobs.gossip, toSay: true };
  setOwn(turn, { hasUnannounced: false, announcedAt: turn.at, announcedTo: leader, announcedTerm: term });
}
