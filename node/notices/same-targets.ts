import { isDeepStrictEqual } from 'node:util';
import type { LedgerNotices, NoticeTarget } from '../../protocol/notices.ts';

type Targets = LedgerNotices['targets'];

/** What is needed to tell it; null: sealed for others, or it makes no sense here. */
export function wayOf({ secret }: NoticeTarget, unseal: (sealed: string) => string | null): unknown {
  try {
    return JSON.parse(unseal(secret) ?? 'null');
  } catch {
    return null;
  }
}

/** What is said of both in the open is the same: only then they may be one. */
export const mayBeOne = (a: Pick<NoticeTarget, 'kind' | 'shown'>, b: Pick<NoticeTarget, 'kind' | 'shown'>): boolean =>
  a.kind === b.kind && a.shown === b.shown;

/**
 * Names of those that another one is told in the place of, with its name: two files say the same, and a machine that does not vote could
 * not read what the other had sealed. The oldest of them is told.
 */
export function toldAsAnother(targets: Targets, unseal: (sealed: string) => string | null): Map<string, string> {
  const ofFiles = Object.entries(targets)
    .filter(([, { file }]) => file !== undefined)
    .sort(([a, { since: x }], [b, { since: y }]) => x - y || (a < b ? -1 : 1));
  const found = new Map<string, string>();
  for (const [at, [name, target]] of ofFiles.entries()) {
    const before = ofFiles.slice(0, at).filter(([other, one]) => !found.has(other) && mayBeOne(one, target));
    const way = before.length === 0 ? null : wayOf(target, unseal);
    const [first] = before.find(([, one]) => way !== null && isDeepStrictEqual(wayOf(one, unseal), way)) ?? [];
    if (first !== undefined) found.set(name, first);
  }
  return found;
}
