import type { NodeId } from '../../protocol/ids.ts';
import type { PartContext } from '../part.ts';
import type { PartTurn } from '../part-turn.ts';
import type { JobsState, LeadState, OwnState } from './jobs-state.ts';

/**
 * One step of the jobs' part under way: what it reads, and what it has decided so far. `jobs` is a shallow copy whose fields
 * are replaced, never changed inside, so the state that the step began with stays as it was (as in raft/raft-turn.ts). A turn
 * lives for one call of `stepJobs` only.
 */
export interface JobsTurn extends PartTurn {
  readonly jobs: JobsState;
  readonly wallMs: number;
  /** What the ids begin with that this agent process makes; null until one is made. */
  idsOf: string | null;
}

export const openJobsTurn = (jobs: JobsState, context: PartContext): JobsTurn => ({
  context,
  jobs: { ...jobs },
  at: context.at,
  wallMs: context.wallMs,
  effects: [],
  edits: [],
  inbox: [],
  wakeAt: Number.POSITIVE_INFINITY,
  idsOf: null,
});

/** An id that no other agent process makes: node, boot, start of the process, counter. */
export function mint(turn: JobsTurn, kind: string): string {
  const { jobs } = turn;
  jobs.counter += 1;
  turn.idsOf ??= `${turn.context.self}-${turn.context.boot.slice(0, 8)}-${Math.floor(jobs.since?.wallMs ?? turn.wallMs).toString(36)}`;
  return `${kind}-${turn.idsOf}-${jobs.counter}`;
}

export function setOwn({ jobs }: JobsTurn, change: Partial<OwnState>): void {
  jobs.own = { ...jobs.own, ...change };
}

/** Changes what this node remembers as leader; does nothing on a node that does not lead. */
export function setLead({ jobs }: JobsTurn, change: Partial<LeadState>): void {
  if (jobs.lead !== null) jobs.lead = { ...jobs.lead, ...change };
}

/** A node's name for people; its id when the ledger does not know it. */
export const nameOf = (turn: JobsTurn, node: NodeId): string => turn.context.ledger?.nodes[node]?.name ?? node;
