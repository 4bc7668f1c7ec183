import { describe, expect, it } from 'vitest';
import { demandOf } from '../../scheduler/jobs/demand.ts';
import { judge } from '../../scheduler/jobs/verdict.ts';
import { snapshot } from '../../scheduler/snapshot.ts';
import { Lab } from './jobs-lab.ts';
import { labMeasured, measured } from './jobs-lab-machines.ts';
import { viewOf } from './snapshot-lab.ts';

describe('a machine on which something that jobs need is away', () => {
  const well = measured({});
  const away = (about: string, sentence: string) => ({
    ...well,
    executors: [],
    workProblems: [{ about, sentence, fix: 'rm -rf /' }],
  });
  const linesOf = (words: ReturnType<typeof away>) => {
    const lab = new Lab({ machines: { ...labMeasured, 'desktop-2': words } });
    lab.run(3000);
    return snapshot(viewOf(lab, 'kang')).attention.filter(({ sentence }) => sentence.startsWith('desktop-2'));
  };

  it('is said in every status, with a fix that is never the words of that machine', () => {
    const sentence = 'this machine has no git, which fetches the sources of jobs';
    expect(linesOf(away('git-away', sentence))).toEqual([
      {
        code: 'git-away',
        severity: 'warn',
        sentence: `desktop-2  takes no jobs: ${sentence}`,
        fix: 'on desktop-2: sudo apt-get install --reinstall git',
      },
    ]);
    expect(linesOf(away('constructor', 'who knows'))).toMatchObject([
      { code: 'work-problem', fix: 'on desktop-2: autogit-node doctor' },
    ]);
  });

  it('is waited for, also by jobs that name its executor', () => {
    const lab = new Lab({ machines: { ...labMeasured, 'desktop-2': away('docker-away', 'it hangs') } });
    lab.run(3000);
    const { report } = lab.node('kang').jobs.reports['desktop-2'] ?? {};
    expect(report?.measured.workProblems).toHaveLength(1);
    const machine = {
      ...{ node: 'desktop-2', name: 'desktop-2', measured: report?.measured ?? null, room: report?.room ?? null },
      ...{ holders: {}, runs: 0, witness: false, drained: false, away: null, isHost: false },
    };
    for (const tags of [[], ['docker']])
      expect(judge(demandOf(tags, 'amd64'), machine)).toMatchObject({
        fits: false,
        ever: true,
        because: 'takes no jobs now: it hangs',
      });
    expect(judge(demandOf(['no-such'], 'amd64'), machine).ever).toBe(false);
  });
});
