import { describe, expect, it } from 'vitest';
import type { Run } from '../../protocol/ledger.ts';
import { Report } from '../../protocol/report.ts';
import { Lab } from './jobs-lab.ts';
import { GiB, gpu3090, labRun, measured } from './jobs-lab-machines.ts';

const two = () => ({ kang: measured(), 'desktop-1': measured({ gpus_: [gpu3090] }) });
const told = (lab: Lab, from: string): Run[][] =>
  lab.log
    .filter((entry) => entry.node === from)
    .flatMap(({ effect }) =>
      effect.kind === 'send' && effect.message.kind === 'own-runs' ? [effect.message.runs] : [],
    );
const said = (lab: Lab, from: string): Report[] =>
  lab.log
    .filter((entry) => entry.node === from)
    .flatMap(({ effect }) => (effect.kind === 'gossip' ? [effect.report] : []));

describe('a node gossips', () => {
  it('every 2 s when nothing happens, and what it says passes the door', () => {
    const lab = new Lab({ machines: two() });
    lab.run(20_500);
    const reports = said(lab, 'desktop-1');
    expect(reports.length).toBeGreaterThanOrEqual(10);
    expect(reports.length).toBeLessThanOrEqual(13);
    for (const report of reports) Report.parse(report);
    expect(reports.map((report) => report.seq)).toEqual(reports.map((_, index) => index));
  });

  it('less often the more nodes there are, and still comes when something changed', () => {
    const lab = new Lab({ machines: Object.fromEntries(Array.from({ length: 30 }, (_, i) => [`m${i}`, measured()])) });
    lab.run(45_500);
    const reports = said(lab, 'm7').length;
    expect(reports).toBeGreaterThanOrEqual(10);
    expect(reports).toBeLessThanOrEqual(13);
    lab.feed('m7', { kind: 'run-changed', run: labRun({ run: 'r1', node: 'm7' }) });
    lab.run(500);
    expect(said(lab, 'm7').at(-1)?.runs).toHaveLength(1);
  });

  it.each([
    { nodes: 3, reports: 2 },
    { nodes: 30, reports: 0 },
  ])('$nodes nodes: two leaders within a second make $reports reports of each', ({ nodes, reports }) => {
    const lab = new Lab({
      machines: Object.fromEntries(Array.from({ length: nodes }, (_, i) => [`m${i}`, measured()])),
    });
    for (const known = said(lab, 'm2').length; said(lab, 'm2').length === known; ) lab.run(10);
    const before = { said: said(lab, 'm2').length, told: told(lab, 'm2').length };
    for (const leader of ['m1', 'm0']) {
      lab.elect(leader);
      lab.run(500);
    }
    expect(told(lab, 'm2').length - before.told).toBe(2);
    expect(said(lab, 'm2').length - before.said).toBe(reports);
  });

  it('a new leader hears at once of room that is held for a grant, in a crowd too', () => {
    const lab = new Lab({
      take: () => ({ kind: 'ticked' }),
      machines: Object.fromEntries(Array.from({ length: 30 }, (_, i) => [`m${i}`, measured()])),
    });
    lab.run(5000);
    const grant = { kind: 'grant' as const, grant: 'g1', class: '', tags: [], runner: 1, token: 't', gpus: [] };
    const message = { ...grant, term: lab.term, ttlMs: 10_000, because: 'test' };
    lab.feed('m2', { kind: 'heard', from: 'm0', message });
    lab.run(1000);
    expect(said(lab, 'm2').at(-1)?.reserved).toEqual([{ grant: 'g1', class: '' }]);
    const before = said(lab, 'm2').length;
    lab.elect('m1');
    lab.run(500);
    expect(said(lab, 'm2').length).toBe(before + 1);
  });

  it('memory is news when it changed by a part of the machine that matters', () => {
    const lab = new Lab({ machines: two() });
    const use = (gibibytes: number): number => {
      // Just after a report, so that none is due of itself for two seconds.
      for (const known = said(lab, 'kang').length; said(lab, 'kang').length === known; ) lab.run(10);
      const before = said(lab, 'kang').length;
      const words = measured({ usedMemoryBytes: gibibytes * GiB });
      lab.feed('kang', { kind: 'measured', measured: words, addresses: ['/ip4/10.0.0.1/tcp/7117'], version: '0.1.0' });
      lab.run(1000);
      return said(lab, 'kang').length - before;
    };
    use(10);
    expect(use(10.5)).toBe(0);
    expect(use(14)).toBe(1);
  });

  it('news at once, but at most five times a second', () => {
    const lab = new Lab({ machines: two() });
    lab.run(3000);
    const before = said(lab, 'desktop-1').length;
    for (let count = 0; count < 50; count += 1) {
      const run = labRun({ run: `r${count}`, job: count + 1, node: 'desktop-1' });
      lab.feed('desktop-1', { kind: 'run-changed', run });
      lab.run(20);
    }
    expect(said(lab, 'desktop-1').length - before).toBeLessThanOrEqual(6);
    expect(said(lab, 'desktop-1').at(-1)?.runs.length).toBeGreaterThan(40);
  });

  it('its room follows from what runs, and comes back by itself', () => {
    const lab = new Lab({ machines: two() });
    const run = labRun({ run: 'r1', node: 'desktop-1', tags: ['cpu-4', 'gpu', 'mem-8g'], gpus: [gpu3090.uuid] });
    lab.feed('desktop-1', { kind: 'run-changed', run });
    lab.run(2500);
    expect(said(lab, 'desktop-1').at(-1)?.room).toMatchObject({
      cpuMillis: 12_000,
      memoryBytes: (64 - 2 - 2 - 8) * GiB,
      gpus: [{ uuid: gpu3090.uuid, held: 'r1' }],
    });
    const result = { state: 'failed' as const, exitCode: 2, reason: 'script_failure', because: 'exit 2' };
    lab.feed('desktop-1', { kind: 'run-changed', run: { ...run, state: 'finished', finishedAt: lab.wallMs, result } });
    lab.run(2500);
    expect(said(lab, 'desktop-1').at(-1)?.room.cpuMillis).toBe(16_000);
    expect(said(lab, 'desktop-1').at(-1)?.runs).toEqual([
      { run: 'r1', job: 1, class: 'cpu-4,gpu,mem-8g', state: 'finished' },
    ]);
  });

  it('an older report, one in another name, or one of a stranger is dropped; a later process is believed', () => {
    const lab = new Lab({ machines: two() });
    lab.run(6000);
    const [first] = said(lab, 'desktop-1');
    if (!first) throw new Error('no report');
    const known = () => lab.node('kang').jobs.reports['desktop-1']?.report;
    const newest = known();
    lab.feed('kang', { kind: 'report-heard', from: 'desktop-1', report: first });
    lab.feed('kang', { kind: 'report-heard', from: 'kang2', report: { ...first, node: 'kang2', seq: 99 } });
    lab.feed('kang', { kind: 'report-heard', from: 'kang', report: { ...first, seq: 99 } });
    expect(known()).toBe(newest);
    expect(lab.node('kang').jobs.reports.kang2).toBeUndefined();
    const later = { ...first, seq: 0, since: first.since + 5 };
    lab.feed('kang', { kind: 'report-heard', from: 'desktop-1', report: later });
    expect(known()).toBe(later);
  });
});

