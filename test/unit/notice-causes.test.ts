import { describe, expect, it } from 'vitest';
import type { Ledger, Run } from '../../protocol/ledger.ts';
import type { Attention, StatusSnapshot } from '../../protocol/status.ts';
import { causesOf } from '../../scheduler/notices/causes.ts';
import { happenedIn } from '../../scheduler/notices/happened.ts';
import { statusWith } from '../fixtures/status-with.ts';

const line = (code: string, sentence: string, severity: Attention['severity'] = 'warn', fix: string | null = null) => ({
  ...{ code, severity, sentence, fix },
});
const keys = (status: StatusSnapshot): string[] => causesOf(status).map(({ key }) => key);

const run = (job: number, node: string, more: Partial<Run> = {}): Record<string, Run> => ({
  [`run-${job}`]: {
    ...({ run: `run-${job}`, job, node, state: 'lost', finishedAt: 1_000, because: 'kang is silent' } as Run),
    ...more,
  },
});
const nodes = { K: { name: 'kang' }, D: { name: 'desktop-1' } } as unknown as Ledger['nodes'];

describe('what happened', () => {
  const of = (runs: Ledger['runs'], status: StatusSnapshot, wallMs = 2_000) =>
    causesOf(status, new Set(), happenedIn({ runs, nodes }, status, wallMs));
  const names = ['kang', 'desktop-1'];

  it('jobs that were lost are one cause a machine, and none where they were lost long ago or ended well', () => {
    const runs = {
      ...Object.fromEntries([9, 3, 5, 6, 7, 8, 4].flatMap((job) => Object.entries(run(job, 'K')))),
      ...run(11, 'D', { finishedAt: 1_500, because: 'its agent ended' }),
      ...run(12, 'D', { state: 'delivered' }),
    };
    expect(of(runs, statusWith(names)).map(({ key, sentence, once, fix }) => [key, sentence, once, fix])).toEqual([
      [
        ...['lost-runs kang', 'kang lost jobs 3, 4, 5, 6, 7 and 2 more: kang is silent', 1_000],
        'autogit-node jobs --all',
      ],
      ['lost-runs desktop-1', 'desktop-1 lost job 11: its agent ended', 1_500, 'autogit-node why 11'],
    ]);
    expect(of(runs, statusWith(names), 1_000 + 13 * 3_600_000)).toEqual([]);
  });

  it('where their machine is gone, that is the cause; it is told once for both', () => {
    const status = statusWith(names, { attention: [line('node-gone', 'kang  silent for 90 s')] });
    expect(of(run(3, 'K'), status)).toMatchObject([
      {
        key: 'node-gone kang',
        so: ['kang lost job 3: kang is silent'],
        with: [{ key: 'lost-runs kang', at: 1_000 }],
        once: null,
      },
    ]);
  });

  it('a move, an upgrade or a restore that failed is no state that is mended when it is shown no more', () => {
    const ended = { from: 'kang', to: 'desktop-1', isDone: false, because: 'it did not boot', at: 'T1' };
    const gitlab = {
      ...{ move: { wish: null, doing: null, ended }, upgrade: null },
      vault: {
        ...{ target: null, checkedAt: null, doing: null, problem: null },
        restored: { backup: 'ab12cd', isDone: false, because: 'no room' },
      },
    } as unknown as Partial<StatusSnapshot['gitlab']>;
    const attention = [line('gitlab-move', 'GitLab did not move to desktop-1: it did not boot')];
    const found = of({}, statusWith(names, { attention, gitlab }));
    expect(found.map(({ key, once, severity }) => [key, once, severity])).toEqual([
      ['gitlab-restore ab12cd', 0, 'fail'],
      ['gitlab-move desktop-1 T1', 0, 'warn'],
    ]);
    const again = { ...gitlab, move: { wish: { from: 'kang', to: 'desktop-1' }, doing: null, ended } };
    expect(
      of({}, statusWith(names, { attention, gitlab: again as typeof gitlab })).find(
        ({ code }) => code === 'gitlab-move',
      ),
    ).toMatchObject({ key: 'gitlab-move desktop-1', once: null });
  });
});

