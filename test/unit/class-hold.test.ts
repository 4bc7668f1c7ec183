import { describe, expect, it } from 'vitest';
import type { Ledger, Run } from '../../protocol/ledger.ts';
import type { Effect } from '../../scheduler/effects.ts';
import { holdReason } from '../../scheduler/jobs/class-hold.ts';
import { jobTimings } from '../../scheduler/jobs/job-timings.ts';
import type { Lab } from './jobs-lab.ts';
import { measured } from './jobs-lab-machines.ts';
import { shown, untilLost, withRun } from './jobs-lost-lab.ts';

/** Only desktop-1 may take a job, and what it asks GitLab is on its way. With `gossip` unsaid no report tells of that. */
function whileAsking(run: Partial<Run>, unsaid: Effect['kind'][] = []): Lab {
  const busy = measured({ paused: 'all' });
  const mute: Effect['kind'][] = ['take-job'];
  const lab = withRun(run, { mute, machines: { kang: busy, 'desktop-2': busy, 'desktop-1': measured() } });
  lab.push(4816);
  mute.push(...unsaid);
  while (lab.effects('take-job').length === 0) lab.run(1);
  return lab;
}

/** A run that was called lost may live on GitLab's answers: nobody begins its retry before it surely stands still (SAFETY J1). */
describe('a lost run', () => {
  it('holds the class while the machine may still live on GitLab’s last answer, and no longer', () => {
    const lab = withRun({}, {}, 600_000);
    lab.vanish('desktop-1');
    untilLost(lab, 70_000);
    lab.push(4816);
    lab.run(2500);
    expect(lab.taken).toEqual([]);
    lab.run(2500);
    expect(lab.taken).toEqual([{ job: 4816, node: 'kang' }]);
  });

  it('a leader that begins holds what was lost lately, or GitLab may not know, anew', () => {
    for (const mute of [[], ['fail-run']] as const) {
      const lab = withRun({}, { mute });
      lab.vanish('desktop-1');
      untilLost(lab, 30_000);
      lab.term += 1;
      lab.push(4816);
      lab.run(2500);
      expect(lab.taken).toEqual([]);
      lab.feed('kang', { kind: 'run-failed-at-gitlab', run: 'r1', ok: true, because: 'failed' });
      lab.run(4000);
      expect(lab.taken).toEqual([{ job: 4816, node: 'kang' }]);
    }
  });

  it('tells GitLab when grants that are on their way are answered: one of them could bring the retry at once', () => {
    const lab = withRun({}, { mute: ['take-job'] });
    lab.push(4816);
    lab.run(1500);
    lab.vanish('desktop-1');
    const took = untilLost(lab, 30_000);
    expect(lab.effects('take-job')).toHaveLength(1);
    lab.run(jobTimings.grantsFirstMs - 3000);
    expect([took < 12_000, lab.effects('fail-run').length]).toEqual([true, 0]);
    lab.run(5000);
    expect(lab.effects('fail-run')).toHaveLength(1);
  });

  it('holds every class that has a tag in common with it: GitLab gives a runner all jobs whose tags it has', () => {
    const lab = withRun({ class: 'docker,linux', tags: ['docker', 'linux'] }, {}, 100_000);
    // Both classes have their runners, and have had jobs.
    lab.push(1, ['docker', 'linux']);
    lab.push(2, ['linux']);
    lab.push(3, ['arm-less']);
    lab.run(3000);
    lab.vanish('desktop-1');
    untilLost(lab, 30_000);
    const before = lab.taken.length;
    lab.push(4816, ['linux']);
    lab.run(2500);
    expect(lab.taken.slice(before)).toEqual([]);
    lab.run(3000);
    expect(lab.taken.slice(before)).toEqual([{ job: 4816, node: 'kang' }]);
  });

  it('holds the class until GitLab knows, and a span more: until then it may live on GitLab’s answers', () => {
    const lab = withRun({}, { mute: ['fail-run'] });
    lab.vanish('desktop-1');
    untilLost(lab, 30_000);
    lab.push(4816);
    lab.run(15_000);
    lab.feed('kang', { kind: 'run-failed-at-gitlab', run: 'r1', ok: true, because: 'failed' });
    lab.run(2500);
    expect(lab.taken).toEqual([]);
    lab.run(2500);
    expect(lab.taken).toEqual([{ job: 4816, node: 'kang' }]);
  });

  it('a GitLab that will not hear of it holds nothing up for longer than a minute', () => {
    const lab = withRun({}, { mute: ['fail-run'] });
    lab.vanish('desktop-1');
    untilLost(lab, 30_000);
    lab.push(4816);
    for (let count = 0; count < 6; count += 1) {
      lab.feed('kang', { kind: 'run-failed-at-gitlab', run: 'r1', ok: false, because: 'GitLab answers 500' });
      lab.run(10_000);
    }
    expect(lab.taken).toEqual([{ job: 4816, node: 'kang' }]);
  });

  it('holds the class when GitLab knows at last, however often and fast it refused to hear of it', () => {
    const lab = withRun({}, { mute: ['fail-run'] });
    lab.vanish('desktop-1');
    untilLost(lab, 30_000);
    const lostAt = lab.at;
    let answered = 0;
    const refuse = (): void => {
      lab.run(50);
      const asked = lab.effects('fail-run').length;
      if (asked === answered) return;
      answered = asked;
      lab.feed('kang', { kind: 'run-failed-at-gitlab', run: 'r1', ok: false, because: '502' });
    };
    while (lab.at < lostAt + 60_000) refuse();
    lab.feed('kang', { kind: 'run-failed-at-gitlab', run: 'r1', ok: true, because: 'failed' });
    const known = lab.at;
    lab.push(4816);
    while (lab.taken.length === 0) lab.run(20);
    expect(lab.at - known).toBeGreaterThanOrEqual(3000);
  });

  it('a leader that begins when GitLab has just been told holds the class all the same', () => {
    const lab = withRun(
      {},
      { mute: ['fail-run'], machines: { kang: measured(), 'desktop-1': measured(), 'desktop-2': measured() } },
    );
    lab.vanish('desktop-1');
    untilLost(lab, 30_000);
    lab.run(90_000);
    lab.feed('kang', { kind: 'run-failed-at-gitlab', run: 'r1', ok: true, because: 'failed' });
    lab.push(4816);
    lab.run(15);
    const known = lab.at;
    lab.elect('desktop-2');
    while (lab.taken.length === 0) lab.run(20);
    expect(lab.at - known).toBeGreaterThanOrEqual(2900);
  });

  it('a new leader waits for what nodes hold of a former leader’s grants before GitLab is told', () => {
    const machines = { kang: measured(), 'desktop-1': measured(), 'desktop-2': measured() };
    const lab = withRun({}, { mute: ['take-job', 'fail-run'], machines });
    lab.push(4816);
    lab.run(1500);
    lab.vanish('desktop-1');
    untilLost(lab, 30_000);
    lab.elect('desktop-2');
    lab.run(3000);
    expect(lab.effects('fail-run')).toEqual([]);
    lab.run(jobTimings.grantsFirstMs);
    expect(lab.effects('fail-run')).toHaveLength(1);
  });

  it('waits for the grants of a machine that fell silent too: what it asked GitLab may still be answered', () => {
    const lab = whileAsking({}, ['gossip']);
    lab.vanish('desktop-1');
    untilLost(lab, 30_000);
    expect(Object.keys(lab.node('kang').jobs.lead?.grants ?? {})).toEqual([]);
    lab.run(1000);
    expect(lab.effects('fail-run')).toEqual([]);
    lab.run(jobTimings.grantsFirstMs);
    expect(lab.effects('fail-run')).toHaveLength(1);
  });

  it('waits for the grants of a machine that was removed meanwhile, too', () => {
    const lab = whileAsking({ node: 'desktop-2', boot: 'boot-desktop-2' }, ['gossip']);
    const { 'desktop-1': removed, ...nodes } = lab.committed.nodes;
    expect(removed).toBeDefined();
    lab.committed = { ...lab.committed, nodes, forgotten: { 'desktop-1': lab.wallMs } };
    lab.accepted = lab.committed;
    lab.vanish('desktop-2');
    untilLost(lab, 30_000);
    lab.run(1000);
    expect(lab.effects('fail-run')).toEqual([]);
  });

  it('waits no more for a grant whose run is known, though its answer was lost', () => {
    const lab = whileAsking({ node: 'desktop-2', boot: 'boot-desktop-2' });
    const adrift = (): string[] => Object.keys(lab.node('kang').jobs.lead?.adrift ?? {});
    const { grant } = lab.effects('take-job')[0] as { grant: string };
    lab.node('desktop-1').liveness = { state: 'silent', since: lab.at };
    lab.run(300);
    expect(adrift()).toEqual([grant]);
    const runs = { ...lab.committed.runs, r2: { ...shown(lab), run: 'r2', job: 4816, node: 'desktop-1', grant } };
    lab.committed = { ...lab.committed, runs };
    lab.accepted = lab.committed;
    lab.run(500);
    expect(adrift()).toEqual([]);
  });

  it('a runner that a person made may take untagged jobs beside those of its tags', () => {
    const given = (ledger: Ledger): Ledger => ({
      ...ledger,
      gitlab: { ...ledger.gitlab, token: null },
      classes: Object.fromEntries(
        ['', 'linux', 'gpu'].map((key, index) => [
          key,
          {
            tags: key === '' ? [] : [key],
            state: 'ready' as const,
            nonce: 'n',
            runner: index + 1,
            token: 't',
            lastUsedAt: 1,
            given: key !== 'gpu',
          },
        ]),
      ),
    });
    const lab = withRun({ class: '', tags: [] }, { ledger: given, mute: ['fail-run'] });
    lab.vanish('desktop-1');
    untilLost(lab, 30_000);
    const { jobs } = lab.node('kang');
    const held = ['', 'linux', 'gpu'].filter((key) => holdReason(jobs, lab.at, lab.committed, key) !== null);
    expect(held).toEqual(['', 'linux']);
  });
});
