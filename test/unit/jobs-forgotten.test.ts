import { describe, expect, it } from 'vitest';
import type { Ledger } from '../../protocol/ledger.ts';
import type { Effect } from '../../scheduler/effects.ts';
import { holdReason } from '../../scheduler/jobs/class-hold.ts';
import { Lab, wallStart } from './jobs-lab.ts';
import { labRun, measured } from './jobs-lab-machines.ts';
import { withRun } from './jobs-lost-lab.ts';

describe('taken and forgotten (SAFETY J3)', () => {
  const ready = (ledger: Ledger): Ledger => ({
    ...ledger,
    runs: {},
    classes: {
      '': { tags: [], state: 'ready', nonce: 'n', runner: 9, token: 't', lastUsedAt: wallStart + 1e6, given: false },
    },
  });
  const says = (lab: Lab, job: number): void =>
    lab.feed('kang', {
      kind: 'runs-compared',
      running: [{ job, projectId: 7, runner: 9, systemId: 's', startedAt: null }],
    });

  it('compares every 15 s', () => {
    const lab = new Lab({ machines: { kang: measured() }, ledger: ready });
    lab.run(61_000);
    expect(lab.effects('compare-runs')).toEqual(Array(4).fill({ kind: 'compare-runs', runners: [9] }));
  });

  it('a job that nobody owns for 20 s is rescued, once', () => {
    const lab = new Lab({ machines: { kang: measured(), 'desktop-1': measured() }, ledger: ready });
    lab.run(3000);
    says(lab, 99);
    lab.run(15_000);
    says(lab, 99);
    expect(lab.effects('rescue-job')).toEqual([]);
    lab.run(15_000);
    says(lab, 99);
    says(lab, 99);
    const because = 'GitLab has called job 99 running for 30 s and no node owns it: its script never began';
    // Committed first (SAFETY J6), asked once.
    expect(lab.effects('rescue-job')).toEqual([]);
    lab.run(100);
    expect(lab.committed.rescues?.[99]).toMatchObject({ projectId: 7, retry: true, because });
    expect(lab.effects('rescue-job')).toEqual([{ kind: 'rescue-job', projectId: 7, job: 99, retry: true, because }]);
    lab.feed('kang', {
      kind: 'job-rescued',
      job: 99,
      done: true,
      because: 'it is canceled, and it is tried again as job 100',
    });
    lab.run(100);
    expect(lab.committed.rescues).toEqual({});
    lab.run(60_000);
    expect(lab.effects('rescue-job')).toHaveLength(1);
  });

  it('of a run that was given up, and of which GitLab was never told, grants on their way are waited for, and none follows at once (SAFETY J1)', () => {
    const mute: Effect['kind'][] = ['take-job'];
    const gone = labRun({ run: 'run-99', job: 99, node: 'desktop-1', state: 'lost', finishedAt: wallStart });
    const lab = new Lab({
      machines: { kang: measured(), 'desktop-1': measured() },
      mute,
      ledger: (ledger) => ({ ...ready(ledger), runs: { 'run-99': { ...gone, failedAtGitlab: true } } }),
    });
    lab.vanish('desktop-1');
    lab.run(3000);
    for (const ms of [15_000, 12_000]) {
      says(lab, 99);
      lab.run(ms);
    }
    // Asked for another one: its answer may bring whatever waits by then.
    lab.push(5);
    lab.run(4000);
    says(lab, 99);
    lab.run(5000);
    expect([lab.committed.rescues?.[99]?.retry, lab.effects('rescue-job')]).toEqual([true, []]);
    lab.run(12_000);
    expect(lab.effects('rescue-job')).toHaveLength(1);
    lab.feed('kang', { kind: 'job-rescued', job: 99, done: true, because: 'it is tried again as job 100' });
    const { jobs } = lab.node('kang');
    expect(holdReason(jobs, lab.at, lab.accepted, '')).toContain('may still breathe');
    expect(holdReason(jobs, lab.at + 3001, lab.accepted, '')).toBeNull();
  });

  it.each([
    [
      'success',
      null,
      true,
      'though desktop-1 had brought its result (success): GitLab was put back to a state of before',
    ],
    ['failed', wallStart, true, 'had brought its result (failed)'],
    ['canceled', null, false, 'had brought its result (canceled)'],
    // Such a GitLab gives its numbers again: this one began later.
    ['success', wallStart + 60_000, true, 'no node owns it: its script never began'],
  ] as const)(
    'of a job that had ended here (%s) GitLab was put back to a state of before: once more, unless it was canceled (SAFETY J8)',
    (state, startedAt, retry, words) => {
      const result = { state, exitCode: 0, reason: null, because: 'how it ended' };
      const over = labRun({
        run: 'run-99',
        job: 99,
        node: 'desktop-1',
        state: 'delivered',
        finishedAt: wallStart + 5,
        result,
      });
      const lab = new Lab({
        machines: { kang: measured(), 'desktop-1': measured() },
        ledger: (ledger) => ({ ...ready(ledger), runs: { 'run-99': over } }),
      });
      lab.run(3000);
      for (let count = 0; count < 3; count += 1) {
        const running = { job: 99, projectId: 7, runner: 9, systemId: 's', startedAt };
        lab.feed('kang', { kind: 'runs-compared', running: [running] });
        lab.run(15_000);
      }
      expect(lab.committed.rescues?.[99]).toMatchObject({ retry, because: expect.stringContaining(words) });
      expect(lab.effects('rescue-job')).toMatchObject([{ job: 99, retry }]);
    },
  );

  it('a rescue that GitLab has not done is asked again, by the next leader too, until it is', () => {
    const lab = new Lab({ machines: { kang: measured(), 'desktop-1': measured() }, ledger: ready });
    lab.run(3000);
    for (let count = 0; count < 3; count += 1) {
      says(lab, 99);
      lab.run(15_000);
    }
    lab.feed('kang', { kind: 'job-rescued', job: 99, done: false, because: 'GitLab leaves it canceling' });
    lab.run(35_000);
    expect(lab.effects('rescue-job')).toHaveLength(2);
    lab.term += 1;
    lab.leader = 'desktop-1';
    lab.run(2000);
    expect(lab.effects('rescue-job')).toHaveLength(3);
  });

  it('a job that a person canceled, and that nobody has, is ended and not tried again', () => {
    const lab = new Lab({ machines: { kang: measured() }, ledger: ready });
    lab.run(3000);
    const canceling = { job: 99, projectId: 7, runner: 9, systemId: 's', startedAt: null, canceling: true };
    for (let count = 0; count < 3; count += 1) {
      lab.feed('kang', { kind: 'runs-compared', running: [canceling] });
      lab.run(15_000);
    }
    expect(lab.effects('rescue-job')).toMatchObject([{ job: 99, retry: false }]);
  });

  it('a job waits for the requests that were on the wire when it was first seen: one of them may still bring it', () => {
    const lab = new Lab({ machines: { kang: measured() }, ledger: ready, mute: ['take-job'] });
    lab.pending = [{ job: 5, projectId: 7, project: 'p', name: 'n', ref: 'main', tags: [], queuedAt: wallStart }];
    lab.run(3000);
    expect(lab.effects('take-job')).toHaveLength(1);
    lab.pending = [];
    for (let count = 0; count < 3; count += 1) {
      says(lab, 5);
      lab.run(14_000);
    }
    expect(lab.effects('rescue-job')).toEqual([]);
    const grant = lab.effects('take-job')[0]?.grant ?? '';
    const outcome = { kind: 'failed' as const, because: 'no whole answer', maybeTaken: true };
    lab.feed('kang', { kind: 'take-ended', grant, outcome });
    lab.run(1000);
    says(lab, 5);
    lab.run(100);
    expect(lab.effects('rescue-job')).toMatchObject([{ job: 5 }]);
  });

  it('a job that a node owns is none, and one that shows up in time neither', () => {
    const lab = withRun();
    for (let count = 0; count < 4; count += 1) {
      says(lab, 4815);
      lab.run(15_000);
    }
    says(lab, 50);
    lab.run(15_000);
    lab.feed('desktop-1', { kind: 'run-changed', run: labRun({ run: 'r2', job: 50, node: 'desktop-1' }) });
    lab.run(15_000);
    says(lab, 50);
    expect(lab.effects('rescue-job')).toEqual([]);
  });
});
