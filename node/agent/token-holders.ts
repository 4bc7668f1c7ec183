import type { Answer, Ask } from '../../protocol/asks.ts';
import { AutogitError, type ErrorCode } from '../../protocol/errors.ts';
import type { NodeId } from '../../protocol/ids.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import { askedForGitlab } from '../../scheduler/job-wish.ts';
import { nodeName } from '../../scheduler/snapshot-view.ts';

export interface HolderLines {
  ledger: Ledger;
  leader: NodeId | null;
  self: NodeId;
  /** This node's own answer. */
  own(ask: Ask): Promise<Answer>;
  ask(node: NodeId, ask: Ask, timeoutMs: number): Promise<Answer>;
}

/** Longer than whoever is asked takes for GitLab. */
const oneMs = 15_000;
/** All of them together: somebody waits at a terminal. */
const allMs = 30_000;

/**
 * Asks those that hold GitLab's token, one after the other, until one has an answer: a machine of an earlier version does
 * not know the question, one that has just come to vote has no token yet. Throws what the one that tried says, `no-gitlab`
 * without a token in the mesh, `no-leader` when nobody could be asked.
 */
export async function askHolders(ask: Ask, lines: HolderLines): Promise<Answer> {
  const { ledger, leader, self } = lines;
  refuseWithoutToken(ledger);
  const tried: string[] = [];
  const end = performance.now() + allMs;
  for (const node of askedForGitlab(ledger, leader, self)) {
    const leftMs = Math.min(oneMs, end - performance.now());
    if (leftMs <= 0) break;
    const answer = await (node === self ? lines.own(ask) : lines.ask(node, ask, leftMs)).catch((error: Error) => {
      tried.push(`${nodeName(ledger, node)} (${error.message.replace(node, 'it')})`);
      return null;
    });
    if (answer?.kind === 'failed')
      throw new AutogitError(answer.code as ErrorCode, answer.because, { hint: answer.hint });
    if (answer?.kind === 'refused') tried.push(`${nodeName(ledger, node)} (${answer.because})`);
    else if (answer) return answer;
  }
  throw new AutogitError('no-leader', `no machine could ask GitLab: ${tried.join(', ') || 'nobody votes'}`, {
    hint: 'look which machines are missing, or of an earlier version: autogit-node status',
  });
}

function refuseWithoutToken({ gitlab }: Ledger): void {
  if (gitlab.mode === 'none') throw new AutogitError('no-gitlab', 'no GitLab is connected to this mesh');
  if (gitlab.token !== null) return;
  throw new AutogitError('no-gitlab', `the mesh has only runner tokens for ${gitlab.url}, which cannot do this`, {
    hint: `do it in GitLab, or connect with an admin's token: autogit-node gitlab connect ${gitlab.url} --token-env VAR`,
  });
}
