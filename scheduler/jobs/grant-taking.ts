import { type NodeId, shownClass } from '../../protocol/ids.ts';
import { limits } from '../../protocol/limits.ts';
import type { MessageOf } from '../../protocol/messages.ts';
import type { Effect } from '../effects.ts';
import type { InputOf, TakeOutcome } from '../inputs.ts';
import { note } from '../note.ts';
import { tell, wake } from '../part-turn.ts';
import { cut, span } from '../phrases.ts';
import { demandOf } from './demand.ts';
import { jobTimings } from './job-timings.ts';
import { type Asking, isBusy, type Reservation, without } from './jobs-state.ts';
import { type JobsTurn, nameOf, setOwn } from './jobs-turn.ts';
import { type Fit, fitOf, type MachineView } from './machine-fit.ts';
import { openReservations, ownClaims } from './own-report.ts';
import { asTrusted } from './own-trust.ts';
import { claimOf, roomOf } from './room.ts';

/*
 * The life of a grant on its node (SAFETY J4, J5): room reserved -> `asking` on disk -> POST (take-job) -> answer.
 * used: the run is ours, on disk, announced. empty: GitLab had nothing. refused: no room, an old term, or GitLab refused.
 */

const rememberedGrants = 500;

type Outcome = MessageOf<'grant-answer'>['outcome'];
type More = Pick<MessageOf<'grant-answer'>, 'unknownRunner' | 'waitMs'>;
const answer = (turn: JobsTurn, to: NodeId, grant: string, outcome: Outcome, because: string, more: More = {}): void =>
  tell(turn, to, { kind: 'grant-answer', grant, outcome, because: cut(because), ...more });

export function heardGrant(turn: JobsTurn, from: NodeId, grant: MessageOf<'grant'>): void {
  if (turn.jobs.own.usedGrants.includes(grant.grant)) return;
  const refusal = staleReason(turn, from, grant);
  if (refusal !== null) {
    answer(turn, from, grant.grant, 'refused', refusal);
    return;
  }
  setOwn(turn, { usedGrants: [...turn.jobs.own.usedGrants, grant.grant].slice(-rememberedGrants) });
  const verdict = ownFit(turn, grant);
  if (!verdict.fits) {
    answer(turn, from, grant.grant, 'refused', verdict.because);
    return;
  }
  reserve(turn, from, grant, verdict.gpus);
}

function staleReason(turn: JobsTurn, from: NodeId, grant: MessageOf<'grant'>): string | null {
  const highest = Math.max(turn.context.term, turn.jobs.highestTerm);
  if (grant.term < highest) return `the grant is of term ${grant.term}, and term ${highest} has begun`;
  // Its first round came before its first grant: who does not lead here gives none, and raises nothing (SAFETY L17).
  if (grant.term > highest || turn.context.leader !== from)
    return `this machine does not know ${nameOf(turn, from)} for the leader of term ${grant.term}`;
  if (turn.context.isLeaving) return 'this node leaves';
  if (turn.context.committed?.forgotten[turn.context.self] !== undefined) return 'this node was removed from the mesh';
  if (Object.keys(turn.jobs.own.reserved).length >= limits.runsInFlight) return 'too many grants are under way here';
  return null;
}

/** This machine as placement sees it, with everything of ours counted, from the newest measurement. */
function ownMachine(turn: JobsTurn): MachineView {
  const { context } = turn;
  const node = context.ledger?.nodes[context.self];
  const measured = turn.jobs.measured ? asTrusted(turn.jobs, turn.jobs.measured.measured) : null;
  const busy = Object.values(turn.jobs.own.runs).filter(isBusy).length;
  return {
    node: context.self,
    name: node?.name ?? context.self,
    measured,
    room: measured ? roomOf(measured, ownClaims(turn), turn.jobs.othersBytes) : null,
    holders: {},
    runs: busy + openReservations(turn.jobs).length,
    witness: node?.witness ?? false,
    drained: node?.drained ?? false,
    away: null,
    isHost: context.ledger?.gitlab.host === context.self,
  };
}

/** The node's own look at its room: the last word, whatever the leader thought. */
function ownFit(turn: JobsTurn, grant: MessageOf<'grant'>): Fit {
  const machine = ownMachine(turn);
  const demand = demandOf(grant.tags, turn.context.ledger?.settings.defaultArch ?? 'amd64');
  if (grant.gpus.length === 0) return fitOf(demand, machine);
  if (machine.room === null || machine.measured === null) return fitOf(demand, machine);
  const granted = {
    ...machine,
    measured: {
      ...machine.measured,
      capacity: {
        ...machine.measured.capacity,
        gpus: machine.measured.capacity.gpus.filter((gpu) => grant.gpus.includes(gpu.uuid)),
      },
    },
  };
  if (granted.measured.capacity.gpus.length < grant.gpus.length)
    return { fits: false, ever: false, gpus: [], because: 'a GPU of the grant is not in this machine' };
  const verdict = fitOf(demand, granted);
  if (!verdict.fits) return verdict;
  const taken = machine.room.gpus.find(
    (gpu) => grant.gpus.includes(gpu.uuid) && gpu.held !== undefined && !verdict.gpus.includes(gpu.uuid),
  );
  return taken
    ? { fits: false, ever: true, gpus: [], because: 'a GPU of the grant is taken' }
    : { ...verdict, gpus: grant.gpus };
}

