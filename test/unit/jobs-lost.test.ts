import { describe, expect, it } from 'vitest';
import type { Ledger } from '../../protocol/ledger.ts';
import { jobTimings } from '../../scheduler/jobs/job-timings.ts';
import { silentLimitMs } from '../../scheduler/jobs/lost-runs.ts';
import { measured } from './jobs-lab-machines.ts';
import { shown, start, untilLost, withRun } from './jobs-lost-lab.ts';

describe('when a run is lost (SAFETY J1)', () => {
  it.each([
    [0, 3000],
    [20_000, 3000],
    [100_000, 10_000],
    [600_000, 60_000],
    [36_000_000, 60_000],
  ])('a machine silent, the run %d ms old: after %d ms', (age, limit) => expect(silentLimitMs(age, 3)).toBe(limit));

  it('machine silent: first committed as lost, then failed at GitLab with the run, then known', () => {
    const lab = withRun({}, {}, 100_000);
    lab.vanish('desktop-1');
    let failedBeforeCommit = false;
    lab.commitMs = 700;
    lab.check = () => {
      if (lab.effects('fail-run').length > 0 && lab.committed.runs.r1?.state !== 'lost') failedBeforeCommit = true;
    };
    const took = untilLost(lab, 30_000);
    expect(took).toBeGreaterThanOrEqual(10_000);
    expect(took).toBeLessThan(12_500);
    lab.run(2000);
    expect(failedBeforeCommit).toBe(false);
    expect(lab.notes('run-lost')).toEqual(['job 4815 is lost: desktop-1 has not answered for 11 s']);
    expect(lab.effects('fail-run')).toMatchObject([
      { run: { job: 4815, token: 'sealed-job' }, because: 'desktop-1 has not answered for 11 s' },
    ]);
    expect(shown(lab)).toMatchObject({ state: 'lost', failedAtGitlab: true });
    expect(lab.committed.tally).toMatchObject({ failed: 1, done: 0 });
    expect(lab.effects('retry-job')).toEqual([]);
  });

  it('a short silence costs nothing', () => {
    const lab = withRun({}, {}, 100_000);
    lab.vanish('desktop-1');
    lab.run(9000);
    lab.node('desktop-1').up = true;
    lab.node('desktop-1').liveness = { state: 'alive', since: 0 };
    lab.run(60_000);
    expect(shown(lab).state).toBe('running');
  });

  it('its reports come: it does not hear the leader, and has 60 s, a few reports lost or not', () => {
    const lab = withRun();
    const began = lab.at;
    lab.node('desktop-1').liveness = { state: 'silent', since: began };
    lab.run(20_000);
    lab.isLost = (from) => from === 'desktop-1';
    lab.run(7000);
    lab.isLost = () => false;
    lab.run(30_000);
    expect(shown(lab).state).toBe('running');
    untilLost(lab, 10_000);
    expect(lab.at - began).toBeGreaterThanOrEqual(60_000);
    expect(shown(lab).because).toBe(
      'desktop-1 does not hear the leader: it sends reports, but has answered nothing for 60 s',
    );
  });

  it('a large mesh reports less often, so the next report is waited for', () => {
    const names = ['kang', 'desktop-1', ...Array.from({ length: 14 }, (_, at) => `pi-${at}`)];
    const large = { machines: Object.fromEntries(names.map((name) => [name, measured()])) };
    const deaf = withRun({}, large);
    deaf.node('desktop-1').liveness = { state: 'silent', since: deaf.at };
    deaf.run(20_000);
    expect(shown(deaf).state).toBe('running');
    const gone = withRun({}, large);
    gone.vanish('desktop-1');
    const took = untilLost(gone, 10_000);
    expect(took).toBeGreaterThanOrEqual(5000);
    expect(took).toBeLessThan(5500);
  });

  it('its reports came, and end: silent from the last one on', () => {
    const lab = withRun();
    lab.node('desktop-1').liveness = { state: 'silent', since: lab.at };
    lab.run(8000);
    lab.node('desktop-1').up = false;
    const took = untilLost(lab, 30_000);
    expect(took).toBeGreaterThan(7500);
    expect(took).toBeLessThanOrEqual(10_500);
    expect(shown(lab).because).toMatch(/^desktop-1 has not answered for 1\d s$/);
  });

  it('agent dead, machine there: 60 s to come back and adopt, whatever the probes repeat', () => {
    const lab = withRun();
    lab.node('desktop-1').up = false;
    const began = lab.at;
    lab.check = () => {
      lab.node('desktop-1').liveness = { state: 'dead', since: lab.at };
    };
    lab.node('desktop-1').liveness = { state: 'dead', since: lab.at };
    lab.run(59_000);
    expect(shown(lab).state).toBe('running');
    lab.run(3000);
    expect(shown(lab).state).toBe('lost');
    expect(shown(lab).because).toMatch(/^the agent of desktop-1 has not answered for 6\d s$/);
    expect(lab.at - began).toBe(62_000);
  });

  it('another boot id: at once, without waiting for age', () => {
    const lab = withRun({}, {}, 36_000_000);
    lab.boot('desktop-1', measured(), 'boot-2');
    const took = untilLost(lab, 10_000);
    expect(took).toBeLessThanOrEqual(1000);
    expect(shown(lab).because).toBe('the machine of desktop-1 was restarted while the job ran');
  });

  it('another boot id in a report of before its restart, which a new leader still has, says nothing of a run that began since', () => {
    const lab = withRun();
    const { jobs } = lab.node('kang');
    const heard = jobs.reports['desktop-1']!;
    const report = { ...heard.report, boot: 'boot-before', since: heard.report.since - 60_000 };
    lab.node('kang').jobs = { ...jobs, reports: { ...jobs.reports, 'desktop-1': { ...heard, report } } };
    lab.node('desktop-1').up = false;
    lab.leader = null;
    lab.run(1500);
    lab.leader = 'kang';
    lab.term += 1;
    lab.run(2000);
    expect(shown(lab).state).toBe('running');
    expect(lab.notes('run-lost')).toEqual([]);
  });

  it('another boot id, but its result was on disk: the node delivers it, nothing is lost', () => {
    const lab = withRun();
    lab.boot('desktop-1', measured(), 'boot-2');
    const result = { state: 'success' as const, exitCode: 0, reason: null, because: 'the script ended with 0' };
    const run = { ...shown(lab), state: 'finished' as const, finishedAt: lab.wallMs, result };
    lab.feed('desktop-1', { kind: 'run-changed', run });
    lab.run(5000);
    expect(shown(lab).state).toBe('finished');
    lab.feed('desktop-1', { kind: 'run-changed', run: { ...run, state: 'delivered' } });
    lab.run(5000);
    expect(shown(lab).state).toBe('delivered');
    expect(lab.committed.tally).toMatchObject({ done: 1, failed: 0 });
  });

  it('a finished one is not failed without saying that the job had succeeded (SAFETY J9)', () => {
    const result = { state: 'success' as const, exitCode: 0, reason: null, because: 'ended with 0' };
    const lab = withRun({ state: 'finished', finishedAt: start, result });
    lab.vanish('desktop-1');
    lab.run(55_000);
    expect(shown(lab).state).toBe('finished');
    lab.run(8000);
    expect(lab.effects('fail-run')[0]?.because).toBe(
      'desktop-1 has not answered for 60 s: the job had ended there (success, exit 0), but GitLab never got the result',
    );
  });

  it('a new leader counts from its own beginning', () => {
    const lab = withRun();
    lab.vanish('desktop-1');
    lab.node('desktop-1').liveness = { state: 'silent', since: Number.NEGATIVE_INFINITY };
    lab.elect('kang');
    lab.run(2900);
    expect(shown(lab).state).toBe('running');
    lab.run(1500);
    expect(shown(lab).state).toBe('lost');
  });

  it('its node knows nothing of it any more: its store was lost', () => {
    const lab = withRun();
    lab.boot('desktop-1', measured(), 'boot-desktop-1');
    lab.run(10_000);
    expect(shown(lab).state).toBe('running');
    lab.run(10_000);
    expect(shown(lab).because).toBe('desktop-1 lives and knows nothing of this run: its store was lost');
  });
});

