import type { LedgerFault, RunFault } from '../../protocol/job-fault.ts';
import type { Ledger, Run } from '../../protocol/ledger.ts';
import { limits } from '../../protocol/limits.ts';
import { leavingOf } from '../disconnecting.ts';
import type { InputOf } from '../inputs.ts';
import type { LedgerEdit } from '../ledger-edit.ts';
import { note } from '../note.ts';
import { wake } from '../part-turn.ts';
import { cut, plural, span } from '../phrases.ts';
import { mayWrite } from './classes.ts';
import { demandOf } from './demand.ts';
import { backoffMs, jobTimings } from './job-timings.ts';
import type { WaitingJob } from './jobs-state.ts';
import { type JobsTurn, nameOf, setLead } from './jobs-turn.ts';
import { fitOf, type MachineView } from './machine-fit.ts';
import { machinesOf, viewOf } from './machines.ts';
import { canReadQueue, hintQueue } from './queue.ts';

/*
 * Runs that failed by no doing of their own: machine, environment, network (SAFETY J10). The leader writes each down with what
 * shall become of its job, then asks GitLab for another try until it is made, and gives it no machine on which it failed so.
 */

/** Whose fault the end of a run was; null while GitLab does not know that it failed, and for the job's own. */
function faultIn(run: Run): RunFault | null {
  if (run.state === 'lost') return run.failedAtGitlab === true ? { kind: 'machine', begun: true } : null;
  return run.state === 'delivered' && run.result?.state === 'failed' ? (run.fault ?? null) : null;
}

type Named = Pick<Run, 'projectId' | 'name' | 'ref'>;
const isSameJob = (a: Named, b: Named): boolean => a.projectId === b.projectId && a.name === b.name && a.ref === b.ref;

const retried = ({ faults }: Ledger, wallMs: number): LedgerFault[] =>
  Object.values(faults ?? {}).filter(({ retry, at }) => retry !== 'none' && wallMs - at < jobTimings.faultKeptMs);

/** Why the mesh does not have it run again; null when it does. */
function whyNot(turn: JobsTurn, ledger: Ledger, run: Run, { kind, begun }: RunFault): string | null {
  if (!canReadQueue(ledger)) return 'GitLab gave this mesh no admin token, so only its retry: runs it again';
  if (leavingOf(ledger) !== null) return 'GitLab is being disconnected';
  if (run.canceling) return 'somebody was canceling it';
  if (begun && !ledger.settings.retryLost)
    // A job that its machine ended for its owner that machine has run again, as a person would; not one whose time was over.
    return `its script had begun (its retry: does,${kind === 'owner' ? ' its machine, where it was ended for its owner,' : ''} or autogit-node settings retryLost on)`;
  const before = retried(ledger, turn.wallMs);
  const tries = before.filter((other) => isSameJob(other, run)).length;
  const within = span(jobTimings.faultKeptMs);
  if (tries >= limits.retriesPerJob) return `it was tried again ${plural(tries, 'time')} within ${within}`;
  if (before.length >= limits.retriesPerMesh)
    return `the mesh had ${before.length} jobs run again within ${within}: something is wrong with more than this machine`;
  const failed = new Set([run.node, ...failedOn(Object.values(ledger.faults ?? {}), turn.wallMs, run).keys()]);
  const others = machinesOf(viewOf(turn, ledger)).filter(({ node }) => !failed.has(node));
  const demand = demandOf(run.tags, ledger.settings.defaultArch);
  return others.some((machine) => fitOf(demand, machine).ever) ? null : 'no other machine of the mesh could take it';
}

/**
 * Room for one more: what counts for an hour, or as long as its run is shown, stays. What was not tried again goes first, the oldest,
 * and nothing whose run is shown, or it would be judged anew; null where that is too much.
 */
function kept(ledger: Ledger, wallMs: number): Record<string, LedgerFault> | null {
  const entries = Object.entries(ledger.faults ?? {}).filter(
    ([run, { at }]) => wallMs - at < jobTimings.faultKeptMs || ledger.runs[run] !== undefined,
  );
  const over = Math.max(0, entries.length + 1 - limits.faults);
  const gone = entries
    .filter(([run, { retry }]) => retry === 'none' && ledger.runs[run] === undefined)
    .sort(([, a], [, b]) => a.at - b.at)
    .slice(0, over);
  if (gone.length < over) return null;
  const dropped = new Set(gone.map(([run]) => run));
  return Object.fromEntries(entries.filter(([run]) => !dropped.has(run)));
}

