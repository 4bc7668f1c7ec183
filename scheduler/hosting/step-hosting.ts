import type { NodeId } from '../../protocol/ids.ts';
import type { PeerMessage } from '../../protocol/messages.ts';
import type { Input } from '../inputs.ts';
import type { PartContext, PartStep } from '../part.ts';
import { hearGiven, tendOwnLease } from './host-lease.ts';
import { hearHostReport } from './host-watch.ts';
import { hostingOf } from './hosted-edits.ts';
import type { HostingState } from './hosting-state.ts';
import type { HostingTurn } from './hosting-turn.ts';
import { hearAsk, tendLeases } from './lease-giving.ts';
import { hearRoundAsk, noteMoved, tellRound } from './round-telling.ts';
import { noteSides } from './sides-met.ts';
import { hearTold, tendTakeover } from './takeover.ts';

export { emptyHosting } from './hosting-state.ts';

/**
 * The part of the core that decides who may serve the mesh's own GitLab (SAFETY H4 to H8). On the host: ask the leader every
 * half second, hold what it gives, end what is not the ledger's any more. On the leader: give, and end a hosting whose host
 * was removed. Called with every input; nearly all of them mean nothing to it.
 */
export function stepHosting(hosting: HostingState, input: Input, context: PartContext): PartStep<HostingState> {
  if (!concerns(input, hosting, context) && !isDue(hosting, context))
    return { state: hosting, effects: [], edits: [], wakeAt: hosting.wakeAt };
  const turn: HostingTurn = {
    context,
    at: context.at,
    hosting: { ...hosting },
    effects: [],
    edits: [],
    inbox: [],
    wakeAt: Number.POSITIVE_INFINITY,
  };
  begin(turn);
  receive(turn, input);
  tendOwnLease(turn);
  hearOneself(turn);
  tendLeases(turn);
  tendTakeover(turn);
  hearOneself(turn);
  noteMoved(turn);
  noteSides(turn);
  const { ledger, committed, leader, term } = context;
  turn.hosting.seen = { ledger, committed, leader, term };
  turn.hosting.wakeAt = turn.wakeAt;
  return { state: turn.hosting, effects: turn.effects, edits: turn.edits, wakeAt: turn.wakeAt };
}

const ofHosting: ReadonlySet<PeerMessage['kind']> = new Set(['lease-ask', 'lease-given', 'round-ask', 'round-told']);

/** The first word of GitLab's host is one too, whatever it says, and each report of it to a leader. */
function concerns(input: Input, { heardHost, lead }: HostingState, { committed }: PartContext): boolean {
  if (input.kind === 'gate-closed' || input.kind === 'round-found') return true;
  if (input.kind !== 'heard' && input.kind !== 'report-heard') return false;
  if (input.kind === 'heard' && ofHosting.has(input.message.kind)) return true;
  const gitlab = committed?.gitlab;
  if (gitlab?.mode !== 'hosted' || gitlab.host !== input.from) return false;
  return heardHost !== gitlab.host || (input.kind === 'report-heard' && lead !== null);
}

/** A leader with a question looks at every step whether a round since then was answered. */
const isDue = ({ seen, wakeAt, lead }: HostingState, context: PartContext): boolean =>
  context.at >= wakeAt ||
  (lead !== null && lead.asks.length > 0) ||
  seen.ledger !== context.ledger ||
  seen.committed !== context.committed ||
  seen.leader !== context.leader ||
  seen.term !== context.term ||
  (lead !== null) !== context.isLeader;

function begin({ hosting, context, at }: HostingTurn): void {
  // In another era terms begin anew, and nobody of the old one answers any more (SAFETY L15).
  if (context.isNewEra) Object.assign(hosting, { lead: null, asks: [] });
  if (!context.isLeader) hosting.lead = null;
  else if (hosting.lead?.term !== context.term)
    hosting.lead = { term: context.term, since: at, givenAt: Number.NEGATIVE_INFINITY, asks: [] };
}

function receive(turn: HostingTurn, input: Input): void {
  if (input.kind === 'gate-closed') {
    const { hosting } = turn;
    hosting.closed = Math.max(hosting.closed, input.epoch);
    if (hosting.closing !== null && hosting.closing.epoch <= input.epoch) hosting.closing = null;
  }
  if (input.kind === 'round-found') tellRound(turn, input.to, input.told);
  if (input.kind !== 'heard' && input.kind !== 'report-heard') return;
  if (hostingOf(turn.context.committed)?.host === input.from) turn.hosting.heardHost = input.from;
  if (input.kind === 'heard') hear(turn, input.from, input.message);
  else if (turn.hosting.heardHost === input.from) hearHostReport(turn, input.report.boot);
}

function hear(turn: HostingTurn, from: NodeId, message: PeerMessage): void {
  if (message.kind === 'lease-ask') hearAsk(turn, from, message);
  if (message.kind === 'lease-given') hearGiven(turn, from, message);
  if (message.kind === 'round-ask') hearRoundAsk(turn, from, message);
  if (message.kind === 'round-told') hearTold(turn, from, message);
}

/** What a host that leads asks and gives itself is heard within the same step. */
function hearOneself(turn: HostingTurn): void {
  for (const message of turn.inbox.splice(0)) hear(turn, turn.context.self, message);
}
