import { describe, expect, it, vi } from 'vitest';
import type { GitlabAdmin } from '../../gitlab-bridge/gitlab-admin.ts';
import { fulfil, type WishTools } from '../../node/agent/job-wishes.ts';
import { trace } from '../../node/agent/logs.ts';
import { askHolders, type HolderLines } from '../../node/agent/token-holders.ts';
import { AutogitError } from '../../protocol/errors.ts';
import type { JobWish } from '../../protocol/job-asks.ts';
import type { JobRow } from '../../protocol/job-rows.ts';
import { askedForGitlab, findJob, jobNamed, jobToShow, wishStep } from '../../scheduler/job-wish.ts';
import { Lab, wallStart } from './jobs-lab.ts';
import { labLedger, labRun, measured } from './jobs-lab-machines.ts';
import { viewOf } from './snapshot-lab.ts';

const wish = (over: Partial<JobWish> = {}): JobWish => ({ wish: 'cancel', job: 7, force: false, ...over });

describe('what is asked of GitLab', () => {
  const cancel = (status: string, force = false) => wishStep(wish({ force }), 'build', { status, retried: false });
  const retry = (status: string, retried = false) => wishStep(wish({ wish: 'retry' }), 'build', { status, retried });

  it.each([
    [cancel('created'), { kind: 'ask', how: 'cancel' }],
    [cancel('pending'), { kind: 'ask', how: 'cancel' }],
    [cancel('running', true), { kind: 'ask', how: 'cancel' }],
    [cancel('a state of tomorrow'), { kind: 'ask', how: 'cancel' }],
    [cancel('canceling'), { kind: 'done', because: expect.stringContaining('cancel 7 --force') }],
    [cancel('canceling', true), { kind: 'ask', how: 'force' }],
    [cancel('canceled'), { kind: 'done', because: 'job 7 (build) is canceled already' }],
    [cancel('success'), { kind: 'refused', because: 'job 7 (build) has ended already: success' }],
    [retry('success'), { kind: 'ask', how: 'retry' }],
    [retry('failed'), { kind: 'ask', how: 'retry' }],
    [retry('canceled'), { kind: 'ask', how: 'retry' }],
    [retry('failed', true), { kind: 'refused', because: 'job 7 (build) was tried again already' }],
    [retry('running'), { kind: 'refused', because: 'job 7 (build) has not ended: it is running' }],
    [retry('manual'), { kind: 'refused', hint: 'start it in GitLab' }],
  ])('%#', (step, expected) => {
    expect(step).toMatchObject(expected);
  });
});

