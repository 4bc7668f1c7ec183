import { describe, expect, it } from 'vitest';
import { jobRows, snapshot } from '../../scheduler/snapshot.ts';
import { labRun } from './jobs-lab-machines.ts';
import { withRun } from './jobs-lost-lab.ts';
import { viewOf } from './snapshot-lab.ts';

describe('a run that stands still because its machine hears no leader', () => {
  const lines = (lab: ReturnType<typeof withRun>, on: string) =>
    snapshot(viewOf(lab, on)).attention.filter(({ code }) => code === 'run-frozen');

  it('is said on that machine, by its number and name, for as long as it is frozen', () => {
    const lab = withRun();
    expect(lines(lab, 'desktop-1')).toEqual([]);
    const run = labRun({ run: 'r1', job: 4815, name: 'train', node: 'desktop-1', state: 'running', frozen: true });
    lab.feed('desktop-1', { kind: 'run-changed', run });
    expect(lines(lab, 'desktop-1')).toEqual([
      {
        code: 'run-frozen',
        severity: 'info',
        sentence: 'job 4815 (train) is frozen here, until this machine hears a leader again',
        fix: null,
      },
    ]);
    // Nobody else knows it for sure.
    expect(lines(lab, 'kang')).toEqual([]);
    lab.feed('desktop-1', { kind: 'run-changed', run: { ...run, frozen: false } });
    expect(lines(lab, 'desktop-1')).toEqual([]);
  });

  it('has its line in the queue too, and one that has ended is no longer frozen', () => {
    const lab = withRun();
    const run = labRun({ run: 'r1', job: 4815, node: 'desktop-1', state: 'running', frozen: true, because: 'placed' });
    lab.feed('desktop-1', { kind: 'run-changed', run });
    lab.run(100);
    expect(jobRows(viewOf(lab, 'desktop-1')).map(({ job, because }) => [job, because])).toEqual([
      [4815, 'frozen: placed'],
    ]);
    const result = { state: 'failed' as const, exitCode: 1, reason: 'script_failure', because: 'exit code 1' };
    lab.feed('desktop-1', { kind: 'run-changed', run: { ...run, state: 'finished', result } });
    expect(lines(lab, 'desktop-1')).toEqual([]);
  });
});
