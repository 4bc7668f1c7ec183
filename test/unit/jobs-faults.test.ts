import { describe, expect, it } from 'vitest';
import type { LedgerFault, RunFault } from '../../protocol/job-fault.ts';
import { Ledger } from '../../protocol/ledger.ts';
import { limits } from '../../protocol/limits.ts';
import type { Measured } from '../../protocol/report.ts';
import { jobTimings } from '../../scheduler/jobs/job-timings.ts';
import { jobRows, snapshot, why } from '../../scheduler/snapshot.ts';
import { Lab, type LabOptions, wallStart } from './jobs-lab.ts';
import { gpu3090, labRun, measured } from './jobs-lab-machines.ts';
import { viewOf } from './snapshot-lab.ts';

const network: RunFault = { kind: 'network', begun: false };
const machines = { kang: measured({ cores: 4 }), 'desktop-1': measured({ cores: 16 }) };
const faultsOf = (lab: Lab): LedgerFault[] => Object.values(lab.committed.faults ?? {});
/** Every job fails on desktop-1 as `fault` says, and goes well elsewhere. */
const failsOnDesktop = (fault: RunFault, options: LabOptions = {}): Lab =>
  new Lab({ machines, failing: (node) => (node === 'desktop-1' ? fault : null), ...options });
/** A machine was lost with so many jobs, and GitLab knows. */
const withLost =
  (count: number, retryLost: boolean) =>
  (now: Ledger): Ledger => {
    const runs = Array.from({ length: count }, (_, at) =>
      labRun({
        ...{ run: `run-${at}`, job: at + 1, name: `job-${Math.max(at, 4)}`, node: 'desktop-1', state: 'lost' },
        ...{ failedAtGitlab: true, takenAt: wallStart, finishedAt: wallStart },
      }),
    );
    return {
      ...now,
      settings: { ...now.settings, retryLost },
      runs: Object.fromEntries(runs.map((run) => [run.run, run])),
    };
  };
const placesOf = (lab: Lab): string[] => lab.taken.map(({ node }) => node);

