import { describe, expect, it } from 'vitest';
import { jobTimings } from '../../scheduler/jobs/job-timings.ts';
import { reportPace, reportPatienceMs } from '../../scheduler/jobs/report-pace.ts';
import { livenessOf } from '../../scheduler/views.ts';
import { ledgerOf, One } from './raft-one.ts';

describe('the pace of reports', () => {
  it.each([1, 3, 7, 8])('%i nodes: every 2 s, news every 200 ms', (nodes) => {
    expect(reportPace(nodes)).toEqual({ gapMs: 200, everyMs: 2000 });
    expect(reportPatienceMs(nodes)).toBe(3000);
  });

  it('with more nodes it is slower, never so slow that one lost report makes a node look away', () => {
    for (let nodes = 9; nodes <= 100; nodes += 1) {
      const { gapMs, everyMs } = reportPace(nodes);
      expect(everyMs).toBeGreaterThanOrEqual(reportPace(nodes - 1).everyMs);
      expect(2 * everyMs + gapMs).toBeLessThan(jobTimings.reportStaleMs);
      expect(reportPatienceMs(nodes)).toBeGreaterThan(everyMs + gapMs);
    }
    expect(reportPace(16).everyMs).toBe(4000);
  });

  it('who does not lead waits for a node of thirty as long as its reports may take', () => {
    const ledger = ledgerOf({ A: 2, B: 2, C: 2 });
    const crowd = Object.fromEntries(Array.from({ length: 27 }, (_, i) => [`N${i}`, ledger.nodes.C!]));
    const patience = (one: One): number => {
      one.feed({ kind: 'connected', node: 'C' });
      one.hear('C', { kind: 'pre-vote-answer', term: 3, granted: false, because: 'no', store: 'sC' }, 0);
      const heardAt = one.at;
      while (livenessOf(one.state, 'C', one.at).state === 'alive') one.feed({ kind: 'ticked' }, 100);
      return one.at - heardAt;
    };
    expect(patience(new One(ledger))).toBe(3100);
    expect(patience(new One({ ...ledger, nodes: { ...ledger.nodes, ...crowd } }))).toBe(6800);
  });
});
