import type { NodeId } from '../../protocol/ids.ts';
import type { PeerMessage } from '../../protocol/messages.ts';
import type { Effect } from '../effects.ts';
import type { LedgerEdit } from '../ledger-edit.ts';
import type { PartContext } from '../part.ts';
import type { JobsState } from './jobs-state.ts';

/** What one step gathers. Lives for one call of `stepJobs` only; the state itself is never changed in place. */
export interface JobsTurn {
  readonly context: PartContext;
  readonly at: number;
  readonly wallMs: number;
  readonly effects: Effect[];
  readonly edits: LedgerEdit[];
  /** Messages from this node to itself: the leader may grant to its own machine. */
  readonly inbox: PeerMessage[];
  wakeAt: number;
}

export const newJobsTurn = (context: PartContext): JobsTurn => ({
  context,
  at: context.at,
  wallMs: context.wallMs,
  effects: [],
  edits: [],
  inbox: [],
  wakeAt: Number.POSITIVE_INFINITY,
});

/** Asks to be stepped again at `at`, if nothing earlier does. */
export function wake(turn: JobsTurn, at: number): void {
  if (at > turn.at && at < turn.wakeAt) turn.wakeAt = at;
}

export function tell(turn: JobsTurn, to: NodeId, message: PeerMessage): void {
  if (to === turn.context.self) turn.inbox.push(message);
  else turn.effects.push({ kind: 'send', to, message });
}

/** An id that no other agent process makes: node, boot, start of the process, counter. */
export function mint(jobs: JobsState, turn: JobsTurn, kind: string): { id: string; jobs: JobsState } {
  const counter = jobs.counter + 1;
  const started = Math.floor(jobs.since?.wallMs ?? turn.wallMs).toString(36);
  const id = `${kind}-${turn.context.self}-${turn.context.boot.slice(0, 8)}-${started}-${counter}`;
  return { id, jobs: { ...jobs, counter } };
}

/** A node's name for people; its id when the ledger does not know it. */
export const nameOf = (turn: JobsTurn, node: NodeId): string => turn.context.ledger?.nodes[node]?.name ?? node;
