import { isDeepStrictEqual } from 'node:util';
import type { Ledger } from '../../protocol/ledger.ts';

/** A recovery by force adds to what two sides may have written, as the era that ends may go on elsewhere, and forgets none. */
export function keepsSides({ hosted }: Ledger['gitlab'], { hosted: before }: Ledger['gitlab']): boolean {
  const isKept = (some: readonly unknown[] = [], all: readonly unknown[] = []): boolean =>
    some.every((one) => all.some((other) => isDeepStrictEqual(one, other)));
  return isKept(before?.sides?.open, hosted?.sides?.open) && isKept(before?.sides?.forks, hosted?.sides?.forks);
}

/** `gitlab` as a recovery by force leaves it: who is in sync, and what two sides may have written, are its own. */
export function withoutWhatIsNew({ hosted, ...gitlab }: Ledger['gitlab']): unknown {
  const { copies, sides: _added, ...rest } = hosted ?? {};
  return { ...gitlab, hosted: { ...rest, copies: copies && { ...copies, set: null } } };
}
