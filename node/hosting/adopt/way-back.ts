import type { Change, ChangeOutcome } from '../../../protocol/changes.ts';
import type { Ledger } from '../../../protocol/ledger.ts';
import { hostingOf } from '../../../scheduler/hosting/hosted-edits.ts';
import type { AdoptedPlace, OldContainer } from './adopt-ports.ts';
import type { Adoption } from './adoption-journal.ts';

interface WayBack {
  ledger(): Ledger | null;
  change(change: Change): Promise<ChangeOutcome>;
  old: OldContainer;
  place: AdoptedPlace;
  /** By the ledger it is the mesh's, on this machine. */
  isHosted: boolean;
  /** The mesh has removed this machine: what its ledger says here is the past. */
  isGivenUp: boolean;
}

/**
 * One turn of the way back: the ledger first, as long as it names this machine its keeper would begin it again; then the old container,
 * then the copy. What is to be said of how it came back; null where it is not back yet.
 */
export async function goBack(
  known: Adoption,
  { ledger, change, old, place, ...is }: WayBack,
): Promise<string[] | null> {
  if (is.isHosted) {
    const { epoch } = (ledger() as Ledger).gitlab;
    if (hostingOf(ledger())?.ending) return null;
    const uninstall = { kind: 'uninstall-gitlab', deleteData: true, now: true, force: true, epoch } as const;
    const { state, because } = await change(uninstall);
    if (state !== 'done') throw new Error(because);
    return null;
  }
  if (!is.isGivenUp) requireNews(known, ledger());
  const words = await unpark(known, old);
  await place.drop(known);
  return words;
}

/** Never two: where another one runs on its data by now, the old one stays as it is, and no engine starts it either. */
async function unpark(known: Adoption, old: OldContainer): Promise<string[]> {
  const { id, name, restart, wasRunning } = known.container;
  const found = await old.look(id);
  if (found === null) return [`container ${name} was removed by somebody, its folders are as they were`];
  const other = found.isRunning ? null : await old.otherOn(known);
  if (other !== null)
    return [`container ${other} runs on its folders, and the old one is kept, stopped, as ${found.name}`];
  const isNamed = found.name === name || (await old.rename(id, name));
  await old.setRestart(id, restart);
  if (wasRunning && !found.isRunning) await old.start(id);
  return isNamed ? [] : [`another container is called ${name} by now, and the old one ${found.name}`];
}

/**
 * After a restart a machine may know less than it did: a ledger of before the deployment does not say that the mesh hosts it no
 * more. Brought back by that, it would run beside a new and empty one of the mesh's.
 */
export function requireNews({ epoch = 0 }: Adoption, ledger: Ledger | null): void {
  if (ledger?.recovery === undefined && (ledger?.gitlab.epoch ?? 0) < epoch)
    throw new Error('this machine has not heard yet whether the mesh hosts it: it waits for the others');
}
