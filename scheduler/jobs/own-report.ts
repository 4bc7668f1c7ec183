import type { Measured, Report } from '../../protocol/report.ts';
import { hostingOf } from '../hosting/hosted-edits.ts';
import type { InputOf } from '../inputs.ts';
import { note } from '../note.ts';
import { wake } from '../part-turn.ts';
import { GiB } from '../phrases.ts';
import { jobTimings } from './job-timings.ts';
import { isBusy, type JobsState, type Reservation } from './jobs-state.ts';
import type { JobsTurn } from './jobs-turn.ts';
import { asTrusted } from './own-trust.ts';
import { waitingJobs } from './queue.ts';
import { reportPace } from './report-pace.ts';
import { type Claim, claimOf, roomOf } from './room.ts';

const arch = (turn: JobsTurn): string => turn.context.ledger?.settings.defaultArch ?? 'amd64';

/** What runs and reservations take of this machine now. */
export function ownClaims(turn: JobsTurn): Claim[] {
  const runs = Object.values(turn.jobs.own.runs)
    .filter(isBusy)
    .map((run) => claimOf({ by: `run ${run.job}`, id: run.run, tags: run.tags, gpus: run.gpus }, arch(turn)));
  return [...runs, ...openReservations(turn.jobs).map((reservation) => reservation.claim)];
}

/** Reservations whose run is not here yet: the run's record may come a moment before the answer that ends the grant. */
export function openReservations(jobs: JobsState): Reservation[] {
  const begun = new Set(Object.values(jobs.own.runs).map((run) => run.grant));
  return Object.values(jobs.own.reserved).filter((reservation) => !begun.has(reservation.grant));
}

export function heardMeasured(turn: JobsTurn, input: InputOf<'measured'>): void {
  const idle = ownClaims(turn).length === 0;
  noteGpuProblems(turn, turn.jobs.measured?.measured.gpuProblems ?? [], input.measured.gpuProblems ?? []);
  turn.jobs.measured = { measured: input.measured, addresses: input.addresses, version: input.version };
  if (idle) turn.jobs.othersBytes = input.measured.usedMemoryBytes;
}

/** Each problem once, when it begins; and that all is well again. */
function noteGpuProblems(turn: JobsTurn, before: readonly string[], now: readonly string[]): void {
  for (const problem of now.filter((one) => !before.includes(one)))
    note(turn, {
      event: 'gpu-problem',
      level: 'warn',
      because: `a GPU of this machine gets no work: ${problem}`,
      fields: { problem },
    });
  if (before.length > 0 && now.length === 0)
    note(turn, { event: 'gpu-well', because: 'all GPUs of this machine work again' });
}

/** This node's report as of now; null before it is in a mesh or measured anything. */
function report(turn: JobsTurn): Report | null {
  const self = turn.context.ledger?.nodes[turn.context.self];
  if (!turn.jobs.measured || !self || !turn.jobs.since) return null;
  const { addresses, version } = turn.jobs.measured;
  const measured = asTrusted(turn.jobs, turn.jobs.measured.measured);
  const runs = Object.values(turn.jobs.own.runs)
    .filter((run) => run.state !== 'delivered' && run.state !== 'discarded' && run.state !== 'lost')
    .map((run) => ({ run: run.run, job: run.job, class: run.class, state: run.state }));
  return {
    v: 1,
    node: turn.context.self,
    name: self.name,
    boot: turn.context.boot,
    store: self.store ?? 'unknown',
    seq: turn.jobs.gossip.seq,
    since: turn.jobs.since.wallMs,
    wallMs: turn.wallMs,
    version,
    addresses,
    measured,
    room: roomOf(measured, ownClaims(turn), turn.jobs.othersBytes),
    runs,
    reserved: openReservations(turn.jobs).map((one) => ({ grant: one.grant, class: one.class })),
    ...queueSeen(turn),
    ...gitlabSeen(turn),
    ...protectedSeen(turn),
    ...standbySeen(turn),
    ...(turn.jobs.copiesSaid === null ? {} : { copies: turn.jobs.copiesSaid }),
  };
}

/** What the host sees of the mesh's GitLab, as long as it is the one of the ledger. */
function gitlabSeen({ jobs: { gitlabSeen: seen }, context }: JobsTurn): Pick<Report, 'gitlab'> {
  const hosting = hostingOf(context.ledger);
  if (seen === null || hosting === null || hosting.host !== context.self) return {};
  return hosting.data === seen.data && hosting.epoch === seen.epoch ? { gitlab: seen } : {};
}

/** Of the one that is protected here. */
function protectedSeen({ jobs: { protectedSeen: seen }, context }: JobsTurn): Pick<Report, 'protected'> {
  const known = context.ledger?.gitlab.protected;
  return seen !== null && known?.node === context.self && known.data === seen.data ? { protected: seen } : {};
}

/** What this machine has of it as a copy. */
function standbySeen({ jobs: { standbySeen: seen }, context }: JobsTurn): Pick<Report, 'standby'> {
  const hosting = hostingOf(context.ledger);
  if (seen === null || hosting === null || hosting.host === context.self) return {};
  return hosting.data === seen.data ? { standby: seen } : {};
}

