import type { Era } from '../protocol/ledger.ts';
import type { Effect } from './effects.ts';
import type { Input } from './inputs.ts';
import type { JobsContext } from './jobs/contract.ts';
import { stepJobs } from './jobs/step-jobs.ts';
import type { LedgerEdit } from './ledger-edit.ts';
import { isRefusal } from './ledger-edit.ts';
import { compareEras } from './raft/ledger-order.ts';
import { maxProposed, propose } from './raft/proposal.ts';
import { act, hear, hearOwnPersisted, nextWakeAt, settleLead } from './raft/step-raft.ts';
import { closeTurn, note, openTurn, type Turn } from './raft/turn.ts';
import type { CoreState } from './state.ts';
import { leaderContactAt, livenessOf } from './views.ts';

export interface Step {
  state: CoreState;
  effects: Effect[];
  /** ms of boot time of the next wanted `ticked`; Infinity when only an input can change anything. */
  wakeAt: number;
}

/**
 * The whole core: one input in, the next state and what to do out. Pure: the same arguments give the same answer, and
 * `state` is not changed. First the election and the ledger, then the jobs, whose edits the leader makes at once.
 * Inputs must come in the order of their `at`.
 */
export function step(state: CoreState, input: Input): Step {
  const turn = openTurn(state.identity, state.raft, input.at, input.wallMs);
  const owner = input.kind === 'persisted' ? ownerOf(input.seq) : null;
  const counts = hear(turn, input);
  if (input.kind === 'persisted' && owner?.half === 'raft') hearOwnPersisted(turn, owner.seq);
  settleLead(turn);
  const jobs = stepJobs(jobsOf(state, turn), counts ? forJobs(input, owner) : nothing(input), contextOf(state, turn));
  edit(turn, jobs.edits);
  act(turn);
  closeTurn(turn);
  const effects: Effect[] = [];
  const { era } = turn.raft.committed ?? turn.raft.accepted;
  for (const effect of turn.effects) effects.push(addressed(effect, 0, era));
  for (const effect of jobs.effects) effects.push(addressed(effect, 1, era));
  const wakeAt = Math.max(Math.min(nextWakeAt(turn), jobs.wakeAt), input.at);
  turn.raft.wakeAt = wakeAt;
  return { state: { identity: turn.identity, raft: turn.raft, jobs: jobs.jobs }, effects, wakeAt };
}

/** Terms begin anew with an era: a grant of the new one is not of an old term (SAFETY J5, L15). */
function jobsOf({ raft, jobs }: CoreState, turn: Turn): CoreState['jobs'] {
  const isNewEra = compareEras(raft.accepted.era, turn.raft.accepted.era) !== 0;
  return isNewEra ? { ...jobs, highestTerm: 0 } : jobs;
}

const nothing = ({ at, wallMs }: Input): Input => ({ kind: 'ticked', at, wallMs });

/** The jobs hear of everything but the other half's disk. */
function forJobs(input: Input, owner: ReturnType<typeof ownerOf> | null): Input {
  if (owner === null || input.kind !== 'persisted') return input;
  return owner.half === 'jobs' ? { ...input, seq: owner.seq } : nothing(input);
}

/**
 * Both halves number their persists from 1; outside, the raft's are even and the jobs' odd. What is sent, now or when it
 * is on disk, says the era of now: by then another one may have begun, in which it means something else.
 */
function addressed(effect: Effect, half: 0 | 1, era: Era): Effect {
  if (effect.kind === 'send') return { ...effect, era };
  if (effect.kind !== 'persist') return effect;
  return { ...effect, seq: effect.seq * 2 + half, then: effect.then.map((one) => addressed(one, half, era)) };
}
const ownerOf = (seq: number): { half: 'raft' | 'jobs'; seq: number } => ({
  half: seq % 2 === 0 ? 'raft' : 'jobs',
  seq: Math.floor(seq / 2),
});

function contextOf({ identity, jobs }: CoreState, { raft, at, wallMs, self }: Turn): JobsContext {
  const now = { identity, raft, jobs };
  const isLeader = raft.leading !== null;
  return {
    at,
    wallMs,
    self,
    boot: identity.boot,
    isLeader,
    mayAct: isLeader && raft.committed?.stamp.term === raft.term,
    term: raft.term,
    leader: raft.leader?.node ?? null,
    isLeaving: raft.leaving !== null,
    ledger: isLeader ? raft.accepted : raft.committed,
    committed: raft.committed,
    leaderContactAt: () => leaderContactAt(now),
    liveness: (node) => livenessOf(now, node, at),
  };
}

/** The jobs' edits, in order, as one proposal. */
function edit(turn: Turn, edits: readonly LedgerEdit[]): void {
  const { raft } = turn;
  if (edits.length === 0 || !raft.leading || raft.leading.handover !== null) return;
  if (raft.leading.proposed.length >= maxProposed) return;
  let ledger = raft.accepted;
  for (const one of edits) {
    const after = one.apply(ledger);
    if (isRefusal(after)) note(turn, 'edit-refused', `${one.name}: ${after.refused}`, { edit: one.name }, 'debug');
    else ledger = after;
  }
  if (ledger !== raft.accepted) propose(turn, ledger);
}
