import type { NodeId } from '../../protocol/ids.ts';
import type { MessageOf } from '../../protocol/messages.ts';
import { note } from '../note.ts';
import { tell, wake } from '../part-turn.ts';
import { hostingOf } from './hosted-edits.ts';
import { hostingTimings } from './hosting-timings.ts';
import type { HostingTurn } from './hosting-turn.ts';

/*
 * The host's side (SAFETY H5, H7, H8). Life of a lease: the committed ledger names this node and an epoch -> it asks the
 * leader, and asks again every half second -> an answer lets it serve until its own time of asking + L -> the ledger names
 * another host or epoch, or the GitLab is uninstalled: the gate is closed for that epoch, for good.
 */

/** The hosting that this node is to serve, by the committed ledger; null where it is another's, drained, failed here, or closed here. */
function served({ context, hosting }: HostingTurn) {
  const found = hostingOf(context.committed);
  if (found === null || found.host !== context.self || found.ending?.drained) return null;
  if (found.move?.unplanned?.failed !== undefined) return null;
  return found.epoch > Math.max(hosting.closed, hosting.closing?.epoch ?? 0) ? found : null;
}

export function hearGiven(turn: HostingTurn, from: NodeId, { nonce, epoch }: MessageOf<'lease-given'>): void {
  const { hosting } = turn;
  const ask = hosting.asks.find((one) => one.nonce === nonce && one.to === from && one.epoch === epoch);
  const mine = served(turn);
  if (ask === undefined || mine === null || mine.epoch !== epoch) return;
  // What was asked before it is answered by it too.
  hosting.asks = hosting.asks.filter((one) => one.at > ask.at);
  const until = ask.at + hostingTimings.leaseMs;
  const { lease } = hosting;
  if (until <= turn.at || (lease?.epoch === epoch && until <= lease.until)) return;
  if (lease === null || lease.until <= turn.at)
    note(turn, {
      event: 'gitlab-lease-held',
      because: `this machine may serve the mesh's GitLab (epoch ${epoch})`,
      fields: { epoch },
    });
  hosting.lease = { epoch, data: mine.data, until };
  turn.effects.push({ kind: 'hold-lease', epoch, data: mine.data, until });
}

export function tendOwnLease(turn: HostingTurn): void {
  endIfOver(turn);
  tellClosing(turn);
  noteIfOut(turn);
  const mine = served(turn);
  if (mine === null) {
    if (turn.hosting.asks.length > 0) turn.hosting.asks = [];
    return;
  }
  ask(turn, mine);
}

/** What it holds is not the ledger's any more, or it is told to take it down: the gate is closed first of all. */
function endIfOver(turn: HostingTurn): void {
  const { hosting, context } = turn;
  const now = hostingOf(context.committed);
  const isMine = now?.host === context.self;
  const held = hosting.lease?.epoch ?? 0;
  if (isMine && now.ending?.drained && hosting.closed < now.epoch) return close(turn, now.epoch, 'it is uninstalled');
  if (held === 0 || (isMine && now.epoch === held)) return;
  const because =
    now === null
      ? 'the mesh hosts no GitLab any more'
      : `the mesh's GitLab is of epoch ${now.epoch} now, on ${context.committed?.nodes[now.host]?.name ?? now.host}`;
  close(turn, held, because);
}

function close(turn: HostingTurn, epoch: number, because: string): void {
  const { hosting } = turn;
  hosting.lease = null;
  if ((hosting.closing?.epoch ?? 0) >= epoch) return;
  hosting.closing = { epoch, because, saidAt: Number.NEGATIVE_INFINITY };
  note(turn, { event: 'gitlab-lease-ended', because: `GitLab's gate here is closed: ${because}`, fields: { epoch } });
}

function tellClosing(turn: HostingTurn): void {
  const { closing } = turn.hosting;
  if (closing === null) return;
  const dueAt = closing.saidAt + hostingTimings.endAgainMs;
  if (turn.at < dueAt) return wake(turn, dueAt);
  turn.effects.push({ kind: 'end-lease', epoch: closing.epoch, because: closing.because });
  turn.hosting.closing = { ...closing, saidAt: turn.at };
  wake(turn, turn.at + hostingTimings.endAgainMs);
}

/** The gate has shut by itself; it opens again with the next answer. */
function noteIfOut(turn: HostingTurn): void {
  const { hosting } = turn;
  if (hosting.lease === null) return;
  if (turn.at < hosting.lease.until) return wake(turn, hosting.lease.until);
  const { epoch } = hosting.lease;
  hosting.lease = null;
  const because = `GitLab stands still here: no leader with a majority has let it go on for ${hostingTimings.leaseMs / 1000} s`;
  note(turn, { event: 'gitlab-lease-out', level: 'warn', because, fields: { epoch } });
}

/** The last questions are kept until an answer to them could not help any more. */
function ask(turn: HostingTurn, { epoch, data }: { epoch: number; data: string }): void {
  const { hosting, context, at } = turn;
  const { leader, committed } = context;
  if (at < hosting.nextAskAt) return wake(turn, hosting.nextAskAt);
  hosting.nextAskAt = at + hostingTimings.renewMs;
  wake(turn, hosting.nextAskAt);
  // One of an earlier version would choke on the question.
  if (leader === null || !committed?.nodes[leader]?.can?.includes('hosting')) return;
  hosting.counter += 1;
  const nonce = `${context.self}-${context.boot.slice(0, 8)}-${Math.floor(at)}-${hosting.counter}`;
  const open = hosting.asks.filter((one) => at - one.at < hostingTimings.leaseMs && one.epoch === epoch);
  hosting.asks = [...open, { nonce, to: leader, epoch, at }];
  tell(turn, leader, { kind: 'lease-ask', nonce, epoch, data });
}