describe('which job is meant', () => {
  const start = wallStart + 1_000_000;
  const row = (job: number, name: string, state: JobRow['state']): JobRow => ({
    job,
    name,
    state,
    project: 'lab/vision',
    ref: 'main',
    tags: [],
    node: null,
    attempt: 1,
    queuedAt: null,
    startedAt: null,
    finishedAt: null,
    exitCode: null,
    because: '',
  });

  it('a name, where only one job of it can be', () => {
    const rows = [row(1, 'build', 'failed'), row(2, 'build', 'running'), row(3, 'test', 'waiting')];
    expect(jobNamed(rows, 'build', 'cancel')).toEqual({ job: 2 });
    expect(jobNamed(rows, 'build', 'retry')).toEqual({ job: 1 });
    expect(jobNamed(rows, 'tset', 'cancel')).toEqual({
      refused: 'the mesh knows no job called tset; did you mean test?',
    });
    expect(jobNamed(rows, 'BUILD', 'cancel')).toEqual({
      refused: 'the mesh knows no job called BUILD; did you mean build?',
    });
    expect(jobNamed(rows, 'deploy', 'cancel')).toEqual({ refused: 'the mesh knows no job called deploy' });
    expect(jobNamed(rows, 'test', 'retry')).toEqual({
      refused: 'no job called test has failed: 3 (waiting, lab/vision@main)',
    });
    expect(jobNamed([...rows, row(4, 'build', 'canceling')], 'build', 'cancel')).toMatchObject({
      refused: expect.stringMatching(/^2 jobs are called build: 2 .* 4 .*say which by its number$/),
    });
    expect(jobToShow(rows, 'build')).toEqual({ job: 2 });
    expect(jobToShow([row(1, 'build', 'failed'), row(5, 'build', 'done')], 'build')).toEqual({ job: 5 });
    expect(jobToShow([...rows, row(4, 'build', 'canceling')], 'build')).toHaveProperty('refused');
    expect(jobToShow(rows, 'tset')).toEqual({ refused: 'the mesh knows no job called tset; did you mean test?' });
  });

  it('a number that the ledger or, on the leader, GitLab’s queue has; no other', () => {
    const runs = {
      old: labRun({ run: 'old', node: 'kang', job: 9, projectId: 3, state: 'delivered', takenAt: start }),
      now: labRun({
        run: 'now',
        node: 'kang',
        job: 9,
        projectId: 4,
        name: 'again',
        state: 'running',
        takenAt: start + 5,
      }),
    };
    const lab = new Lab({
      machines: { kang: measured(), 'desktop-1': measured() },
      ledger: (ledger) => ({ ...ledger, runs }),
    });
    lab.pending = [
      { job: 12, projectId: 5, project: 'a/b', name: 'waits', ref: 'main', tags: ['nowhere'], queuedAt: start },
    ];
    lab.run(3000);
    expect(findJob(viewOf(lab, 'kang'), 9)).toMatchObject({ projectId: 4, name: 'again' });
    expect(findJob(viewOf(lab, 'kang'), 12)).toMatchObject({ projectId: 5, name: 'waits' });
    expect(findJob(viewOf(lab, 'desktop-1'), 12)).toBeNull();
    expect(findJob(viewOf(lab, 'kang'), 13)).toBeNull();
  });

  it('its run is told at once by the leader, whatever GitLab calls the job', () => {
    const run = labRun({ run: 'r1', job: 9, node: 'desktop-1', state: 'running', takenAt: start });
    const lab = new Lab({
      machines: { kang: measured(), 'desktop-1': measured() },
      ledger: (ledger) => ({ ...ledger, runs: { r1: run } }),
    });
    lab.feed('desktop-1', { kind: 'run-changed', run });
    lab.run(2000);
    lab.feed('desktop-1', { kind: 'cancel-asked', job: 9 });
    lab.run(100);
    expect(lab.effects('hint-run')).toEqual([]);
    lab.feed('kang', { kind: 'cancel-asked', job: 9 });
    lab.run(500);
    expect(lab.effects('hint-run')).toEqual([{ kind: 'hint-run', run: 'r1' }]);
  });
});

describe('a wish at the machine that holds the token', () => {
  const job = { job: 7, status: 'running', name: 'build', retried: false, failureReason: null, user: 1 };
  const fed: unknown[] = [];
  const tools = (admin: Partial<GitlabAdmin>, over: Partial<WishTools> = {}): WishTools => ({
    find: () => ({ job: 7, projectId: 3, name: 'build' }),
    leads: () => true,
    admin: () => admin as GitlabAdmin,
    feed: (happened) => void fed.push(happened),
    log: { event: () => {} },
    ...over,
  });

  it('GitLab’s no comes back in its words, with what to do', async () => {
    const answer = await fulfil(wish(), 'kang', {
      ...tools({
        job: async () => job,
        cancelJob: async () => {
          throw new AutogitError('gitlab-refused', 'GitLab answered the cancelling of a job with HTTP 403');
        },
      }),
    });
    expect(answer).toMatchObject({
      kind: 'failed',
      code: 'gitlab-refused',
      because: 'GitLab does not cancel job 7 (build): GitLab answered the cancelling of a job with HTTP 403',
      hint: expect.stringContaining('gitlab connect'),
    });
    expect(fed).toEqual([]);
  });

  it('another try is its own user’s: by the token of an administrator it would have that one’s rights', async () => {
    const failed = { ...job, status: 'failed' };
    const asked: (number | undefined)[] = [];
    const admin = (user: number, refuses = false): Partial<GitlabAdmin> => ({
      job: async () => ({ ...failed, user }),
      userId: async () => 1,
      retryJob: async (_project, _job, as) => {
        asked.push(as);
        if (refuses) throw new AutogitError('gitlab-refused', 'HTTP 403');
        return 8;
      },
    });
    const retry = (how: Partial<GitlabAdmin>) => fulfil(wish({ wish: 'retry' }), 'kang', tools(how));
    expect(await retry(admin(1))).toMatchObject({ kind: 'wished', next: 8 });
    expect(await retry(admin(5))).toMatchObject({ kind: 'wished', next: 8 });
    expect(await retry(admin(5, true))).toMatchObject({
      kind: 'failed',
      code: 'gitlab-refused',
      because: expect.stringContaining('the token needs scope sudo'),
      hint: expect.stringContaining('on its page in GitLab'),
    });
    expect(asked).toEqual([undefined, 5, 5]);
    const isFirst = { ...admin(5, true), job: async () => ({ ...failed, user: 5, retried: asked.length > 3 }) };
    expect(await retry(isFirst)).toMatchObject({ because: 'job 7 (build) was tried again already' });
  });

  it('a GitLab that hangs holds nobody up', async () => {
    vi.useFakeTimers();
    try {
      const answer = fulfil(wish({ wish: 'retry' }), 'kang', tools({ job: () => new Promise(() => {}) }));
      await vi.advanceTimersByTimeAsync(12_500);
      expect(await answer).toMatchObject({ kind: 'failed', because: expect.stringContaining('within 12 s') });
    } finally {
      vi.useRealTimers();
    }
  });

  it('only the leader’s word that no such job is known ends the search', async () => {
    const unknown = { find: () => null };
    expect(await fulfil(wish(), 'kang', tools({}, unknown))).toMatchObject({ kind: 'failed', code: 'no-job' });
    expect(await fulfil(wish(), 'kang', tools({}, { ...unknown, leads: () => false }))).toMatchObject({
      kind: 'refused',
    });
  });
});

