import { describe, expect, it } from 'vitest';
import { forOlder } from '../../node/agent/core-views.ts';
import { jobRows, why } from '../../scheduler/snapshot.ts';
import { Lab, wallStart } from './jobs-lab.ts';
import { labRun, measured } from './jobs-lab-machines.ts';
import { viewOf } from './snapshot-lab.ts';

const start = wallStart + 1_000_000;

describe('a cancel at GitLab', () => {
  it('is told by the leader with the ledger, and its node asks GitLab once (server-double A4)', () => {
    const run4815 = labRun({ run: 'r1', job: 4815, node: 'desktop-1', takenAt: start, boot: 'boot-desktop-1' });
    const lab = new Lab({
      machines: { kang: measured(), 'desktop-1': measured() },
      ledger: (ledger) => ({ ...ledger, runs: { r1: run4815 } }),
    });
    lab.feed('desktop-1', { kind: 'run-changed', run: run4815 });
    lab.run(2000);
    const reads = (): void => {
      const node = lab.node(lab.leader ?? '');
      const { lead } = node.jobs;
      if (!lead) throw new Error('nobody leads');
      node.jobs = { ...node.jobs, lead: { ...lead, queue: { ...lead.queue, askedAt: lab.at } } };
      lab.feed(node.name, { kind: 'queue-read', jobs: [], complete: true, canceling: [4815, 12] });
    };
    reads();
    lab.run(1000);
    reads();
    lab.run(3000);
    const run = Object.values(lab.committed.runs).find(({ job }) => job === 4815);
    if (!run) throw new Error('the run is gone');
    expect(run.canceling).toBe(true);
    expect(lab.effects('hint-run')).toEqual([{ kind: 'hint-run', run: run.run }]);
    // What its node says of it later does not take that away.
    const { canceling: _leaders, ...own } = run;
    lab.feed(run.node, { kind: 'run-changed', run: { ...own, frozen: true } });
    lab.run(1000);
    expect(lab.committed.runs[run.run]).toMatchObject({ frozen: true, canceling: true });
  });

  it('is a state of its own in `jobs` and `why`, on the leader and where it runs, until it has ended', () => {
    const canceled = labRun({
      run: 'r1',
      job: 7,
      node: 'desktop-1',
      state: 'running',
      canceling: true,
      takenAt: start,
    });
    const lab = new Lab({
      machines: { kang: measured(), 'desktop-1': measured() },
      ledger: (ledger) => ({ ...ledger, runs: { r1: canceled } }),
    });
    // The node itself is ahead of the ledger, and its own record does not say who cancels.
    lab.feed('desktop-1', { kind: 'run-changed', run: { ...canceled, state: 'taken', canceling: undefined } });
    for (const name of ['kang', 'desktop-1']) {
      const [row] = jobRows(viewOf(lab, name));
      expect([name, row?.state, row?.because]).toEqual([name, 'canceling', 'it is being canceled at GitLab']);
      expect(why(viewOf(lab, name), 7)?.state).toBe('canceling');
    }
    const result = { state: 'canceled' as const, exitCode: null, reason: null, because: 'canceled' };
    const ended = viewOf(lab, 'kang', {
      ledger: { ...lab.committed, runs: { r1: { ...canceled, state: 'delivered', result, finishedAt: start + 9000 } } },
    });
    expect(jobRows(ended)[0]?.state).toBe('canceled');
  });

  it('is told to a machine of an earlier version in words that it knows', () => {
    const canceled = labRun({ run: 'r1', job: 7, node: 'kang', state: 'running', canceling: true, takenAt: start });
    const lab = new Lab({ ledger: (ledger) => ({ ...ledger, runs: { r1: canceled } }) });
    const rows = jobRows(viewOf(lab, 'kang'));
    expect(rows.map(({ state }) => state)).toEqual(['canceling']);
    expect(forOlder(rows).map(({ state }) => state)).toEqual(['running']);
  });
});
