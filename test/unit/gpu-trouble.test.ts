import { describe, expect, it } from 'vitest';
import { snapshot } from '../../scheduler/snapshot.ts';
import { Lab } from './jobs-lab.ts';
import { gpu5080, labMeasured, measured } from './jobs-lab-machines.ts';
import { viewOf } from './snapshot-lab.ts';

describe('a GPU that does not work', () => {
  it('is said in every status, and once in the log when it begins and when it ends', () => {
    const gpuProblems = ['Driver/library version mismatch'];
    const well = measured({ gpus_: [gpu5080] });
    const lab = new Lab({ machines: { ...labMeasured, 'desktop-2': { ...well, gpuProblems } } });
    lab.run(3000);
    const seen = () => snapshot(viewOf(lab, 'kang')).attention.filter(({ code }) => code === 'gpu-problem');
    expect(seen()).toEqual([
      {
        code: 'gpu-problem',
        severity: 'warn',
        sentence: 'desktop-2  Driver/library version mismatch',
        fix: 'on desktop-2: autogit-node doctor',
      },
    ]);
    const tell = (words: typeof well) =>
      lab.feed('desktop-2', {
        kind: 'measured',
        measured: words,
        addresses: ['/ip4/10.0.0.1/tcp/7117'],
        version: '0.1.0',
      });
    tell({ ...well, gpuProblems });
    expect(lab.notes('gpu-problem')).toEqual(['a GPU of this machine gets no work: Driver/library version mismatch']);
    tell(well);
    lab.run(3000);
    expect(lab.notes('gpu-well')).toHaveLength(1);
    expect(seen()).toEqual([]);
  });
});
