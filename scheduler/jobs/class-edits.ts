import { classKey, shownClass } from '../../protocol/ids.ts';
import type { Ledger, LedgerClass } from '../../protocol/ledger.ts';
import { limits } from '../../protocol/limits.ts';
import type { Sealed } from '../../protocol/sealed.ts';
import type { LedgerEdit } from '../ledger-edit.ts';

/** The life of a class runner in the ledger (SAFETY J7): each edit changes nothing when it no longer applies. */
const withClass = (ledger: Ledger, key: string, entry: LedgerClass): Ledger => ({
  ...ledger,
  classes: { ...ledger.classes, [key]: entry },
});

/** Intent first: only when this is committed is GitLab asked for a runner. Also renews the nonce of a failed try. */
export const creatingClass = (tags: readonly string[], nonce: string, wallMs: number): LedgerEdit => ({
  name: 'class-creating',
  because: `jobs wait that ask for ${shownClass(classKey(tags))}, and no runner has exactly these tags`,
  apply(ledger) {
    const key = classKey(tags);
    const known = ledger.classes[key];
    if (known !== undefined && known.state !== 'creating') return ledger;
    if (known === undefined && Object.keys(ledger.classes).length >= limits.classes)
      return { refused: `there are ${limits.classes} classes, the limit` };
    return withClass(ledger, key, {
      ...known,
      tags: [...new Set(tags)].sort(),
      state: 'creating',
      nonce,
      runner: null,
      token: null,
      lastUsedAt: wallMs,
      given: false,
      ...(ledger.secrets ? { epoch: ledger.secrets.wanted } : {}),
    });
  },
});

export const readyClass = (key: string, nonce: string, runner: number, token: Sealed, wallMs: number): LedgerEdit => ({
  name: 'class-ready',
  because: `GitLab made runner ${runner} for ${shownClass(key)}`,
  apply(ledger) {
    const known = ledger.classes[key];
    if (known?.state !== 'creating' || known.nonce !== nonce) return ledger;
    const { lost: _lost, ...rest } = known;
    return withClass(ledger, key, { ...rest, state: 'ready', runner, token, lastUsedAt: wallMs });
  },
});

export const usedClass = (key: string, wallMs: number): LedgerEdit => ({
  name: 'class-used',
  because: `${shownClass(key)} was used`,
  apply(ledger) {
    const known = ledger.classes[key];
    return known === undefined || known.lastUsedAt >= wallMs
      ? ledger
      : withClass(ledger, key, { ...known, lastUsedAt: wallMs });
  },
});

export const retiringClass = (key: string, because: string): LedgerEdit => ({
  name: 'class-retiring',
  because,
  apply(ledger) {
    const known = ledger.classes[key];
    return known?.state !== 'ready' || known.given ? ledger : withClass(ledger, key, { ...known, state: 'retiring' });
  },
});

export const goneClass = (key: string): LedgerEdit => ({
  name: 'class-gone',
  because: `the runner of ${shownClass(key)} is deleted`,
  apply(ledger) {
    if (ledger.classes[key]?.state !== 'retiring') return ledger;
    const { [key]: _gone, ...classes } = ledger.classes;
    return { ...ledger, classes };
  },
});

/**
 * GitLab does not know the runner any more (deleted, its token reset, a restore): a new one under a new nonce, by which
 * the old one, if it is still there, is swept. A token that the user gave cannot be made anew: it is only said.
 */
export const lostClass = (key: string, token: Sealed, nonce: string, because: string): LedgerEdit => ({
  name: 'class-lost',
  because,
  apply(ledger) {
    const known = ledger.classes[key];
    if (known?.state !== 'ready' || known.token !== token || (known.given && known.lost !== undefined)) return ledger;
    if (known.given) return withClass(ledger, key, { ...known, lost: because });
    const epoch = ledger.secrets ? { epoch: ledger.secrets.wanted } : {};
    const none = { state: 'creating' as const, nonce, runner: null, token: null };
    return withClass(ledger, key, { ...known, ...none, ...epoch, lost: because });
  },
});

export const foundClass = (key: string, token: Sealed): LedgerEdit => ({
  name: 'class-found',
  because: `GitLab knows the runner of ${shownClass(key)} after all`,
  apply(ledger) {
    const known = ledger.classes[key];
    if (known?.lost === undefined || known.token !== token) return ledger;
    const { lost: _lost, ...rest } = known;
    return withClass(ledger, key, rest);
  },
});
