import type { Ledger } from '../../protocol/ledger.ts';
import { hostingOf } from './hosted-edits.ts';
import type { HostingState } from './hosting-state.ts';
import { hostingTimings } from './hosting-timings.ts';

/**
 * Whether this machine answers, at `at`, to the name by which all reach the mesh's own GitLab: the host while its lease holds; a leader
 * where no lease can be in force that it gave, or one before it, and which has heard a quorum since (what it shows is a page). Nobody
 * else. `contactAt`: when this machine last had proof that the leader leads.
 */
export function nameDuty(
  { lease, lead }: Pick<HostingState, 'lease' | 'lead'>,
  { committed, contactAt, at }: { committed: Ledger | null; contactAt: number; at: number },
): 'host' | 'leader' | null {
  const found = hostingOf(committed);
  if (found === null) return null;
  if (lease !== null && lease.epoch === found.epoch && lease.data === found.data && at < lease.until) return 'host';
  if (lead === null || at - contactAt > hostingTimings.leaseMs) return null;
  return at >= Math.max(lead.since, lead.givenAt) + hostingTimings.waitMs ? 'leader' : null;
}