describe('after a loss', () => {
  it('GitLab is told again and again until it knows', () => {
    const lab = withRun({}, { mute: ['fail-run'] });
    lab.vanish('desktop-1');
    lab.run(5000);
    expect(lab.effects('fail-run')).toHaveLength(1);
    for (let count = 0; count < 3; count += 1) {
      lab.feed('kang', { kind: 'run-failed-at-gitlab', run: 'r1', ok: false, because: 'GitLab answers 502' });
      lab.run(10_000);
    }
    expect(lab.effects('fail-run')).toHaveLength(4);
    lab.feed('kang', { kind: 'run-failed-at-gitlab', run: 'r1', ok: true, because: 'failed' });
    lab.run(100_000);
    expect(lab.effects('fail-run')).toHaveLength(4);
  });

  it('the next leader goes on with it', () => {
    const lab = withRun(
      {},
      { mute: ['fail-run'], machines: { kang: measured(), b: measured(), 'desktop-1': measured() } },
    );
    lab.vanish('desktop-1');
    lab.run(5000);
    lab.elect('b');
    lab.run(jobTimings.firstGrantWaitMs + 500);
    expect(lab.log.filter(({ effect }) => effect.kind === 'fail-run').map(({ node }) => node)).toEqual(['kang', 'b']);
  });

  it('the setting retryLost asks GitLab to run it again', () => {
    const retryLost = (ledger: Ledger): Ledger => ({ ...ledger, settings: { ...ledger.settings, retryLost: true } });
    const lab = withRun({}, { ledger: retryLost });
    lab.vanish('desktop-1');
    lab.run(6000);
    expect(lab.effects('retry-job')).toMatchObject([{ projectId: 7, job: 4815 }]);
  });

  it('a node that comes back drops what was given up, and the ledger stays', () => {
    const lab = withRun();
    lab.vanish('desktop-1');
    lab.run(6000);
    expect(shown(lab).state).toBe('lost');
    const back = lab.node('desktop-1');
    back.up = true;
    back.liveness = { state: 'alive', since: 0 };
    lab.feed('desktop-1', { kind: 'ticked' });
    lab.run(3000);
    expect(lab.effects('drop-run')).toMatchObject([
      { run: 'r1', because: expect.stringContaining('has not answered') },
    ]);
    expect(shown(lab).state).toBe('lost');
    expect(back.jobs.own.runs).toEqual({});
  });

  it('a removed node drops its runs, and the leader gives them up after 3 s', () => {
    const lab = withRun();
    const { 'desktop-1': _gone, ...nodes } = lab.committed.nodes;
    lab.committed = { ...lab.committed, nodes, forgotten: { 'desktop-1': lab.wallMs } };
    lab.accepted = lab.committed;
    lab.feed('desktop-1', { kind: 'ticked' });
    lab.run(200);
    lab.feed('desktop-1', { kind: 'ticked' });
    expect(lab.effects('drop-run')).toMatchObject([{ because: 'this node was removed from the mesh' }]);
    lab.run(4000);
    expect(shown(lab).because).toBe('its node was removed from the mesh');
  });
});
