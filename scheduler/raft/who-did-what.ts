import type { AskedBy } from '../../protocol/audit.ts';
import type { Change } from '../../protocol/changes.ts';
import type { NodeId } from '../../protocol/ids.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import { limits } from '../../protocol/limits.ts';
import { cut } from '../phrases.ts';
import { nameIn } from './raft-turn.ts';

/** What nodes say of themselves, of newcomers, of GitLab's host and of what was told: nobody did that. */
const nobodys: ReadonlySet<Change['kind']> = new Set([
  ...(['introduce', 'depart', 'open-approval', 'close-approval', 'reseal'] as const),
  ...(['notices-told', 'copies-begin', 'copy-enters', 'copies-leave'] as const),
  ...(['gitlab-stands', 'gitlab-ended', 'gitlab-restored', 'gitlab-upgraded', 'gitlab-upgrade-ended'] as const),
  ...(['gitlab-moved', 'gitlab-move-stands', 'gitlab-move-ends'] as const),
]);

const rules: Partial<Record<Change['kind'], string>> = {
  'approve-invited': 'rule: a one-time invite',
  'approve-paired': 'rule: the pairing window',
};

const sentenceChars = 200;
const whoChars = 128;

/** Asked at an agent's own terminal, or of one of before. */
const saidBy = (change: Change): string =>
  'because' in change && change.because !== '' ? change.because : 'an agent that does not say who';

/**
 * The newest acts travel with the ledger, so that each voter has them on its disk with the commit and writes them down. What
 * changed nothing is nobody's act, unless it says itself what was done.
 */
export function withAudit(
  after: Ledger,
  asked: { change: Change; by: AskedBy | undefined; changed: boolean; sentence: string; asker: NodeId; wallMs: number },
): Ledger {
  const { change, by, sentence, asker, wallMs } = asked;
  const act = by?.act;
  if (act === undefined && (nobodys.has(change.kind) || !asked.changed)) return after;
  const known = after.audit ?? [];
  const entry = {
    n: (known.at(-1)?.n ?? 0) + 1,
    at: wallMs,
    who: cut(by?.who ?? rules[change.kind] ?? saidBy(change), whoChars),
    on: nameIn(after, asker),
    what: act?.what ?? change.kind,
    sentence: cut(act?.sentence ?? sentence, sentenceChars),
  };
  return { ...after, audit: [...known, entry].slice(-limits.audited) };
}
