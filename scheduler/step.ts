import type { Era } from '../protocol/ledger.ts';
import type { Effect } from './effects.ts';
import { stepHosting } from './hosting/step-hosting.ts';
import type { Input } from './inputs.ts';
import { stepJobs } from './jobs/step-jobs.ts';
import type { LedgerEdit } from './ledger-edit.ts';
import { isRefusal } from './ledger-edit.ts';
import { note } from './note.ts';
import type { Part, PartContext, PartStep } from './part.ts';
import { compareEras } from './raft/ledger-order.ts';
import { maxProposed, propose } from './raft/proposal.ts';
import { closeRaftTurn, openRaftTurn, type RaftTurn } from './raft/raft-turn.ts';
import { act, hear, hearOwnPersisted, nextWakeAt, settleLead } from './raft/step-raft.ts';
import type { CoreState, PartStates } from './state.ts';
import { leaderContactAt, livenessOf } from './views.ts';

interface StepResult {
  state: CoreState;
  effects: Effect[];
  /** ms of boot time of the next wanted `ticked`; Infinity when only an input can change anything. */
  wakeAt: number;
}

/** Every part, in the order in which they decide; what one of them edits, the next one's step does not see yet. */
const parts: { readonly [K in keyof PartStates]: Part<PartStates[K]> } = {
  jobs: stepJobs,
  hosting: stepHosting,
};
const partKeys = Object.keys(parts) as (keyof PartStates)[];

/**
 * The whole core: one input in, the next state and what to do out. Pure: the same arguments give the same answer, and
 * `state` is not changed. First the election and the ledger, then the parts, whose edits the leader makes at once.
 * Inputs must come in the order of their `at`.
 */
export function step(state: CoreState, input: Input): StepResult {
  const turn = openRaftTurn(state.identity, state.raft, input.at, input.wallMs);
  const counts = hear(turn, input);
  if (input.kind === 'persisted' && input.part === 'raft') hearOwnPersisted(turn, input.seq);
  settleLead(turn);
  const stepped = stepParts(state, counts ? input : nothing(input), contextOf(state, turn));
  edit(turn, stepped.edits);
  act(turn);
  closeRaftTurn(turn);
  const { era } = turn.raft.committed ?? turn.raft.accepted;
  const effects: Effect[] = [];
  for (const one of turn.effects) effects.push(addressed(one, era));
  for (const one of stepped.effects) effects.push(addressed(one, era));
  const wakeAt = Math.max(Math.min(nextWakeAt(turn), stepped.wakeAt), input.at);
  turn.raft.wakeAt = wakeAt;
  return { state: { identity: turn.identity, raft: turn.raft, ...stepped.state }, effects, wakeAt };
}

type NextStates = { -readonly [K in keyof PartStates]: PartStates[K] };

function stepParts(before: PartStates, input: Input, context: PartContext): PartStep<PartStates> {
  const state = { jobs: before.jobs, hosting: before.hosting };
  const all: PartStep<NextStates> = { state, effects: [], edits: [], wakeAt: Number.POSITIVE_INFINITY };
  for (const key of partKeys) stepOne(key, all, before, input, context);
  return all;
}

function stepOne<K extends keyof PartStates>(
  key: K,
  all: PartStep<NextStates>,
  before: PartStates,
  input: Input,
  context: PartContext,
): void {
  // Of the disk a part hears what it wrote itself.
  const isOthers = input.kind === 'persisted' && input.part !== key;
  const one = parts[key](before[key], isOthers ? nothing(input) : input, context);
  all.state[key] = one.state;
  // Nearly every input is a heartbeat, of which a part makes nothing.
  if (one.effects.length > 0) all.effects.push(...one.effects);
  if (one.edits.length > 0) all.edits.push(...one.edits);
  if (one.wakeAt < all.wakeAt) all.wakeAt = one.wakeAt;
}

const nothing = ({ at, wallMs }: Input): Input => ({ kind: 'ticked', at, wallMs });

/** What is sent, now or when it is on disk, says the era of now: by then another one may have begun, in which it means something else. */
function addressed(effect: Effect, era: Era): Effect {
  if (effect.kind === 'send') return { kind: 'send', to: effect.to, message: effect.message, era };
  if (effect.kind !== 'persist' || effect.then.length === 0) return effect;
  return { ...effect, then: effect.then.map((one) => addressed(one, era)) };
}

function contextOf(before: CoreState, { raft, at, wallMs, self }: RaftTurn): PartContext {
  const now = { identity: before.identity, raft };
  const isLeader = raft.leading !== null;
  // Nothing of the election changes while the parts are stepped.
  let contactAt: number | null = null;
  return {
    at,
    wallMs,
    self,
    boot: before.identity.boot,
    isLeader,
    mayAct: isLeader && raft.committed?.stamp.term === raft.term,
    term: raft.term,
    isNewEra: compareEras(before.raft.accepted.era, raft.accepted.era) !== 0,
    leader: raft.leader?.node ?? null,
    isLeaving: raft.leaving !== null,
    ledger: isLeader ? raft.accepted : raft.committed,
    committed: raft.committed,
    leaderContactAt: () => {
      contactAt ??= leaderContactAt(now);
      return contactAt;
    },
    liveness: (node) => livenessOf(now, node, at),
  };
}

/** The parts' edits, in order, as one proposal. */
function edit(turn: RaftTurn, edits: readonly LedgerEdit[]): void {
  const { raft } = turn;
  if (edits.length === 0 || !raft.leading || raft.leading.handover !== null) return;
  if (raft.leading.proposed.length >= maxProposed) return;
  let ledger = raft.accepted;
  for (const one of edits) {
    const after = one.apply(ledger);
    if (isRefusal(after))
      note(turn, {
        event: 'edit-refused',
        level: 'debug',
        because: `${one.name}: ${after.refused}`,
        fields: { edit: one.name },
      });
    else ledger = after;
  }
  if (ledger !== raft.accepted) propose(turn, ledger);
}