function reserve(turn: JobsTurn, leader: NodeId, grant: MessageOf<'grant'>, gpus: readonly string[]): void {
  const by = 'a grant that waits for GitLab';
  const claim = claimOf(
    { by, id: grant.grant, tags: grant.tags, gpus },
    turn.context.ledger?.settings.defaultArch ?? 'amd64',
  );
  const reservation: Reservation = {
    grant: grant.grant,
    class: grant.class,
    runner: grant.runner,
    leader,
    claim,
    since: turn.at,
  };
  const asking: Asking = [
    ...turn.jobs.asking,
    { grant: grant.grant, class: grant.class, runner: grant.runner, wallMs: turn.wallMs },
  ];
  persistAsking(turn, asking, [
    {
      kind: 'take-job',
      grant: grant.grant,
      class: grant.class,
      tags: [...grant.tags],
      token: grant.token,
      gpus: [...gpus],
      because: grant.because,
    },
  ]);
  setOwn(turn, { reserved: { ...turn.jobs.own.reserved, [grant.grant]: reservation } });
}

/** Writes `asking` to disk; the effects of `then` follow only when it is there. */
function persistAsking({ jobs, effects }: JobsTurn, asking: Asking, then: Effect[]): void {
  effects.push({ kind: 'persist', part: 'jobs', seq: jobs.seq, writes: [{ key: 'asking', value: asking }], then });
  jobs.seq += 1;
  jobs.asking = asking;
}

/** Takes grants out of `asking`, on disk too. */
function forgetAsking(turn: JobsTurn, grants: readonly string[]): void {
  const asking = turn.jobs.asking.filter((entry) => !grants.includes(entry.grant));
  if (asking.length < turn.jobs.asking.length) persistAsking(turn, asking, []);
}

export function tookJob(turn: JobsTurn, input: InputOf<'take-ended'>): void {
  const reservation = turn.jobs.own.reserved[input.grant];
  const leader = reservation?.leader ?? turn.context.leader;
  forgetAsking(turn, [input.grant]);
  setOwn(turn, { reserved: without(turn.jobs.own.reserved, input.grant) });
  const { outcome } = input;
  if (outcome.kind === 'taken') {
    const { runs } = turn.jobs.own;
    const isKnown = runs[outcome.run.run] !== undefined;
    setOwn(turn, { runs: isKnown ? runs : { ...runs, [outcome.run.run]: outcome.run }, hasUnannounced: true });
    if (leader !== null) answer(turn, leader, input.grant, 'used', `job ${outcome.run.job} is taken`);
    return;
  }
  if (outcome.kind === 'failed' && outcome.maybeTaken)
    note(turn, {
      event: 'grant-unanswered',
      level: 'warn',
      because: `GitLab did not answer whether it gave a job (${outcome.because}): the leader compares its list with ours`,
      fields: { grant: input.grant },
    });
  const result = outcome.kind === 'empty' ? 'empty' : 'refused';
  if (leader !== null) answer(turn, leader, input.grant, result, outcome.because, moreOf(outcome));
}

/** What an answer of GitLab says to the leader beside the end of the grant. */
const moreOf = (outcome: TakeOutcome): More =>
  outcome.kind !== 'failed'
    ? {}
    : {
        ...(outcome.unknownRunner ? { unknownRunner: true } : {}),
        ...(outcome.waitMs ? { waitMs: Math.min(outcome.waitMs, 3_600_000) } : {}),
      };

/** Gives up reservations that the shell never answered, and tells of grants that a former process left (SAFETY J3). */
export function tendGrants(turn: JobsTurn): void {
  for (const reservation of Object.values(turn.jobs.own.reserved)) {
    if (turn.at - reservation.since < jobTimings.reservationLimitMs) continue;
    note(turn, {
      event: 'grant-unanswered',
      level: 'warn',
      because: `the request for a grant has had no end for ${span(jobTimings.reservationLimitMs)}: its room is free again`,
      fields: { grant: reservation.grant },
    });
    forgetAsking(turn, [reservation.grant]);
    setOwn(turn, { reserved: without(turn.jobs.own.reserved, reservation.grant) });
  }
  tellLeftOver(turn);
}

function tellLeftOver(turn: JobsTurn): void {
  const { leader } = turn.context;
  if (turn.jobs.own.leftOver.length === 0 || leader === null) return;
  const dueAt = (turn.jobs.since?.at ?? turn.at) + jobTimings.leftOverWaitMs;
  if (turn.at < dueAt) {
    wake(turn, dueAt);
    return;
  }
  const taken = new Set(Object.values(turn.jobs.own.runs).map((run) => run.grant));
  for (const entry of turn.jobs.own.leftOver) {
    if (taken.has(entry.grant)) continue;
    const because = `this agent was restarted while it asked GitLab for a job of ${entry.class === '' ? 'no tags' : shownClass(entry.class)}: what GitLab may have given then is looked for`;
    note(turn, { event: 'grant-unanswered', level: 'warn', because, fields: { grant: entry.grant } });
    answer(turn, leader, entry.grant, 'refused', because);
  }
  forgetAsking(
    turn,
    turn.jobs.own.leftOver.map((entry) => entry.grant),
  );
  setOwn(turn, { leftOver: [] });
}
