import { describe, expect, it } from 'vitest';
import type { Ledger, Run } from '../../protocol/ledger.ts';
import type { JobsState } from '../../scheduler/jobs/jobs-state.ts';
import { type JobsTurn, openJobsTurn } from '../../scheduler/jobs/jobs-turn.ts';
import { viewOf } from '../../scheduler/jobs/machines.ts';
import { runsCompared, tendRescues } from '../../scheduler/jobs/run-compare.ts';
import { isRefusal } from '../../scheduler/ledger-edit.ts';
import { Lab, wallStart } from './jobs-lab.ts';
import { labRun, measured } from './jobs-lab-machines.ts';

/**
 * SAFETY J3, each check by itself. In whole stories `runsCompared` and `tendRescues` cover each other, so that a hole in
 * one of them shows in neither.
 */
const job = 99;
const running = [{ job, projectId: 7, runner: 9, systemId: 's', startedAt: null }];
const rescue = { projectId: 7, since: wallStart + 1e6, retry: true, because: 'nobody had it' };
const run = (over: Partial<Run> = {}): Run => labRun({ run: 'r99', job, node: 'desktop-1', ...over });

interface Here {
  jobs: JobsState;
  ledger: Ledger;
  committed: Ledger;
}

/** kang leads; GitLab has called the job running for a minute, all machines have spoken since, and nobody has it. */
function here(): { lab: Lab; state: Here } {
  const lab = new Lab({
    machines: { kang: measured(), 'desktop-1': measured() },
    ledger: (ledger) => ({
      ...ledger,
      runs: {},
      classes: {
        '': { tags: [], state: 'ready', nonce: 'n', runner: 9, token: 't', lastUsedAt: wallStart + 1e6, given: false },
      },
    }),
  });
  lab.run(3000);
  const { jobs } = lab.node('kang');
  const lead = jobs.lead;
  if (lead === null) throw new Error('kang does not lead');
  const seen = { ...jobs, lead: { ...lead, strays: { [job]: { since: lab.at - 60_000, asking: [] } } } };
  return { lab, state: { jobs: seen, ledger: lab.accepted, committed: lab.committed } };
}

const both = (state: Here, change: (ledger: Ledger) => Ledger): Here => ({
  ...state,
  ledger: change(state.ledger),
  committed: change(state.committed),
});
const withRun = (state: Here, one: Run): Here =>
  both(state, (ledger) => ({ ...ledger, runs: { ...ledger.runs, [one.run]: one } }));

/** Everything by which a job is somebody's. */
const owners: [string, (state: Here) => Here][] = [
  ['the ledger has an open run of it', (state) => withRun(state, run())],
  [
    'a node has announced it, also that it has ended since',
    (state) => {
      const announced = { boot: 'boot-desktop-1', runs: [run({ state: 'delivered' })], at: 0 };
      return { ...state, jobs: { ...state.jobs, announced: { ...state.jobs.announced, 'desktop-1': announced } } };
    },
  ],
  [
    'a node gossips of it',
    (state) => {
      const heard = state.jobs.reports['desktop-1'];
      if (heard === undefined) throw new Error('desktop-1 has not reported');
      const report = { ...heard.report, runs: [{ run: 'r99', job, class: '', state: 'running' as const }] };
      return {
        ...state,
        jobs: { ...state.jobs, reports: { ...state.jobs.reports, 'desktop-1': { ...heard, report } } },
      };
    },
  ],
];

function turnOf(lab: Lab, { jobs, ledger, committed }: Here): JobsTurn {
  return openJobsTurn(jobs, { ...lab.context('kang'), ledger, committed });
}

/** What is to be written after GitLab's list came. */
function written(change: (state: Here) => Here, systemId: string | null = 's'): string[] {
  const { lab, state } = here();
  const now = change(state);
  const turn = turnOf(lab, now);
  runsCompared(turn, viewOf(turn, now.ledger), {
    at: lab.at,
    wallMs: lab.wallMs,
    kind: 'runs-compared',
    running: running.map((one) => ({ ...one, systemId })),
  });
  return turn.edits.map(({ name }) => name);
}