type SureEdit = Omit<LedgerEdit, 'apply'> & { apply(ledger: Ledger): Ledger };

const faultSeen = (run: string, fault: LedgerFault): SureEdit => ({
  name: 'fault-seen',
  because: fault.because,
  apply(ledger) {
    if (ledger.runs[run] === undefined || ledger.faults?.[run] !== undefined) return ledger;
    const before = kept(ledger, fault.at);
    return before === null ? ledger : { ...ledger, faults: { ...before, [run]: fault } };
  },
});

const faultOver = (run: string, retry: 'made' | 'none', because: string): LedgerEdit => ({
  name: 'fault-over',
  because,
  apply(ledger) {
    const known = ledger.faults?.[run];
    if (known?.retry !== 'wanted') return ledger;
    return { ...ledger, faults: { ...ledger.faults, [run]: { ...known, retry, because: cut(because, faultChars) } } };
  },
});

/** A ledger holds many of them. */
const faultChars = 400;

export function tendFaults(turn: JobsTurn): void {
  const { ledger, committed } = turn.context;
  if (turn.jobs.lead === null || ledger === null || committed === null) return;
  // Many fail at once where a machine goes: each counts for the budget of the next.
  let known = ledger;
  for (const run of Object.values(committed.runs)) {
    const fault = faultIn(run);
    if (fault === null || known.faults?.[run.run] !== undefined || known.runs[run.run] === undefined) continue;
    if (kept(known, turn.wallMs) === null) break;
    if (turn.wallMs - (run.finishedAt ?? run.takenAt) < jobTimings.failGiveUpMs)
      known = writeDown(turn, known, run, fault).apply(known);
  }
  askForRetries(turn, ledger, committed);
}

function writeDown(turn: JobsTurn, ledger: Ledger, run: Run, fault: RunFault): SureEdit {
  const { job, projectId, name, ref, node, class: key } = run;
  const not = whyNot(turn, ledger, run, fault);
  const because = cut(
    not === null ? `it is tried again on another machine (${fault.kind})` : `the mesh does not try it again: ${not}`,
    faultChars,
  );
  const at = turn.wallMs;
  const retry = not === null ? 'wanted' : 'none';
  const edit = faultSeen(run.run, { job, projectId, name, ref, class: key, node, fault, at, retry, because });
  turn.edits.push(edit);
  note(turn, {
    event: 'run-fault',
    level: 'warn',
    because: `job ${job} failed by no doing of its own on ${nameOf(turn, node)}: ${because}`,
    fields: { job, run: run.run, kind: fault.kind, begun: fault.begun, retry },
  });
  return edit;
}

/** Only what is committed as wanted is asked for (SAFETY J6, J10); again until GitLab has done it, or another has. */
function askForRetries(turn: JobsTurn, ledger: Ledger, committed: Ledger): void {
  if (!mayWrite(turn) || !canReadQueue(committed)) return;
  for (const [run, { job, projectId, at, retry, because }] of Object.entries(committed.faults ?? {})) {
    if (retry !== 'wanted' || ledger.faults?.[run]?.retry !== 'wanted') continue;
    if (leavingOf(ledger) !== null) {
      turn.edits.push(faultOver(run, 'none', 'the mesh does not try it again: GitLab is being disconnected'));
      continue;
    }
    if (turn.wallMs - at > jobTimings.retryGiveUpMs) {
      turn.edits.push(
        faultOver(
          run,
          'none',
          `the mesh does not try it again: GitLab did not do it within ${span(jobTimings.retryGiveUpMs)}`,
        ),
      );
      continue;
    }
    const asked = turn.jobs.lead?.retrying[run];
    wake(turn, asked !== undefined && turn.at < asked.nextAt ? asked.nextAt : turn.at + jobTimings.retryAgainMs);
    if (asked !== undefined && turn.at < asked.nextAt) continue;
    turn.effects.push({ kind: 'retry-job', run, projectId, job, because });
    const next = { nextAt: turn.at + jobTimings.retryAgainMs, tries: (asked?.tries ?? 0) + 1 };
    setLead(turn, { retrying: { ...turn.jobs.lead?.retrying, [run]: next } });
  }
}