describe('who is asked', () => {
  const ledger = labLedger(['kang', 'desktop-1', 'desktop-2'], wallStart);
  const voters = Object.fromEntries(['kang', 'desktop-1'].map((name) => [name, { store: name, weight: 2 }]));
  const mesh = { ...ledger, configuration: { voters, next: null } };
  const connected = { ...mesh, gitlab: { ...ledger.gitlab, mode: 'connected' as const, url: 'http://g', token: 'x' } };
  const lines = (over: Partial<HolderLines>): HolderLines => ({
    ledger: connected,
    leader: 'desktop-1',
    self: 'desktop-2',
    own: async () => ({ kind: 'refused', because: 'not this one' }),
    ask: async (node) => ({ kind: 'wished', because: node, next: null }),
    ...over,
  });
  const ask = { kind: 'wish', wish: wish() } as const;

  it('the leader first, then whoever votes; a plain machine never itself', () => {
    expect(askedForGitlab(connected, 'desktop-1', 'desktop-2')).toEqual(['desktop-1', 'kang']);
    expect(askedForGitlab(connected, null, 'kang')[0]).toBe('kang');
  });

  it('the next one, when one is away or of an earlier version; each word of those is said in the end', async () => {
    const deaf = async (node: string) => {
      if (node === 'desktop-1') throw new AutogitError('timed-out', 'desktop-1 could not be asked: stream reset');
      return { kind: 'wished' as const, because: node, next: null };
    };
    expect(await askHolders(ask, lines({ ask: deaf }))).toMatchObject({ because: 'kang' });
    await expect(
      askHolders(ask, lines({ ask: async () => Promise.reject(new AutogitError('timed-out', 'is not connected')) })),
    ).rejects.toMatchObject({ code: 'no-leader', message: expect.stringMatching(/desktop-1 \(.*kang \(/) });
  });

  it('what a later version fails with is said in its words, whatever the code', async () => {
    const failed = { kind: 'failed' as const, code: 'of-tomorrow', because: 'GitLab is on strike', hint: 'wait' };
    await expect(askHolders(ask, lines({ ask: async () => failed }))).rejects.toMatchObject({
      name: 'AutogitError',
      message: 'GitLab is on strike',
      hint: 'wait',
    });
  });

  it('nobody, without a token in the mesh: why, and what to type', async () => {
    const none = { ...connected, gitlab: { ...connected.gitlab, mode: 'none' as const } };
    await expect(askHolders(ask, lines({ ledger: none }))).rejects.toMatchObject({ code: 'no-gitlab' });
    const runnerTokens = { ...connected, gitlab: { ...connected.gitlab, token: null } };
    await expect(askHolders(ask, lines({ ledger: runnerTokens }))).rejects.toMatchObject({
      code: 'no-gitlab',
      hint: expect.stringContaining('gitlab connect http://g --token-env'),
    });
  });
});

describe('logs JOB', () => {
  it('says so when the machine that has the trace does not answer, instead of waiting for ever', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
    try {
      const run = labRun({ run: 'r1', job: 9, node: 'gone', state: 'running' });
      const sources = {
        run: () => run,
        self: 'kang',
        own: async () => null,
        ask: async () => Promise.reject(new Error('nobody there')),
        ended: async () => Promise.reject(new Error('not asked')),
      };
      const read = (async () => {
        for await (const _text of trace(9, false, sources, new AbortController().signal));
      })();
      const failed = expect(read).rejects.toMatchObject({
        code: 'timed-out',
        hint: expect.stringContaining('logs 9 -f'),
      });
      await vi.advanceTimersByTimeAsync(15_000);
      await failed;
    } finally {
      vi.useRealTimers();
    }
  });
});
