import { expect, it } from 'vitest';
import { clockDrift, sharedTimings } from '../../protocol/timings.ts';
import { hostingTimings } from '../../scheduler/hosting/hosting-timings.ts';
import { raftTimings } from '../../scheduler/raft/raft-timings.ts';

/** /proc/uptime is shown in steps; one at each end of a span. */
const clockStepMs = 10;
const worstElectionMs = 620;

it('whoever waits W_t has outwaited every lease, by any two clocks and their steps (SAFETY H7)', () => {
  const { leaseMs, waitMs } = hostingTimings;
  expect(waitMs - clockStepMs).toBeGreaterThanOrEqual(((leaseMs + clockStepMs) * (1 + clockDrift)) / (1 - clockDrift));
});

it('an election, a lost question and the next one fit into a lease: GitLab does not notice them (SAFETY H6)', () => {
  const { leaseMs, renewMs } = hostingTimings;
  const { longTimeoutMs, soloRoundMs } = raftTimings;
  expect(leaseMs).toBeGreaterThan(sharedTimings.probeSilenceMs + longTimeoutMs + worstElectionMs + 2 * renewMs);
  // A leader that is alone answers with its second round.
  expect(leaseMs).toBeGreaterThan(2 * soloRoundMs + 2 * renewMs);
  expect(renewMs).toBeLessThanOrEqual(leaseMs / 5);
});