export function jobRetried(turn: JobsTurn, { run, done, made, because }: InputOf<'job-retried'>): void {
  const { lead } = turn.jobs;
  const fault = turn.context.ledger?.faults?.[run];
  if (lead === null || fault?.retry !== 'wanted') return;
  if (!done) {
    const tries = lead.retrying[run]?.tries ?? 1;
    const nextAt = turn.at + backoffMs(tries - 1);
    wake(turn, nextAt);
    return setLead(turn, { retrying: { ...lead.retrying, [run]: { nextAt, tries } } });
  }
  turn.edits.push(faultOver(run, made ? 'made' : 'none', because));
  note(turn, {
    event: 'run-retried',
    level: made ? 'info' : 'warn',
    because: `job ${fault.job}: ${because}`,
    fields: { job: fault.job, run },
  });
  // GitLab is not asked again while the edit is on its way into the ledger.
  setLead(turn, {
    retrying: { ...lead.retrying, [run]: { nextAt: turn.at + jobTimings.retryAgainMs, tries: 1 } },
  });
  hintQueue(turn, 'a job that failed by no doing of its own may wait again');
}

/** Of these, machines on which a job of that name has failed so a moment ago, with the sentence for `why`. */
function failedOn(
  faults: readonly LedgerFault[],
  wallMs: number,
  job: Named & { job: number },
): ReadonlyMap<string, string> {
  let found: Map<string, string> | null = null;
  for (const before of faults) {
    if (before.job >= job.job || !isSameJob(before, job) || Math.abs(wallMs - before.at) >= jobTimings.elsewhereMs)
      continue;
    found ??= new Map();
    found.set(
      before.node,
      `failed job ${before.job}, of which this is another try, ${span(wallMs - before.at)} ago (${before.fault.kind}): other machines come first`,
    );
  }
  return found ?? nowhere;
}

const nowhere: ReadonlyMap<string, string> = new Map();

/**
 * Of each class, the machines that it is kept from for a while, with why. A grant is for a class: while a job waits that failed on
 * a machine, none of its class goes there, as GitLab might answer with that job.
 */
export function keptFrom(
  ledger: Ledger,
  wallMs: number,
  waiting: readonly WaitingJob[],
): ReadonlyMap<string, ReadonlyMap<string, string>> {
  const found = new Map<string, Map<string, string>>();
  const faults = Object.values(ledger.faults ?? {});
  if (faults.length === 0) return found;
  const keep = (key: string, machines: ReadonlyMap<string, string>): void =>
    void found.set(key, new Map([...(found.get(key) ?? []), ...machines]));
  // Another try may wait at GitLab before its queue is read again.
  for (const { node, at, job, ...fault } of faults)
    if (Math.abs(wallMs - at) < jobTimings.unseenTryMs)
      keep(fault.class, new Map([[node, `failed job ${job} a moment ago: another try of it may wait`]]));
  // Thousands may wait, and nearly none of them has failed: each is looked up by its name.
  const byName = new Map<string, LedgerFault[]>();
  for (const fault of faults) {
    const ofName = byName.get(fault.name);
    if (ofName === undefined) byName.set(fault.name, [fault]);
    else ofName.push(fault);
  }
  for (const job of waiting) {
    const ofName = byName.get(job.name);
    const machines = ofName === undefined ? nowhere : failedOn(ofName, wallMs, job);
    if (machines.size > 0) keep(job.class, machines);
  }
  return found;
}

/** It takes jobs, if not at this moment: one that is away, drained, paused or sick is not waited for. */
const isWilling = ({ away, drained, measured }: MachineView): boolean =>
  away === null &&
  !drained &&
  measured?.healthy === true &&
  measured.paused !== 'all' &&
  (measured.workProblems ?? []).length === 0;

/** The machines for a class that is kept from some: as they are where nobody else takes jobs that could take it. */
export function elsewhereFirst(
  machines: readonly MachineView[],
  kept: ReadonlyMap<string, string> | undefined,
  tags: readonly string[],
  defaultArch: string,
): MachineView[] {
  const demand = demandOf(tags, defaultArch);
  const isElse = (machine: MachineView): boolean =>
    !kept?.has(machine.node) && isWilling(machine) && fitOf(demand, machine).ever;
  if (kept === undefined || !machines.some(isElse)) return [...machines];
  return machines.map((machine) => ({ ...machine, away: machine.away ?? kept.get(machine.node) ?? null }));
}
