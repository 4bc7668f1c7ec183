import { describe, expect, it } from 'vitest';
import { raftTimings } from '../../scheduler/raft/raft-timings.ts';

/** What must hold between the times (SAFETY, Inequalities and figures). */
describe('timings', () => {
  it('let a leader survive a pause of 300 ms', () => {
    expect(raftTimings.checkQuorumMs).toBeGreaterThan(300 + 3 * raftTimings.heartbeatMs);
  });
  it('let a leader without a quorum stop before the others give it up without evidence', () => {
    expect(raftTimings.longTimeoutMs).toBeGreaterThan(raftTimings.checkQuorumMs);
  });
  it('take silence for evidence only above the worst lateness of a healthy timer', () => {
    expect(raftTimings.silenceMs).toBeGreaterThan(92);
    expect(raftTimings.missedMs).toBeGreaterThan(raftTimings.heartbeatMs);
    expect(raftTimings.missedMs + raftTimings.silenceMs).toBeGreaterThan(2 * raftTimings.heartbeatMs);
  });
  it('leave a receiver the time for a probe of its own', () => {
    expect(raftTimings.electionMs).toBeGreaterThan(raftTimings.silenceMs + 50);
    expect(raftTimings.probeFreshMs).toBeGreaterThan(raftTimings.silenceMs);
  });
  it('read a backlog in less than a silence', () => {
    expect(raftTimings.backlogMs).toBeLessThan(raftTimings.missedMs);
  });
});
