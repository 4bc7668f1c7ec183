import type { NodeId } from '../../protocol/ids.ts';
import type { MessageOf } from '../../protocol/messages.ts';
import { tell, wake } from '../part-turn.ts';
import { span } from '../phrases.ts';
import { hasUnseen } from '../recovered.ts';
import { hostingGone, hostingOf } from './hosted-edits.ts';
import { hostingTimings } from './hosting-timings.ts';
import type { HostingTurn } from './hosting-turn.ts';
import { moveTakenBack, wayBackOf } from './move-edits.ts';
import { isTrialOver } from './trial.ts';

/*
 * The leader's side (SAFETY H5 to H7). A question is answered only when a round that was sent after it came was answered by a
 * quorum, in this term: whoever could elect another leader was still this one's then. What this node may have heard of late
 * proves nothing; nor does it help that the host is the leader itself.
 */

export function hearAsk(turn: HostingTurn, from: NodeId, { nonce, epoch, data }: MessageOf<'lease-ask'>): void {
  const { hosting, at } = turn;
  if (hosting.lead === null || hostingOf(turn.context.ledger)?.host !== from) return;
  if (hosting.lead.asks.some((one) => one.nonce === nonce)) return;
  hosting.lead = { ...hosting.lead, askedAt: at };
  const asks = hosting.lead.asks.filter((one) => at - one.at < hostingTimings.leaseMs);
  if (asks.length > 2 * (hostingTimings.leaseMs / hostingTimings.renewMs)) asks.shift();
  hosting.lead = { ...hosting.lead, asks: [...asks, { from, nonce, epoch, data, at }] };
}

export function tendLeases(turn: HostingTurn): void {
  noteEpoch(turn);
  giveLeases(turn);
  endForRemovedHost(turn);
  takeMoveBack(turn);
}

function giveLeases(turn: HostingTurn): void {
  const { hosting, context, at } = turn;
  const { lead } = hosting;
  if (lead === null || lead.asks.length === 0 || !mayRenew(turn)) return;
  const contactAt = context.leaderContactAt();
  const confirmed = lead.asks.filter((one) => contactAt > one.at);
  if (confirmed.length === 0) return;
  const { host, epoch, data } = hostingOf(context.ledger)!;
  hosting.lead = { ...lead, asks: lead.asks.filter((one) => contactAt <= one.at) };
  // The newest of them is worth the most, and answers all before it.
  const newest = confirmed.findLast((one) => one.from === host && one.epoch === epoch && one.data === data);
  if (newest === undefined) return;
  hosting.lead = { ...hosting.lead, givenAt: at };
  tell(turn, host, { kind: 'lease-given', nonce: newest.nonce, epoch, term: context.term });
}

/** Only what is committed in the own term, and is what the newest document says too (SAFETY H6). */
function mayRenew(turn: HostingTurn): boolean {
  const { context } = turn;
  const [newest, committed] = [hostingOf(context.ledger), hostingOf(context.committed)];
  if (!context.mayAct || newest === null || committed === null || newest.ending?.drained) return false;
  // Its gate is closed for that epoch, which an agent that has begun since does not know: given one, it would be waited for for ever.
  if (newest.move?.unplanned?.failed !== undefined || isTrialOver(turn, newest)) return false;
  if (context.ledger?.nodes[newest.host] === undefined) return false;
  return newest.host === committed.host && newest.epoch === committed.epoch;
}

/**
 * The host was removed from the mesh, and says nothing any more: its gate is surely shut when the last lease that this leader,
 * or one before it, may have given is out by any clock (SAFETY H7). In a mesh that was recovered by force a leader of the
 * former era may give leases still: nothing ends before all have come over.
 */
function endForRemovedHost(turn: HostingTurn): void {
  const { context, hosting, at } = turn;
  const { committed, ledger } = context;
  const found = hostingOf(committed);
  if (hosting.lead === null || !context.mayAct || found === null || ledger === null) return;
  if (committed?.nodes[found.host] !== undefined || !found.ending?.drained || hasUnseen(ledger)) return;
  const overAt = Math.max(hosting.lead.since, hosting.lead.givenAt) + hostingTimings.waitMs;
  if (at < overAt) return wake(turn, overAt);
  turn.edits.push(hostingGone(found.data, context.wallMs));
  // It may find no place among the leader's changes: asked again while it is so.
  wake(turn, at + hostingTimings.renewMs);
}

/** Since when this leader knows that the epoch of now has begun: its host may not have asked for anything before. */
function noteEpoch({ hosting, context, at }: HostingTurn): void {
  const epoch = hostingOf(context.committed)?.epoch;
  if (hosting.lead === null || epoch === undefined || hosting.lead.named?.epoch === epoch) return;
  hosting.lead = { ...hosting.lead, named: { epoch, at } };
}

/**
 * GitLab has moved, and its new host asks for no lease any more before it stood there: it has let nobody in, and cannot from the
 * moment on in which this is committed. Its container runs as long as its lease, by any clock: that is waited for as well.
 */
function takeMoveBack(turn: HostingTurn): void {
  const { context, hosting, at } = turn;
  const { committed, ledger } = context;
  const { lead } = hosting;
  const found = hostingOf(committed);
  if (lead === null || !context.mayAct || found === null || ledger === null || hasUnseen(ledger)) return;
  // What is taken down asks for no lease any more either, and ends where it is.
  const from = wayBackOf(committed!);
  if (from === null || ledger.nodes[from] === undefined || found.ending?.drained) return;
  const isInVain = isTrialOver(turn, found);
  const heardAt = Math.max(lead.since, lead.givenAt, lead.named?.at ?? at);
  const overAt = heardAt + hostingTimings.waitMs + (isInVain ? 0 : ledger.settings.graceMs);
  if (at < overAt) return wake(turn, overAt);
  const name = ledger.nodes[found.host]?.name ?? found.host;
  const why = isInVain ? `has not brought it up in ${span(hostingTimings.trialMs)}` : 'is away and had not served yet';
  const because = `${name}, to which GitLab moved, ${why}: it goes on where it was`;
  turn.edits.push(moveTakenBack(found.data, found.epoch, because, context.wallMs));
  // It may find no place among the leader's changes: asked again while it is so.
  wake(turn, at + hostingTimings.renewMs);
}