describe('a run that failed by no doing of its own (SAFETY J10)', () => {
  it('is tried again on another machine, and everybody is told why', () => {
    const lab = failsOnDesktop(network);
    lab.push(1);
    lab.run(6000);
    expect(lab.taken).toEqual([
      { job: 1, node: 'desktop-1' },
      { job: 2, node: 'kang' },
    ]);
    expect(faultsOf(lab)).toMatchObject([
      { job: 1, fault: network, retry: 'made', because: 'it is tried again as job 2' },
    ]);
    expect(Ledger.parse(lab.committed)).toEqual(lab.committed);
    const view = viewOf(lab, 'kang');
    expect(why(view, 1)?.because).toBe('no pull; it is tried again as job 2');
    expect(jobRows(view).map(({ job, attempt, state }) => [job, attempt, state])).toEqual([
      [2, 2, 'done'],
      [1, 1, 'failed'],
    ]);
    expect(lab.notes('run-fault')).toEqual([
      'job 1 failed by no doing of its own on desktop-1: it is tried again on another machine (network)',
    ]);
    expect(lab.notes('run-retried')).toEqual(['job 1: it is tried again as job 2']);
  });

  it('is asked for only once it is committed, and no more when GitLab has done it', () => {
    const lab = failsOnDesktop(network);
    lab.commitMs = 300;
    let isEarly = false;
    lab.check = () => {
      if (lab.effects('retry-job').length > 0 && faultsOf(lab).length === 0) isEarly = true;
    };
    lab.push(1);
    lab.run(60_000);
    expect([isEarly, lab.effects('retry-job').length]).toEqual([false, 1]);
  });

  it('is asked for until GitLab answers, by the next leader too, and given up after a quarter of an hour', () => {
    const lab = failsOnDesktop(network, { mute: ['retry-job'] });
    lab.push(1);
    lab.run(4000);
    expect(lab.effects('retry-job')).toHaveLength(1);
    lab.feed('kang', { kind: 'job-retried', run: 'run-1', done: false, made: false, because: 'GitLab answers 502' });
    lab.run(1500);
    expect(lab.effects('retry-job')).toHaveLength(2);
    lab.elect('desktop-1');
    lab.run(3000);
    expect(lab.log.filter(({ effect }) => effect.kind === 'retry-job').map(({ node }) => node)).toEqual([
      'kang',
      'kang',
      'desktop-1',
    ]);
    lab.run(jobTimings.retryGiveUpMs);
    expect(faultsOf(lab)).toMatchObject([{ retry: 'none', because: expect.stringContaining('within 15 min') }]);
    const asked = lab.effects('retry-job').length;
    lab.run(120_000);
    expect(lab.effects('retry-job')).toHaveLength(asked);
  });

  it.each([
    ['its own fault', null, /^$/],
    ['a script that had begun', { kind: 'machine', begun: true }, /its script had begun \(its retry: does, or/],
    ['ended for its owner', { kind: 'owner', begun: true }, /its machine, where it was ended for its owner, or/],
  ])('is left to its retry: when it is %s', (_what, fault, words) => {
    const lab = new Lab({ machines, failing: (node) => (node === 'desktop-1' ? fault : null) });
    lab.push(1);
    lab.run(6000);
    expect(lab.effects('retry-job')).toEqual([]);
    expect(
      faultsOf(lab)
        .map(({ because }) => because)
        .join(),
    ).toMatch(words);
  });

  it('that had begun is tried again where the mesh is set to that', () => {
    const ledger = (now: Ledger): Ledger => ({ ...now, settings: { ...now.settings, retryLost: true } });
    const lab = failsOnDesktop({ kind: 'machine', begun: true }, { ledger });
    lab.push(1);
    lab.run(6000);
    expect(placesOf(lab)).toEqual(['desktop-1', 'kang']);
  });

  it('is not tried again where no other machine could ever take it', () => {
    const lab = failsOnDesktop(network);
    lab.push(1, ['cpu-8']);
    lab.run(6000);
    expect(lab.effects('retry-job')).toEqual([]);
    expect(why(viewOf(lab, 'kang'), 1)?.because).toBe(
      'no pull; the mesh does not try it again: no other machine of the mesh could take it',
    );
  });

  it('is tried again twice an hour, wherever it fails', () => {
    const three = { ...machines, 'desktop-2': measured(), 'desktop-3': measured() };
    const lab = new Lab({ machines: three, failing: () => network });
    lab.push(1);
    lab.run(30_000);
    expect(new Set(placesOf(lab)).size).toBe(3);
    expect(lab.effects('retry-job')).toHaveLength(limits.retriesPerJob);
    expect(faultsOf(lab).at(-1)).toMatchObject({ retry: 'none', because: expect.stringContaining('2 times within') });
  });

  it('has one budget with all others of the mesh', () => {
    const spent = (now: Ledger): Ledger => {
      const at = lab0.wallMs;
      const entry = { projectId: 7, name: 'x', ref: 'main', class: '', node: 'kang', fault: network, at, because: 'x' };
      const faults = Array.from({ length: limits.retriesPerMesh }, (_, n) => [
        `old-${n}`,
        { ...entry, job: n + 1, name: `x${n}`, retry: 'made' as const },
      ]);
      return { ...now, faults: Object.fromEntries(faults) };
    };
    const lab0 = new Lab();
    const lab = failsOnDesktop(network, { ledger: spent });
    lab.push(100);
    lab.run(6000);
    expect(lab.effects('retry-job')).toEqual([]);
    expect(lab.committed.faults?.['run-100']?.because).toContain('more than this machine');
    expect(Object.keys(lab.committed.faults ?? {}).length).toBeLessThanOrEqual(limits.faults);
  });

  it('counts for that budget where many end at once, as those of a machine that is lost', () => {
    const lab = new Lab({ machines, ledger: withLost(limits.retriesPerMesh + 10, true), mute: ['take-job'] });
    lab.run(6000);
    const made = faultsOf(lab).filter(({ retry }) => retry === 'made');
    expect(made).toHaveLength(limits.retriesPerMesh);
    expect(made.filter(({ name }) => name === 'job-4')).toHaveLength(limits.retriesPerJob);
  });

  it('is decided once, of however many at a time', () => {
    const lab = new Lab({ machines, ledger: withLost(limits.faults + 30, false), mute: ['take-job'] });
    lab.run(2000);
    const said = lab.notes('run-fault');
    expect(said.length).toBe(new Set(said).size);
    expect(faultsOf(lab)).toHaveLength(limits.faults);
  });

  /** Its first try fails on desktop-1; kang is as said. */
  function withSecondTry(kang: Partial<Measured>): Lab {
    const kangs = measured({ cores: 1 });
    let failures = 1;
    const lab = new Lab({
      machines: { kang: kangs, 'desktop-1': measured() },
      scriptMs: 3000,
      failing: (node) => (node === 'desktop-1' && failures-- > 0 ? network : null),
    });
    lab.feed('kang', { kind: 'measured', measured: { ...kangs, ...kang }, addresses: [], version: '1' });
    lab.push(1);
    return lab;
  }

  it('waits five minutes for another machine that has no room, then takes the same', () => {
    const lab = withSecondTry({ usedMemoryBytes: 63 * 2 ** 30 });
    lab.run(60_000);
    expect(lab.taken).toHaveLength(1);
    const said = why(viewOf(lab, 'kang'), 2);
    expect(said?.machines.find(({ node }) => node === 'desktop-1')).toMatchObject({
      fits: false,
      because: expect.stringMatching(
        /^failed job 1, of which this is another try, .* ago \(network\): other machines come first$/,
      ),
    });
    lab.run(jobTimings.elsewhereMs);
    expect(placesOf(lab)).toEqual(['desktop-1', 'desktop-1']);
  });

  it('waits for no other machine that takes no jobs: drained, paused, or away', () => {
    const lab = withSecondTry({ paused: 'all', pausedBecause: 'paused by its owner' });
    lab.run(20_000);
    expect(placesOf(lab)).toEqual(['desktop-1', 'desktop-1']);
  });
});

describe('a machine on which jobs of several projects fail by no doing of their own', () => {
  const cordoned = (projects: number[], options: LabOptions = {}): Lab => {
    const lab = failsOnDesktop(network, { machines: { 'desktop-1': measured() }, ...options });
    for (const [index, project] of projects.entries()) {
      lab.push(index + 1, [], `job-${index}`, project);
      lab.run(5000);
    }
    return lab;
  };
  const said = (lab: Lab) => snapshot(viewOf(lab, 'desktop-1')).attention.filter(({ code }) => code === 'job-faults');

  it('takes none any more, says so with the fix, and takes one after a pause, whose end decides', () => {
    let isBroken = true;
    const lab = cordoned([1, 2, 1], { failing: () => (isBroken ? network : null) });
    expect(said(lab)).toMatchObject([
      {
        severity: 'warn',
        fix: 'on desktop-1: autogit-node resume',
        sentence: expect.stringContaining('3 of the last 3 jobs failed here'),
      },
    ]);
    for (const job of [11, 12, 13]) lab.push(job);
    lab.run(60_000);
    expect(lab.taken).toHaveLength(3);
    expect(why(viewOf(lab, 'desktop-1'), 11)?.because).toContain('takes no jobs now: 3 of the last 3 jobs failed here');
    // The pause is over: one is tried, fails too, and the pause is twice as long.
    lab.run(jobTimings.cordonLeastMs);
    expect(lab.taken).toHaveLength(4);
    lab.run(1.5 * jobTimings.cordonLeastMs);
    expect(lab.taken).toHaveLength(4);
    isBroken = false;
    lab.run(jobTimings.cordonLeastMs);
    expect(lab.taken).toHaveLength(6);
    expect(said(lab)).toEqual([]);
    expect(lab.notes('machine-trusted')).toEqual(['this machine takes jobs again: job 12 went well here']);
  });

  it('waits with that one until all that jobs need is well', () => {
    const lab = cordoned([1, 2, 1]);
    const away = { ...measured(), executors: [], workProblems: [{ about: 'git-away', sentence: 'no git' }] };
    lab.feed('desktop-1', { kind: 'measured', measured: away, addresses: [], version: '1' });
    lab.run(3 * jobTimings.cordonLeastMs);
    expect(lab.notes('machine-tried')).toEqual([]);
    lab.feed('desktop-1', { kind: 'measured', measured: measured(), addresses: [], version: '1' });
    lab.run(1000);
    expect(lab.notes('machine-tried')).toHaveLength(1);
  });

  it('is not believed by a job that ran there before, which keeps none from being tried either', () => {
    const lab = new Lab({
      machines: { 'desktop-1': measured() },
      scriptMs: ({ job }) => (job === 100 ? 1e9 : 500),
      failing: () => network,
    });
    lab.push(100);
    lab.run(jobTimings.trialMs);
    for (const [job, project] of [1, 2, 3].entries()) {
      lab.push(job + 1, [], `job-${job}`, project);
      lab.run(5000);
    }
    expect(lab.notes('machine-cordoned')).toHaveLength(1);
    for (const job of [11, 12, 13, 14]) lab.push(job, [], `job-${job}`, job);
    lab.run(jobTimings.cordonLeastMs + 10_000);
    expect(lab.notes('machine-trusted')).toEqual([]);
    expect(lab.taken.map(({ job }) => job)).toEqual([100, 1, 2, 3, 11]);
    expect(lab.notes('machine-cordoned').at(-1)).toContain('after 10 min');
  });

  it('comes back at once when a person says so', () => {
    const lab = cordoned([1, 2, 1]);
    lab.feed('desktop-1', { kind: 'jobs-trusted' });
    lab.run(1000);
    expect([said(lab), lab.notes('machine-trusted')]).toEqual([
      [],
      ['this machine takes jobs again: a person said so'],
    ]);
  });

  it('is not one whose jobs of one project fail, nor one where more go well', () => {
    expect(said(cordoned([1, 1, 1, 1]))).toEqual([]);
    let count = 0;
    expect(said(cordoned([1, 2, 1, 2, 1, 2, 1, 2], { failing: () => (count++ % 2 === 0 ? null : network) }))).toEqual(
      [],
    );
  });

  it('is not one whose jobs all name one server that does not answer: no machine would take jobs any more', () => {
    const one: RunFault = { ...network, server: 'registry.example' };
    expect(said(cordoned([1, 2, 1, 2, 1, 2], { failing: () => one }))).toEqual([]);
    let count = 0;
    const each = (): RunFault => ({ ...network, server: `registry-${count++}.example` });
    expect(said(cordoned([1, 2, 1], { failing: each }))).toHaveLength(1);
  });

  it('is not one whose owner had its jobs make way, and such an end decides no trial', () => {
    const owner: RunFault = { kind: 'owner', begun: true };
    expect(said(cordoned([1, 2, 1, 2], { failing: () => owner }))).toEqual([]);
    let fault: RunFault | null = network;
    const lab = cordoned([1, 2, 1], { failing: () => fault });
    fault = owner;
    lab.push(11);
    lab.run(jobTimings.cordonLeastMs + 5000);
    expect(lab.notes('machine-cordoned')).toHaveLength(1);
    expect(lab.notes('machine-trusted')).toEqual([]);
    fault = null;
    lab.push(12);
    lab.run(10_000);
    expect(lab.notes('machine-trusted')).toHaveLength(1);
  });

  it('takes no GPU jobs only, where only those fail', () => {
    const gpus = { machines: { 'desktop-1': measured({ gpus_: [gpu3090] }) } };
    const lab = failsOnDesktop(network, {
      ...gpus,
      failing: (_node, run) => (run.gpus.length > 0 ? { kind: 'environment', begun: false } : null),
    });
    for (const [index, tags] of [[], ['gpu'], ['gpu'], ['gpu']].entries()) {
      lab.push(index + 1, tags, `job-${index}`, index);
      lab.run(5000);
    }
    lab.push(20, ['gpu']);
    lab.push(21);
    lab.run(5000);
    expect(lab.taken.map(({ job }) => job)).toEqual([1, 2, 3, 4, 21]);
    expect(why(viewOf(lab, 'desktop-1'), 20)?.because).toContain('3 of the last 3 jobs with a GPU failed here');
    expect(snapshot(viewOf(lab, 'desktop-1')).attention.map(({ code }) => code)).toContain('gpu-problem');
  });
});

describe('a phantom job', () => {
  it('holds up neither another class nor its own', () => {
    const phantom = 1;
    const lab: Lab = new Lab({
      machines: { kang: measured({ cores: 1 }) },
      take: (effect) =>
        lab.pending.some(({ job }) => job !== phantom && job < 100)
          ? null
          : { kind: 'take-ended', grant: effect.grant, outcome: { kind: 'empty', because: 'GitLab had no job' } },
    });
    lab.push(phantom);
    lab.run(30_000);
    const asked = lab.effects('take-job').length;
    expect(asked).toBeLessThanOrEqual(9);
    const waitsSince = lab.effects('take-job').length;
    while (lab.effects('take-job').length === waitsSince) lab.run(100);
    lab.run(500);
    // GitLab never gives the phantom: the lab's GitLab would, so it is put last.
    const queue = lab.pending;
    lab.pending = [];
    lab.push(2);
    lab.pending.push(...queue);
    const began = lab.at;
    for (let at = 0; at < 3000 && lab.taken.length === 0; at += 100) lab.run(100);
    expect(lab.taken).toEqual([{ job: 2, node: 'kang' }]);
    // A read of the queue each second, or three when nothing else waits.
    expect(lab.at - began).toBeLessThan(2500);
    expect(why(viewOf(lab, 'kang'), phantom)?.because).toMatch(
      /^GitLab shows it as waiting and gave no job \d+ times in a row/,
    );
  });
});