describe('one notice a root cause', () => {
  it('a machine that is gone is the reason of what lacks it, and is as bad as the worst of that', () => {
    const status = statusWith(['kang', 'desktop-1', 'desktop-10'], {
      attention: [
        line('gitlab-no-copy', 'no copy of GitLab is in sync: desktop-1 is away', 'fail'),
        line('quorum-at-risk', 'the loss of one more machine would stop it'),
        line(
          'node-gone',
          'desktop-1  silent for 20 s',
          'warn',
          'if it never comes back: autogit-node forget desktop-1',
        ),
        line('docker-away', 'desktop-10  takes no jobs: Docker does not answer'),
      ],
    });
    const causes = causesOf(status);
    expect(causes.map(({ key }) => key)).toEqual(['node-gone desktop-1', 'docker-away desktop-10']);
    expect(causes[0]).toMatchObject({
      severity: 'fail',
      sentence: 'desktop-1: silent for 20 s',
      fix: 'if it never comes back: autogit-node forget desktop-1',
      so: ['no copy of GitLab is in sync: desktop-1 is away', 'the loss of one more machine would stop it'],
    });
  });

  it('where its machine is gone, GitLab is no second cause; where it cannot be read, what lags behind it is none', () => {
    const away = [line('gitlab-unreachable', "GitLab's queue cannot be read: no answer", 'fail')];
    const host = statusWith(['kang', 'desktop-1'], {
      attention: [...away, line('node-gone', 'kang  silent for 20 s')],
      gitlab: { host: 'kang' },
    });
    expect(keys(host)).toEqual(['node-gone kang']);
    const late = [line('runner-lost', 'GitLab knows a runner no more: a new one is being made')];
    expect(keys(statusWith(['kang'], { attention: [...late, ...away] }))).toEqual(['gitlab-unreachable']);
  });

  it('who decides nothing says that alone', () => {
    const attention = [line('node-gone', 'kang  silent'), line('no-quorum', 'one of three', 'fail')];
    expect(keys(statusWith(['kang'], { attention }))).toEqual(['no-quorum']);
  });

  it('its key is the same while its figures change, and another one for another machine', () => {
    const of = (sentence: string): string[] =>
      keys(statusWith(['kang', 'desktop-1'], { attention: [line('clock', sentence)] }));
    expect(of('the clock of desktop-1 is 31 s ahead')).toEqual(of('the clock of desktop-1 is 45 min ahead'));
    expect(of('the clock of kang is 31 s ahead')).not.toEqual(of('the clock of desktop-1 is 31 s ahead'));
  });

  it('several jobs that fit no machine are one', () => {
    const attention = [1, 2, 3].map((job) => line('tags-unsatisfiable', `job ${job}: nobody has vram-80g`));
    const [cause, ...more] = causesOf(statusWith(['kang'], { attention }));
    expect([more, cause?.so.length]).toEqual([[], 2]);
  });

  it('a job that fits nowhere does not come of a machine that is gone, though it names that one too', () => {
    const misfit = 'job 2: no approved machine could ever satisfy gpu: desktop-1 has no GPU and kang has no GPU';
    const attention = [line('node-gone', 'kang  silent for 20 s'), line('tags-unsatisfiable', misfit)];
    const causes = causesOf(statusWith(['kang', 'desktop-1'], { attention }));
    expect(causes.map(({ code, so }) => [code, so])).toEqual([
      ['node-gone', []],
      ['tags-unsatisfiable', []],
    ]);
  });

  it('a newcomer is asked about with its words; a GPU only where jobs wait while it is paused', () => {
    const asked = statusWith(['kang'], {
      attention: [
        line(
          'machine-waiting',
          'attic waits to be let in: compare the words a-b-c-d',
          'info',
          'autogit-node approve attic --words a-b-c-d',
        ),
      ],
      waiting: [{ node: 'attic', id: 'A', address: '10.0.0.9:7117', words: 'a-b-c-d', since: '' }],
    });
    expect(causesOf(asked)[0]?.act).toEqual({ act: 'approve', node: 'attic', words: 'a-b-c-d' });
    const paused = [line('gpu-paused', 'desktop-1  no new GPU work', 'info')];
    const of = (waiting: number) =>
      causesOf(
        statusWith(['desktop-1'], { attention: paused, queue: { waiting, running: 0, doneToday: 0, failedToday: 0 } }),
      );
    expect(of(0)).toEqual([]);
    expect(of(2)[0]?.act).toEqual({ act: 'resume-gpu', node: 'desktop-1' });
  });

  it('more than twenty at once are counted; those told already stay themselves', () => {
    const attention = Array.from({ length: 500 }, (_, i) => line(`code-${i}`, `thing ${i} is wrong`));
    const status = statusWith(['kang'], { attention });
    const causes = causesOf(status, new Set(['code-400', 'code-499']));
    expect(causes.length).toBe(21);
    expect(causes.slice(0, 2).map(({ key }) => key)).toEqual(['code-400', 'code-499']);
    expect(causes.at(-1)).toMatchObject({ key: 'many', sentence: '480 more things need attention' });
  });
});
