import { describe, expect, it } from 'vitest';
import { leaseLimits } from '../../node/runs/run-lease.ts';
import { silentMs } from '../../protocol/ledger.ts';
import { limits } from '../../protocol/limits.ts';
import { clockDrift, sharedTimings } from '../../protocol/timings.ts';
import { backoffMs, jobTimings } from '../../scheduler/jobs/job-timings.ts';
import { silentLimitMs } from '../../scheduler/jobs/lost-runs.ts';
import { reportPace } from '../../scheduler/jobs/report-pace.ts';
import { raftTimings } from '../../scheduler/raft/raft-timings.ts';

const { runLeaseMs, watchdogPeriodMs, takeMs } = sharedTimings;
/** SAFETY: freezing a control group took at most so long. */
const freezeMs = 200;
/** By the fastest clock of those who wait, against the slowest of those who are waited for. */
const byAnyClock = (ms: number): number => (ms * (1 + clockDrift)) / (1 - clockDrift);

/** What must hold between the times of jobs (SAFETY J1, J3, J5 and its table of figures). */
describe('times of jobs', () => {
  it('J1: nothing that is called lost can still be going on: D_l >= (D_r + P + freeze)(1+rho)/(1-rho)', () => {
    const standsStill = byAnyClock(runLeaseMs + watchdogPeriodMs + freezeMs);
    expect(silentMs.least).toBeGreaterThanOrEqual(standsStill);
    for (const nodes of [1, 3, limits.smallMesh, limits.nodes])
      for (const ageMs of [0, 10_000, 3_600_000])
        expect(silentLimitMs(ageMs, nodes)).toBeGreaterThanOrEqual(standsStill);
    expect(sharedTimings.standsStillMs).toBeGreaterThanOrEqual(standsStill);
    expect(jobTimings.adoptionMs).toBeGreaterThan(standsStill);
    // Two tries of a leader of before, each as long as it may take.
    expect(jobTimings.cameOverMs).toBeGreaterThan(jobTimings.failLimitMs);
    expect(silentMs.most).toBeGreaterThanOrEqual(jobTimings.silentMostMs);
  });

  it('J1: a run asks GitLab several times before its right to go on runs out, and a leader that is only slow costs it nothing', () => {
    const { rightMs, leaderSilentMs, askMs } = leaseLimits;
    expect(rightMs).toBe(runLeaseMs);
    expect(leaderSilentMs + 2 * askMs).toBeLessThanOrEqual(rightMs);
    expect(leaderSilentMs).toBeGreaterThanOrEqual(raftTimings.checkQuorumMs);
    expect(rightMs).toBeGreaterThan(raftTimings.longTimeoutMs);
  });

  it('J5: what the leader booked for a grant stays booked until the node has surely given up, by any clock', () => {
    const { grantTtlMs, grantOverMs, retireWaitMs, reservationLimitMs } = jobTimings;
    expect(grantOverMs).toBeGreaterThanOrEqual(grantTtlMs * (1 + clockDrift) + takeMs);
    expect(grantOverMs).toBeGreaterThan((grantTtlMs + takeMs) * (1 + clockDrift) - grantTtlMs);
    // Before a runner is deleted, grants of a former leader have run out too.
    expect(retireWaitMs).toBeGreaterThanOrEqual(grantOverMs);
    // The node frees its room only when the shell has surely stopped asking.
    expect(reservationLimitMs).toBeGreaterThan(takeMs * (1 + clockDrift));
  });

  it('J3: no job is called nobody’s while its node may still be about to tell of it', () => {
    const { strayMs, compareEveryMs, announceEveryMs, missingMs } = jobTimings;
    expect(strayMs).toBeGreaterThan(compareEveryMs);
    expect(strayMs).toBeGreaterThan(10 * announceEveryMs);
    expect(missingMs).toBeGreaterThan(3 * announceEveryMs);
  });

  it('one report may be lost before the last is stale', () => {
    for (const nodes of [1, limits.smallMesh, limits.nodes]) {
      expect(2 * reportPace(nodes).everyMs).toBeLessThan(jobTimings.reportStaleMs);
      expect(reportPace(nodes).everyMs).toBeLessThanOrEqual(jobTimings.reportMostMs);
    }
  });

  it('who fails is asked less and less, and never not at all', () => {
    expect([0, 1, 2, 5, 1000].map((failures) => backoffMs(failures))).toEqual([1000, 2000, 4000, 30_000, 30_000]);
    expect(backoffMs(9, 60_000)).toBe(60_000);
  });
});
