import { type Ledger, type Run, silentMs } from '../../protocol/ledger.ts';
import { sharedTimings } from '../../protocol/timings.ts';
import type { InputOf } from '../inputs.ts';
import { note } from '../note.ts';
import { wake } from '../part-turn.ts';
import { span } from '../phrases.ts';
import { mayLiveUnseen } from '../recovered.ts';
import { awaySentence, deafReportAt } from './away.ts';
import { dropHolds, holdFor, mayBeRetriedTooSoon } from './class-hold.ts';
import { mayWrite } from './classes.ts';
import { backoffMs, jobTimings } from './job-timings.ts';
import { type Away, isBusy, isOpen, isUntold, type JobsState } from './jobs-state.ts';
import { type JobsTurn, nameOf, setLead } from './jobs-turn.ts';
import { hintQueue } from './queue.ts';
import { reportPace } from './report-pace.ts';
import { failedAtGitlab, lostRun } from './run-edits.ts';

/*
 * When a run is lost (SAFETY J1, J9). Its node froze it within 2 s of silence, so after these spans it surely does not
 * go on. First `lost` is committed, then GitLab is told with the run's own token, again and again until it knows.
 */

/**
 * A machine that vanished: a tenth of the run's age, so that a Wi-Fi stall does not cost an hour's training, but at least
 * what the mesh's setting `silentMs` says. One that lives has reported by then, though it does not hear the leader: so it is
 * more where many nodes report less often.
 */
export const silentLimitMs = (ageMs: number, nodes: number, leastMs: number = silentMs.least): number =>
  Math.min(
    Math.max(jobTimings.silentMostMs, leastMs),
    Math.max(leastMs, ageMs / 10) + reportPace(nodes).everyMs - reportPace(0).everyMs,
  );

/** The mesh's setting, within the limits that keep a run from going on beside its retry, whoever wrote it. */
const leastSilentMs = ({ settings }: Ledger): number =>
  Math.min(silentMs.most, Math.max(silentMs.least, settings.silentMs ?? silentMs.least));

/**
 * What becomes of a run: lost now, with a sentence; lost at `dueAt`; or nothing. `mayLive`: the script may still be executing
 * by GitLab's answers, until GitLab knows that the run is lost: its classes get no grant meanwhile.
 */
type RunFate = { lost: string; mayLive: boolean } | { dueAt: number } | null;

function fateOf(turn: JobsTurn, run: Run): RunFate {
  const { ledger } = turn.context;
  if (ledger === null || turn.jobs.lead === null) return null;
  const name = nameOf(turn, run.node);
  if (ledger.nodes[run.node] === undefined) {
    const left = sharedTimings.standsStillMs - (turn.wallMs - (ledger.forgotten[run.node] ?? 0));
    return left <= 0 ? { lost: 'its node was removed from the mesh', mayLive: true } : { dueAt: turn.at + left };
  }
  const rebooted = rebootFate(turn, run, name);
  if (rebooted !== null) return rebooted;
  if (mayLiveUnseen(ledger, run)) return null;
  const away = turn.jobs.lead.away[run.node];
  if (away === undefined) return missingFate(turn.jobs, run, name);
  const since = Math.max(away.since, turn.jobs.lead.since);
  const leastMs = leastSilentMs(ledger);
  const spanMs = silentLimitMs(turn.wallMs - run.takenAt, Object.keys(ledger.nodes).length, leastMs);
  const limit = away.state === 'dead' || !isBusy(run) ? jobTimings.adoptionMs : spanMs;
  const backMs = holdOf(ledger, run);
  const deafAt = deafReportAt(turn.jobs, run.node, since);
  const dueAt = Math.max(since + limit, since + backMs, deafAt === null ? since : deafDueAt(since, deafAt, spanMs));
  if (turn.at < dueAt) return { dueAt };
  const gone = awaySentence(turn.jobs, run.node, name, { state: away.state, since }, turn.at);
  const bySetting =
    away.state === 'silent' && limit === leastMs && dueAt === since + limit ? ' (setting silentMs)' : '';
  const back = backMs > limit ? `; when it left, it said that it would be back within ${span(backMs)}` : '';
  return {
    lost: `${gone}${bySetting}${back}${resultWords(run)}`,
    mayLive: away.state === 'silent',
  };
}

