import { classKey } from '../../protocol/ids.ts';
import type { Ledger, LedgerClass, Sealed } from '../../protocol/ledger.ts';
import { limits } from '../../protocol/limits.ts';
import type { LedgerEdit } from '../ledger-edit.ts';

/** The life of a class runner in the ledger (SAFETY J7): each edit changes nothing when it no longer applies. */
const withClass = (ledger: Ledger, key: string, entry: LedgerClass): Ledger => ({
  ...ledger,
  classes: { ...ledger.classes, [key]: entry },
});
const shown = (key: string): string => (key === '' ? 'untagged jobs' : key);

/** Intent first: only when this is committed is GitLab asked for a runner. Also renews the nonce of a failed try. */
export const creatingClass = (tags: readonly string[], nonce: string, wallMs: number): LedgerEdit => ({
  name: 'class-creating',
  because: `jobs wait that ask for ${shown(classKey(tags))}, and no runner has exactly these tags`,
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
  because: `GitLab made runner ${runner} for ${shown(key)}`,
  apply(ledger) {
    const known = ledger.classes[key];
    if (known?.state !== 'creating' || known.nonce !== nonce) return ledger;
    return withClass(ledger, key, { ...known, state: 'ready', runner, token, lastUsedAt: wallMs });
  },
});

export const usedClass = (key: string, wallMs: number): LedgerEdit => ({
  name: 'class-used',
  because: `${shown(key)} was used`,
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
  because: `the runner of ${shown(key)} is deleted`,
  apply(ledger) {
    if (ledger.classes[key]?.state !== 'retiring') return ledger;
    const { [key]: _gone, ...classes } = ledger.classes;
    return { ...ledger, classes };
  },
});
