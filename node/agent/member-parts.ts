import type { NodeId } from '../../protocol/ids.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import { jobTimings } from '../../scheduler/jobs/job-timings.ts';
import { nodeName } from '../../scheduler/snapshot-view.ts';
import { committedLedger, leaderContactAt, leaderOf } from '../../scheduler/views.ts';
import type { Clock } from '../clock.ts';
import type { Log } from '../log.ts';
import type { Store } from '../ports.ts';
import type { CacheStore } from '../runs/cache/cache-store.ts';
import type { SecretBox } from '../secrets/secret-box.ts';
import { CacheSharing } from './cache-sharing.ts';
import type { Changes } from './change-requests.ts';
import type { CoreLoop } from './core-loop.ts';
import type { DeferredNetwork } from './deferred-network.ts';
import { SecretKeeper } from './secret-keeper.ts';

/* Parts of a member that are made of it and of what it was given. */

interface CacheOptions {
  clock: Clock;
  network: DeferredNetwork;
  /** Absent: true. */
  sharesCaches?: boolean;
  copyRateBytes: number | null;
}

/** With fresh proof. */
export const leadsSurely = ({ state }: Pick<CoreLoop, 'state'>, self: NodeId, clock: Pick<Clock, 'bootMs'>): boolean =>
  leaderOf(state)?.node === self && clock.bootMs() - leaderContactAt(state) <= jobTimings.contactLimitMs;

export function secretKeeperOf(
  { nodeId, store, log, clock }: { nodeId: NodeId; store: Store; log: Log; clock: Clock },
  { box, loop, changes }: { box: SecretBox; loop: CoreLoop; changes: Changes },
): SecretKeeper {
  return new SecretKeeper({
    ...{ self: nodeId, box, store, log },
    ledger: () => committedLedger(loop.state),
    mayWrite: () => leadsSurely(loop, nodeId, clock),
    change: (change) => changes.ask(change),
    now: () => performance.now(),
    wallMs: () => clock.wallMs(),
  });
}

export const cacheSharingOf = (
  { clock, network, sharesCaches, copyRateBytes }: CacheOptions,
  member: { loop: CoreLoop; runs: { readonly caches: CacheStore }; ledger(): Ledger | null },
): CacheSharing =>
  new CacheSharing({
    ...{ clock, network, isAllowed: sharesCaches !== false, rateBytes: copyRateBytes },
    gives: (node) => member.loop.state.jobs.reports[node]?.report.measured.caches === true,
    nameOf: (node) => nodeName(member.ledger(), node),
    store: () => member.runs.caches,
  });
