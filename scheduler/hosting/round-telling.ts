import type { NodeId } from '../../protocol/ids.ts';
import type { MessageOf } from '../../protocol/messages.ts';
import { note } from '../note.ts';
import { tell } from '../part-turn.ts';
import { hostingOf } from './hosted-edits.ts';
import type { HostingTurn } from './hosting-turn.ts';

/*
 * The side of a machine that holds copies (SAFETY H10): the leader asks for its newest whole round. What is told stays on its disk
 * until the ledger is past that epoch, as the next one may begin with it.
 */

/** A machine whose ledger is older, or newer, than the question does not answer: the leader asks again. */
export function hearRoundAsk(turn: HostingTurn, from: NodeId, { nonce, epoch, data }: MessageOf<'round-ask'>): void {
  const { context } = turn;
  const now = hostingOf(context.committed);
  if (from !== context.leader || now?.data !== data || now.epoch !== epoch || now.host === context.self) return;
  turn.effects.push({ kind: 'find-round', to: from, nonce, epoch, data });
}

export const tellRound = (turn: HostingTurn, to: NodeId, told: MessageOf<'round-told'>): void => tell(turn, to, told);

/** Said once on every machine: where GitLab is now, and why. */
export function noteMoved(turn: HostingTurn): void {
  const [before, now] = [hostingOf(turn.hosting.seen.committed), hostingOf(turn.context.committed)];
  if (before === null || now?.data !== before.data || now.host === before.host || !now.move) return;
  const { because } = now.move;
  note(turn, { event: 'gitlab-moved', because, fields: { from: before.host, to: now.host, epoch: now.epoch } });
}