/** What only the leader knows, for everybody's `status`. */
function queueSeen(turn: JobsTurn): Pick<Report, 'queue'> {
  if (!turn.jobs.lead || !turn.context.mayAct) return {};
  const { queue } = turn.jobs.lead;
  const failingFor = queue.failingSince === null ? 0 : turn.at - queue.failingSince;
  const gitlab =
    queue.failingSince === null ? 'healthy' : failingFor < jobTimings.gitlabFailedMs ? 'degraded' : 'failed';
  const waiting = turn.context.ledger ? waitingJobs(turn.jobs, turn.context.ledger, turn).length : 0;
  const refused = queue.failingSince !== null && queue.isRefused ? { refused: true } : {};
  return { queue: { waiting, gitlab, because: queue.failedBecause, ...refused } };
}

/** What others decide by. Memory and disk count in steps, those of a large machine large, or every measurement would be news. */
function keyOf(report: Report, measured: Measured): string {
  const step = (bytes: number): number => Math.round(bytes / (GiB / 4));
  const memoryStep = Math.max(GiB / 4, measured.capacity.memoryBytes / 32);
  const { room } = report;
  return JSON.stringify([
    room.cpuMillis,
    Math.round(room.memoryBytes / memoryStep),
    Math.round(room.diskBytes / GiB),
    room.gpus.map((gpu) => [
      gpu.uuid,
      step(gpu.memoryBytes),
      gpu.foreign,
      gpu.usedBy,
      gpu.problem,
      gpu.held,
      gpu.shared,
    ]),
    report.runs,
    report.reserved,
    report.queue,
    report.gitlab,
    report.protected,
    report.copies,
    report.standby?.problem,
    report.standby?.drill,
    report.standby?.fenced,
    report.standby?.unkept,
    [measured.owner, measured.plays, measured.paused, measured.pausedBecause, measured.healthy, measured.maxRuns],
    [
      measured.labels,
      measured.executors,
      measured.runtimes,
      measured.sharesGpus,
      measured.workProblems,
      measured.gpuProblems,
      report.addresses,
      report.version,
      report.name,
    ],
  ]);
}

/** Renews this node's own report, and gossips it when it is news or due. The last thing of every step. */
export function sayReport(turn: JobsTurn): void {
  const { gossip } = turn.jobs;
  const { ledger, self } = turn.context;
  const { queue } = queueSeen(turn);
  const said = [gitlabSeen(turn).gitlab, protectedSeen(turn).protected, standbySeen(turn).standby];
  const seen = [queue?.waiting, queue?.gitlab, queue?.because, ...said];
  const madeOf = [
    turn.jobs.own,
    turn.jobs.measured,
    turn.jobs.copiesSaid,
    turn.jobs.othersBytes,
    ledger?.nodes[self],
    arch(turn),
    ...seen,
  ];
  const isSame = gossip.madeOf.length > 0 && madeOf.every((part, index) => part === gossip.madeOf[index]);
  const { gapMs, everyMs } = reportPace(Object.keys(ledger?.nodes ?? {}).length);
  const sameDueAt = gossip.at + (gossip.toSay || gossip.isNews ? gapMs : everyMs);
  if (isSame && turn.at < sameDueAt) {
    wake(turn, sameDueAt);
    return;
  }
  const fresh = report(turn);
  if (fresh === null) return;
  const key = keyOf(fresh, fresh.measured);
  const isNews = gossip.toSay || key !== gossip.key;
  const dueAt = gossip.at + (isNews ? gapMs : everyMs);
  turn.jobs.reports = { ...turn.jobs.reports, [self]: { report: fresh, at: turn.at, clockOffMs: 0 } };
  if (turn.at < dueAt) {
    wake(turn, dueAt);
    turn.jobs.gossip = { ...gossip, madeOf, isNews };
    return;
  }
  turn.effects.push({ kind: 'gossip', report: fresh });
  wake(turn, turn.at + everyMs);
  turn.jobs.gossip = { seq: gossip.seq + 1, at: turn.at, key, toSay: false, madeOf, isNews: false };
}

/** Keeps a member's report if it is newer than what is known: later in the same process, or of a later process. */
export function heardReport(turn: JobsTurn, input: InputOf<'report-heard'>): void {
  const { report } = input;
  if (report.node !== input.from || input.from === turn.context.self) return;
  if (turn.context.ledger !== null && turn.context.ledger.nodes[input.from] === undefined) return;
  const known = turn.jobs.reports[input.from];
  if (known !== undefined && !isNewer(known.report, report, turn.at - known.at)) return;
  if (known !== undefined && known.report.boot !== report.boot)
    note(turn, {
      event: 'node-rebooted',
      because: `${report.name} has another boot id: its machine was restarted`,
      fields: {
        node: report.name,
      },
    });
  const clockOffMs = report.wallMs - turn.wallMs;
  turn.jobs.reports = { ...turn.jobs.reports, [input.from]: { report, at: turn.at, clockOffMs } };
}

/** A clock that was set back must not silence a node for ever: what was not renewed for 10 s is beaten by anything. */
const isNewer = (known: Report, other: Report, ageMs: number): boolean => {
  if (known.boot === other.boot && known.since === other.since) return other.seq > known.seq;
  return other.since > known.since || ageMs > jobTimings.reportStaleMs;
};