describe('a node tells the leader of its runs', () => {
  it('at once on change, every second until the ledger agrees, then no more', () => {
    const lab = new Lab({ machines: two() });
    lab.run(1000);
    lab.mayAct = false;
    const before = told(lab, 'desktop-1').length;
    const run = labRun({ run: 'r1', node: 'desktop-1', takenAt: lab.wallMs });
    lab.feed('desktop-1', { kind: 'run-changed', run });
    expect(told(lab, 'desktop-1').length).toBe(before + 1);
    lab.run(5500);
    expect(told(lab, 'desktop-1').length).toBe(before + 6);
    lab.mayAct = true;
    lab.run(3000);
    const agreed = told(lab, 'desktop-1').length;
    expect(lab.committed.runs.r1).toMatchObject({ state: 'running', boot: 'boot-desktop-1' });
    lab.run(20_000);
    expect(told(lab, 'desktop-1').length).toBe(agreed);
  });

  it('a new leader at once, with all of them', () => {
    const lab = new Lab({ machines: { ...two(), b: measured() } });
    lab.feed('desktop-1', { kind: 'run-changed', run: labRun({ run: 'r1', node: 'desktop-1' }) });
    lab.run(3000);
    lab.elect('b');
    expect(
      told(lab, 'desktop-1')
        .at(-1)
        ?.map((run) => run.run),
    ).toEqual(['r1']);
    lab.run(100);
    expect(lab.node('b').jobs.announced['desktop-1']?.runs).toHaveLength(1);
  });

  it('a delivered run is forgotten here once the ledger has it, and the ledger keeps the newest 60', () => {
    const lab = new Lab({ machines: { kang: measured({ cores: 64, memoryGiB: 256 }) }, scriptMs: 20 });
    for (let job = 1; job <= 64; job += 1) lab.push(job);
    lab.run(30_000);
    expect(lab.node('kang').jobs.own.runs).toEqual({});
    lab.push(65);
    lab.run(5000);
    const kept = Object.values(lab.committed.runs);
    expect(kept).toHaveLength(60);
    expect(kept.some((run) => run.job === 65)).toBe(true);
    expect(lab.committed.tally).toMatchObject({ done: 65, failed: 0, day: '2025-11-21' });
  });

  it('events have stable names: run-started, run-finished', () => {
    const lab = new Lab({ machines: two(), scriptMs: 50 });
    lab.push(1, ['node-desktop-1']);
    lab.run(5000);
    expect(lab.notes('run-started')).toEqual(['job 1 runs here: placed']);
    expect(lab.notes('run-finished')).toEqual(['job 1: the script ended with 0']);
  });

  it('a run that was under way when the agent was started is not said to start again', () => {
    const lab = new Lab({ machines: two() });
    const run = labRun({ run: 'r1', node: 'desktop-1', startedAt: lab.wallMs - 60_000 });
    lab.feed('desktop-1', { kind: 'run-changed', run });
    lab.run(100);
    lab.feed('desktop-1', { kind: 'run-changed', run: { ...run, frozen: true } });
    expect(lab.notes('run-adopted')).toEqual(['job 1 was under way here when this agent was started']);
    expect(lab.notes('run-started')).toEqual([]);
  });

  it('runs never go backwards in the ledger, whatever comes late', () => {
    const lab = new Lab({ machines: two() });
    const run = labRun({ run: 'r1', node: 'desktop-1', takenAt: lab.wallMs });
    lab.feed('kang', {
      kind: 'heard',
      from: 'desktop-1',
      message: { kind: 'own-runs', boot: 'boot-desktop-1', runs: [run] },
    });
    lab.run(100);
    const result = { state: 'success' as const, exitCode: 0, reason: null, because: 'ok' };
    const over = { ...run, state: 'delivered' as const, finishedAt: lab.wallMs, result };
    lab.feed('kang', {
      kind: 'heard',
      from: 'desktop-1',
      message: { kind: 'own-runs', boot: 'boot-desktop-1', runs: [over] },
    });
    lab.run(100);
    lab.feed('kang', {
      kind: 'heard',
      from: 'desktop-1',
      message: { kind: 'own-runs', boot: 'boot-desktop-1', runs: [run] },
    });
    const forged = { ...over, run: 'r2', node: 'kang' };
    lab.feed('kang', {
      kind: 'heard',
      from: 'desktop-1',
      message: { kind: 'own-runs', boot: 'x', runs: [run, forged] },
    });
    lab.run(500);
    expect(lab.committed.runs.r1?.state).toBe('delivered');
    expect(lab.committed.runs.r2).toBeUndefined();
    expect(lab.committed.tally.done).toBe(1);
  });
});
