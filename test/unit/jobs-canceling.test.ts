import { describe, expect, it } from 'vitest';
import { Lab, wallStart } from './jobs-lab.ts';
import { labRun, measured } from './jobs-lab-machines.ts';

const start = wallStart + 1_000_000;

describe('a cancel at GitLab', () => {
  it('is told by the leader with the ledger, and its node asks GitLab once (A4)', () => {
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
});