/** What is asked of GitLab, of a rescue that is committed. */
function asked(change: (state: Here) => Here): string[] {
  const { lab, state } = here();
  const now = change(both(state, (ledger) => ({ ...ledger, rescues: { [job]: rescue } })));
  const turn = turnOf(lab, now);
  tendRescues(turn);
  return turn.effects.map(({ kind }) => kind);
}

describe('a job that GitLab calls running is written down as forgotten', () => {
  it('when nobody has it', () => expect(written((state) => state)).toEqual(['rescue-wanted']));

  it('nor is it ours when an ordinary gitlab-runner took it by the same token, of this machine or of a fall-back', () => {
    for (const other of ['s_0123456789ab', 'r_fallback6b95']) expect(written((state) => state, other)).toEqual([]);
    for (const own of ['r_8kVQwpZ3mDfa', null]) expect(written((state) => state, own)).toEqual(['rescue-wanted']);
  });

  it.each(owners)('not when %s', (_, change) => expect(written(change)).toEqual([]));

  it('not when its run is lost and GitLab is about to be told with its own token', () => {
    expect(written((state) => withRun(state, run({ state: 'lost' })))).toEqual([]);
    expect(written((state) => withRun(state, run({ state: 'lost', failedAtGitlab: true })))).toEqual(['rescue-wanted']);
  });

  it('not while a machine of before a recovery by force may have it, and tells nobody here (SAFETY J1)', () => {
    const recovery = (unseen: string[]) => (state: Here) =>
      both(state, (ledger) => ({
        ...ledger,
        recovery: { by: 'kang', at: 0, from: { era: ledger.era, stamp: ledger.stamp }, off: [], unseen },
      }));
    expect(written(recovery(['desktop-1']))).toEqual([]);
    expect(written(recovery([]))).toEqual(['rescue-wanted']);
  });

  it('not once more, nor said once more, when it is written already', () => {
    const change = (state: Here) => both(state, (ledger) => ({ ...ledger, rescues: { [job]: rescue } }));
    expect(written(change)).toEqual([]);
  });

  it('not when it is the leader that has it, which is told of its own runs too', () => {
    const { lab } = here();
    lab.feed('kang', { kind: 'run-changed', run: run({ node: 'kang' }) });
    expect(lab.node('kang').jobs.announced.kang?.runs).toMatchObject([{ job }]);
  });
});

describe('a job that is written down as forgotten is ended at GitLab', () => {
  it('when nobody has it', () => expect(asked((state) => state)).toEqual(['rescue-job']));

  it.each(owners)('not when %s meanwhile', (_, change) => expect(asked(change)).toEqual([]));

  it('not when the newest ledger has it no more, or when it is not committed yet (SAFETY J6)', () => {
    const none = (ledger: Ledger): Ledger => ({ ...ledger, rescues: {} });
    expect(asked((state) => ({ ...state, ledger: none(state.ledger) }))).toEqual([]);
    expect(asked((state) => ({ ...state, committed: none(state.committed) }))).toEqual([]);
  });
});

describe('the edit itself', () => {
  it('writes a job down once, whoever asks for it twice', () => {
    const { lab, state } = here();
    const turn = turnOf(lab, state);
    const input = { at: lab.at, wallMs: lab.wallMs, kind: 'runs-compared' as const, running };
    runsCompared(turn, viewOf(turn, state.ledger), input);
    const once = turn.edits[0]?.apply(state.ledger);
    if (once === undefined || isRefusal(once)) throw new Error('nothing was written');
    expect(Object.keys(once.rescues ?? {})).toEqual([String(job)]);
    expect(turn.edits[0]?.apply(once)).toBe(once);
  });
});
