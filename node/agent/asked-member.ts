import type { Answer, Ask } from '../../protocol/asks.ts';
import { AutogitError, type ErrorCode, sentenceOf } from '../../protocol/errors.ts';
import type { NodeId } from '../../protocol/ids.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import { nodeName } from '../../scheduler/snapshot-view.ts';

interface MemberLines {
  ledger(): Ledger;
  /** A member, this one included. */
  ask(node: NodeId, ask: Ask, timeoutMs: number): Promise<Answer>;
}

/** A person's question to a member of the mesh: what it refuses, and that it does not answer, are errors with words. */
export async function askMember(
  { ledger, ask: asking }: MemberLines,
  node: NodeId,
  ask: Ask,
  timeoutMs: number,
): Promise<Answer> {
  const name = nodeName(ledger(), node);
  const answer = await asking(node, ask, timeoutMs).catch((cause: unknown) => {
    throw new AutogitError('timed-out', `${name} does not answer: ${sentenceOf(cause)}`, {
      cause,
      hint: 'see which machines are missing, or run an earlier version that does not know the question: autogit-node status',
    });
  });
  if (answer.kind === 'failed') throw new AutogitError(answer.code as ErrorCode, answer.because, { hint: answer.hint });
  if (answer.kind === 'refused')
    throw new AutogitError('unsupported', `${name}: ${answer.because}`, {
      hint: 'how things are: autogit-node status',
    });
  return answer;
}
