import { describe, expect, it } from 'vitest';
import { demandOf } from '../../scheduler/jobs/demand.ts';
import { fitOf } from '../../scheduler/jobs/machine-fit.ts';
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

  it('is said of GitLab only where the leader reaches it: else it is one line for all', () => {
    const lab = new Lab({ machines: { ...labMeasured, 'desktop-2': away('gitlab-away', 'GitLab does not answer') } });
    lab.run(3000);
    const codes = (): string[] => snapshot(viewOf(lab, 'kang')).attention.map(({ code }) => code);
    expect(codes()).toContain('gitlab-away');
    expect(codes()).not.toContain('gitlab-unreachable');
    const view = viewOf(lab, 'kang');
    const leader = lab.leader as string;
    const heard = view.jobs.reports[leader] as NonNullable<(typeof view.jobs.reports)[string]>;
    const queue = { waiting: 0, gitlab: 'failed' as const, because: 'connection refused' };
    const reports = { ...view.jobs.reports, [leader]: { ...heard, report: { ...heard.report, queue } } };
    const seen = snapshot({ ...view, jobs: { ...view.jobs, reports } }).attention;
    expect(seen.map(({ code }) => code)).toContain('gitlab-unreachable');
    expect(seen.map(({ code }) => code)).not.toContain('gitlab-away');
    expect(seen.map(({ code }) => code)).not.toContain('no-executor');
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
      expect(fitOf(demandOf(tags, 'amd64'), machine)).toMatchObject({
        fits: false,
        ever: true,
        because: 'takes no jobs now: it hangs',
      });
    expect(fitOf(demandOf(['no-such'], 'amd64'), machine).ever).toBe(false);
  });
});
