import { describe, expect, it } from 'vitest';
import { timings } from '../../scheduler/raft/raft-timings.ts';

/** What must hold between the times (SAFETY, Inequalities and figures). */
describe('timings', () => {
  it('let a leader survive a pause of 300 ms', () => {
    expect(timings.checkQuorumMs).toBeGreaterThan(300 + 3 * timings.heartbeatMs);
  });
  it('let a leader without a quorum stop before the others give it up without evidence', () => {
    expect(timings.longTimeoutMs).toBeGreaterThan(timings.checkQuorumMs);
  });
  it('take silence for evidence only above the worst lateness of a healthy timer', () => {
    expect(timings.silenceMs).toBeGreaterThan(92);
    expect(timings.missedMs).toBeGreaterThan(timings.heartbeatMs);
    expect(timings.missedMs + timings.silenceMs).toBeGreaterThan(2 * timings.heartbeatMs);
  });
  it('leave a receiver the time for a probe of its own', () => {
    expect(timings.electionMs).toBeGreaterThan(timings.silenceMs + 50);
    expect(timings.probeFreshMs).toBeGreaterThan(timings.silenceMs);
  });
  it('read a backlog in less than a silence', () => {
    expect(timings.backlogMs).toBeLessThan(timings.missedMs);
  });
});
