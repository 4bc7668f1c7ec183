import { describe, expect, it } from 'vitest';
import { jobView } from '../../node/cli/jobs-view.ts';
import { pipelineRows } from '../../node/faces/pipeline-rows.ts';
import { jobGroups } from '../../node/page/view/job-lists.ts';
import { pipelineAddress } from '../../node/page/view/web-address.ts';
import { JobRow } from '../../protocol/job-rows.ts';
import { Run } from '../../protocol/ledger.ts';
import { jobRows } from '../../scheduler/snapshot.ts';
import { jobs, now } from '../browser/sample-house.ts';
import { Lab } from './jobs-lab.ts';
import { labRun, measured } from './jobs-lab-machines.ts';
import { viewOf } from './snapshot-lab.ts';

const told = (rows: readonly JobRow[]) =>
  pipelineRows(rows).map(({ project, pipeline, sentence }) => `${project} #${pipeline}: ${sentence}`);
const [sample] = jobs() as [JobRow, ...JobRow[]];
const job = (number: number, state: JobRow['state'], over: Partial<JobRow> = {}): JobRow => ({
  ...{ ...sample, job: number, name: `job-${number}`, state },
  ...over,
});

describe('pipelines', () => {
  it('are told by rows as GitLab told them, and a run of an agent of before stands under none', () => {
    const lab = new Lab({ machines: { kang: measured() } });
    lab.push(1, ['gpu']);
    lab.push(2, ['gpu']);
    Object.assign(lab.pending[0]!, { pipeline: 1271 });
    for (const run of [
      labRun({ run: 'r3', job: 3, node: 'kang', pipeline: 1270 }),
      labRun({ run: 'r4', job: 4, node: 'kang' }),
    ])
      lab.feed('kang', { kind: 'run-changed', run });
    lab.run(5_000);
    const rows = jobRows(viewOf(lab, 'kang'));
    expect(rows.map(({ job, state, pipeline }) => [job, state, pipeline])).toEqual([
      [1, 'waiting', 1271],
      [2, 'waiting', undefined],
      [3, 'running', 1270],
      [4, 'running', undefined],
    ]);
    // Beside an agent that knows of none: its answer is read, and nothing else of it changes.
    for (const { pipeline, ...old } of rows) expect(JobRow.parse(old)).toEqual(old);
    expect(Run.parse({ ...labRun({ run: 'r5', job: 5, node: 'kang' }), pipeline: 7 })).toHaveProperty('pipeline', 7);
  });

  it('are told by their jobs: under way first, as the queue goes, then the newest that ended', () => {
    expect(told(jobs())).toEqual([
      'lab/vision #1270: 1 waiting',
      'lab/vision #1271: 2 running, 1 done',
      'lab/site #1272: 1 running, 1 waiting',
      'lab/vision #1269: 2 done',
      'lab/vision #1268: 1 failed',
      'lab/vision #1266: 1 done',
    ]);
  });

  it('count each job once: what was granted waits, what is being canceled runs, what was lost has failed', () => {
    expect(told([job(1, 'granted'), job(2, 'canceling'), job(3, 'lost'), job(4, 'canceled'), job(5, 'done')])).toEqual([
      'lab/vision #1271: 1 running, 1 waiting, 1 failed, 1 done, 1 canceled',
    ]);
  });

  it('a job that was tried again failed no pipeline', () => {
    const rows = [job(1, 'failed', { name: 'unit' }), job(2, 'done', { name: 'unit' }), job(3, 'done')];
    expect(told(rows)).toEqual(['lab/vision #1271: 2 done, 1 tried again']);
    expect(pipelineRows(rows)[0]).toMatchObject({ failed: new Set(), isUnderWay: false });
    // In another pipeline it is another job.
    expect(pipelineRows([rows[0]!, { ...rows[1]!, pipeline: 1272 }])[1]).toMatchObject({ failed: new Set([1]) });
  });

  it('of one number in two projects, as after a restore, are two', () => {
    expect(told([job(1, 'running'), job(2, 'waiting', { project: 'lab/site' })])).toHaveLength(2);
  });

  it('are shown with their jobs, what runs first; a job of none stands beside them, in the lists of before', () => {
    const old = jobs().map(({ pipeline, ...row }) =>
      pipeline === 1270 || pipeline === 1266 ? row : { ...row, pipeline },
    );
    const { pipelines, others } = jobGroups(old as JobRow[], now, 'http://home.local');
    expect(pipelines.map(({ pipeline, tone, lines }) => [pipeline, tone, lines.map(({ row }) => row.name)])).toEqual([
      [1271, 'busy', ['train', 'unit', 'lint']],
      [1272, 'busy', ['docs', 'deploy']],
      [1269, 'good', ['unit', 'train']],
      [1268, 'fail', ['unit']],
    ]);
    // How long a job takes is learned of all of them.
    expect(pipelines[0]?.lines[0]?.progress?.words).toBe('about 6 min left');
    expect([others.running, others.waiting, others.ended].map((lines) => lines.map(({ row }) => row.name))).toEqual([
      [],
      ['eval'],
      ['unit'],
    ]);
  });

  it('show first what failed in them, and was not tried again: else it stood behind all that waits', () => {
    const waiting = Array.from({ length: 20 }, (_, index) => job(10 + index, 'waiting'));
    const failed = (number: number, name: string): JobRow =>
      job(number, 'failed', { name, finishedAt: new Date(now - 1000 * (10 - number)).toISOString() });
    const rows = [
      ...[job(1, 'running'), ...waiting, job(2, 'done', { name: 'retried', finishedAt: new Date(now).toISOString() })],
      ...[failed(1, 'retried'), failed(3, 'a'), failed(4, 'b'), failed(5, 'c'), failed(6, 'd')],
    ];
    const names = jobGroups(rows, now, null).pipelines[0]?.lines.map(({ row }) => row.name) ?? [];
    expect([names.slice(0, 5), names.length]).toEqual([['d', 'c', 'b', 'job-1', 'job-10'], rows.length]);
    expect(new Set(jobGroups(rows, now, null).pipelines[0]?.lines).size).toBe(rows.length);
  });

  it('lead to their page in GitLab, and nowhere else whatever a job or a member says', () => {
    expect(pipelineAddress('http://home.local/gitlab/', 'lab/vision', 7)).toBe(
      'http://home.local/gitlab/lab/vision/-/pipelines/7',
    );
    for (const project of ['vision', '', 'lab/../root', '../x', 'lab/a b', '//evil.example/x', 'lab/"><img>'])
      expect(pipelineAddress('http://home.local', project, 7)).toBeNull();
    for (const url of [null, 'javascript:alert(1)']) expect(pipelineAddress(url, 'lab/vision', 7)).toBeNull();
  });

  it('stand in `jobs JOB` in the same words', () => {
    const rows = jobs();
    const text = (number: number): string =>
      jobView(rows.find((row) => row.job === number)!, rows, { isTerminal: true, columns: 100, now });
    expect(text(4816)).toContain('pipeline  #1271: 2 running, 1 done\n');
    expect(
      jobView(job(1, 'running', { pipeline: undefined } as Partial<JobRow>), [], {
        isTerminal: true,
        columns: 100,
        now,
      }),
    ).toContain('pipeline  -\n');
  });
});
