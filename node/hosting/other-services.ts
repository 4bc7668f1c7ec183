import type { Ledger } from '../../protocol/ledger.ts';
import { epochAfter } from '../../scheduler/hosting/epochs.ts';
import { type Hosting, hostingOf } from '../../scheduler/hosting/hosted-edits.ts';
import { wasBeside } from '../../scheduler/hosting/sides.ts';
import { freezeCgroup } from '../executors/run-cgroup.ts';
import type { Log } from '../log.ts';
import type { FoundService, ServiceHost } from './service-host.ts';

/** Which GitLab the ledger has, and where. */
interface RightService {
  data: string;
  epoch: number;
  host: string;
}

/**
 * What may not go on here (SAFETY H8): any GitLab of this mesh but the ledger's. One of a later epoch than the ledger of
 * this machine knows is left: it has no lease either, and this machine may be the one that is behind.
 */
export const othersAmong = (
  found: readonly FoundService[],
  right: RightService | null,
  ledgerEpoch: number,
): FoundService[] =>
  found.filter(
    ({ data, epoch, host }) =>
      epoch <= ledgerEpoch && !(right !== null && data === right.data && epoch === right.epoch && host === right.host),
  );

/**
 * What is kept here is of a later epoch than the ledger of this machine knows, as one on a disk that failed or was rolled back: it is
 * left until the ledger has come up. After a recovery by force what another side had was given up: that is of an epoch before the next
 * one, or of none of this side's.
 */
export const isAheadOf = (kept: { epoch: number; mesh: string }, ledger: Ledger): boolean =>
  kept.epoch >= epochAfter(ledger) && kept.mesh === ledger.mesh.id && !wasBeside(ledger, kept.epoch);

/** Why GitLab's data here are left: for the log, with what helps where the mesh means these data and another time of them. */
export function givenUpWords({ data, epoch, host, place }: Hosting, ledger: Ledger | null): string {
  const known = hostingOf(ledger);
  if (known?.data !== data || known.epoch >= epoch || known.host !== host)
    return `GitLab is not run on this machine any more; its data stay in ${place.path}`;
  return `GitLab stands still: the mesh was recovered by force with a ledger of before its data were replaced (epoch ${known.epoch}, and these are of ${epoch}) -> autogit-node gitlab uninstall --now, then deploy it again: on its data in ${place.path}`;
}

/** Frozen, killed, removed: nobody is served by it, so nothing is owed to it. */
export async function endOthers(
  host: ServiceHost,
  others: readonly FoundService[],
  log: Pick<Log, 'warn'>,
): Promise<void> {
  for (const { id, data, epoch } of others) {
    log.warn(`a GitLab of this mesh that the ledger does not know (any more) is ended: ${data} of epoch ${epoch}`);
    try {
      const look = await host.look(id);
      if (look?.cgroup) freezeCgroup(look.cgroup);
    } catch {
      // Gone meanwhile, not ours to freeze, or the engine does not say how it is: it is killed all the same.
    }
    await host.kill(id);
    await host.remove(id);
  }
}
