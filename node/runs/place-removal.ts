import { setTimeout as sleep } from 'node:timers/promises';
import { sentenceOf } from '../../protocol/errors.ts';
import type { Workspace } from '../ports.ts';
import { abandonMs } from './run-ending.ts';

const again = { firstMs: 1_000, mostMs: 60_000 } as const;

/**
 * Removes the place of an ended run, in which its variables lie. An engine that is away or a busy disk may refuse: this
 * answers after the first try, and goes on trying for a few minutes. What stays then is swept at the next start.
 */
export async function removePlace(
  place: Pick<Workspace, 'remove'>,
  warn: (because: string) => void,
  halted: AbortSignal,
): Promise<void> {
  if (await isRemoved(place, warn)) return;
  void (async () => {
    for (let waitMs: number = again.firstMs; waitMs <= again.mostMs; waitMs *= 2) {
      await sleep(waitMs, undefined, { signal: halted, ref: false }).catch(() => undefined);
      if (halted.aborted || (await isRemoved(place, warn))) return;
    }
  })();
}

async function isRemoved(place: Pick<Workspace, 'remove'>, warn: (because: string) => void): Promise<boolean> {
  const late = setTimeout(() => warn('it takes longer than a minute'), abandonMs.place);
  try {
    await place.remove();
    return true;
  } catch (error) {
    warn(sentenceOf(error));
    return false;
  } finally {
    clearTimeout(late);
  }
}