/** ms that a run waits for a node that left politely and said when it means to be back; the run is frozen there (SAFETY J2). */
const holdOf = ({ nodes }: Ledger, { node }: Run): number =>
  nodes[node]?.left === true ? (nodes[node].backMs ?? 0) : 0;

/**
 * When a run is lost whose node sends reports but does not hear the leader. The node gets as long as an agent that may come
 * back. Reports are rare, so a few may fail to come before the node counts as silent, from the last one on.
 */
const deafDueAt = (since: number, deafAt: number, spanMs: number): number =>
  Math.min(since + Math.max(jobTimings.adoptionMs, spanMs), deafAt + Math.max(spanMs, jobTimings.reportStaleMs));

/** For a lost run whose result is known: says that the job had ended (SAFETY J9). Else empty. */
function resultWords(run: Run): string {
  if (run.result === null) return '';
  const exit = run.result.exitCode === null ? '' : `, exit ${run.result.exitCode}`;
  return `: the job had ended there (${run.result.state}${exit}), but GitLab never got the result`;
}

function rebootFate(turn: JobsTurn, run: Run, name: string): RunFate {
  const announced = turn.jobs.announced[run.node];
  const heard = turn.jobs.reports[run.node];
  if (run.boot === undefined || !isBusy(run)) return null;
  const lost = { lost: `the machine of ${name} was restarted while the job ran`, mayLive: false };
  if (announced !== undefined && announced.boot !== run.boot) {
    const now = announced.runs.find((other) => other.run === run.run);
    return now !== undefined && !isBusy(now) ? null : lost;
  }
  if (heard === undefined || heard.report.boot === run.boot || (announced && announced.at > heard.at)) return null;
  // Of before this node led: it may be older than the run, of the boot before that in which it was taken.
  if (heard.at < (turn.jobs.lead?.since ?? Number.POSITIVE_INFINITY)) return null;
  const dueAt = heard.at + jobTimings.rebootWordMs;
  return turn.at >= dueAt ? lost : { dueAt };
}

/** A run that its living node no longer names: the node's store was lost, or the run never reached it. */
function missingFate(jobs: JobsState, run: Run, name: string): RunFate {
  const since = jobs.lead?.missing[run.run];
  const announced = jobs.announced[run.node];
  if (since === undefined || announced === undefined || announced.at - since < jobTimings.missingMs) return null;
  return { lost: `${name} lives and knows nothing of this run: its store was lost${resultWords(run)}`, mayLive: false };
}

/** Whether it has any entry: mostly it has none, and then nothing is noted. */
function hasAny(record: Readonly<Record<string, unknown>>): boolean {
  for (const _key in record) return true;
  return false;
}

function countMissing(turn: JobsTurn): void {
  if (turn.jobs.lead === null || turn.context.ledger === null) return;
  const missing: Record<string, number> = {};
  for (const run of Object.values(turn.context.ledger.runs)) {
    const announced = turn.jobs.announced[run.node];
    if (!isOpen(run) || announced === undefined || announced.runs.some((other) => other.run === run.run)) continue;
    missing[run.run] = turn.jobs.lead.missing[run.run] ?? announced.at;
  }
  if (hasAny(missing) || hasAny(turn.jobs.lead.missing)) setLead(turn, { missing });
}

/** Notes since when each node has been dead or silent; the earliest time counts until the node answers again. */
function countAway(turn: JobsTurn): void {
  const { ledger, self } = turn.context;
  if (turn.jobs.lead === null || ledger === null) return;
  const away: Record<string, Away> = {};
  for (const node of Object.keys(ledger.nodes)) {
    if (node === self) continue;
    const { state, since } = turn.context.liveness(node);
    if (state === 'alive') continue;
    const before = turn.jobs.lead.away[node];
    away[node] = { state, since: before?.state === state ? Math.min(before.since, since) : since };
  }
  if (hasAny(away) || hasAny(turn.jobs.lead.away)) setLead(turn, { away });
}

export function loseRuns(turn: JobsTurn): void {
  const { ledger } = turn.context;
  if (ledger === null) return;
  countAway(turn);
  countMissing(turn);
  for (const run of Object.values(ledger.runs)) {
    if (!isOpen(run)) continue;
    const fate = fateOf(turn, run);
    if (fate === null) continue;
    if ('dueAt' in fate) {
      wake(turn, fate.dueAt);
      continue;
    }
    turn.edits.push(lostRun(run.run, fate.lost, turn.wallMs));
    note(turn, {
      event: 'run-lost',
      level: 'warn',
      because: `job ${run.job} is lost: ${fate.lost}`,
      fields: {
        job: run.job,
        run: run.run,
        node: nameOf(turn, run.node),
      },
    });
    forgetAnnounced(turn, run);
    if (fate.mayLive) holdFor(turn, run);
  }
  dropHolds(turn, ledger);
  failLost(turn);
}

/** Takes a run that is lost out of what its node announced, so that the old word does not bring the run back. */
function forgetAnnounced({ jobs }: JobsTurn, run: Run): void {
  const announced = jobs.announced[run.node];
  if (announced === undefined) return;
  const runs = announced.runs.filter((other) => other.run !== run.run);
  jobs.announced = { ...jobs.announced, [run.node]: { ...announced, runs } };
}

/** Only what is committed as lost is failed at GitLab; repeated until GitLab is known to know. */
function failLost(turn: JobsTurn): void {
  const { committed, ledger } = turn.context;
  if (turn.jobs.lead === null || committed === null || !mayWrite(turn)) return;
  for (const run of Object.values(committed.runs)) {
    const newest = ledger?.runs[run.run] ?? run;
    if (run.state !== 'lost' || !isUntold(newest)) continue;
    const failing = turn.jobs.lead?.failing[run.run];
    if (failing !== undefined && turn.at < failing.nextAt) {
      wake(turn, failing.nextAt);
      continue;
    }
    if (failing === undefined && mayBeRetriedTooSoon(turn, committed, run.run)) continue;
    if (turn.wallMs - (run.finishedAt ?? run.takenAt) > jobTimings.failGiveUpMs) {
      turn.edits.push(failedAtGitlab(run.run, 'GitLab did not listen for two hours; it has failed the job by itself'));
      continue;
    }
    turn.effects.push({ kind: 'fail-run', run, because: run.because });
    const attempt = { askedAt: turn.at, nextAt: turn.at + jobTimings.failLimitMs, tries: (failing?.tries ?? 0) + 1 };
    wake(turn, attempt.nextAt);
    setLead(turn, { failing: { ...turn.jobs.lead?.failing, [run.run]: attempt } });
  }
}

export function runFailedAtGitlab(turn: JobsTurn, input: InputOf<'run-failed-at-gitlab'>): void {
  const { lead } = turn.jobs;
  const run = turn.context.ledger?.runs[input.run];
  if (lead === null || run === undefined || !isUntold(run)) return;
  if (!input.ok) {
    const tries = lead.failing[input.run]?.tries ?? 1;
    const nextAt = turn.at + backoffMs(tries - 1);
    wake(turn, nextAt);
    return setLead(turn, { failing: { ...lead.failing, [input.run]: { askedAt: turn.at, nextAt, tries } } });
  }
  turn.edits.push(failedAtGitlab(input.run, input.because));
  // Until it was failed at GitLab just now, the run may have gone on by GitLab's answers, however long ago it was called lost.
  if (lead.holds[run.run] !== undefined) holdFor(turn, run);
  // GitLab is not asked again while the edit is on its way into the ledger.
  const said = { askedAt: turn.at, nextAt: turn.at + jobTimings.failLimitMs, tries: 1 };
  setLead(turn, { failing: { ...lead.failing, [input.run]: said } });
  hintQueue(turn, 'a lost job was failed: GitLab may retry it');
}
