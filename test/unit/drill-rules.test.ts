import { describe, expect, it } from 'vitest';
import { gitlabView } from '../../node/cli/gitlab-commands.ts';
import { partOf } from '../../node/hosting/drill/drill-checks.ts';
import type { DrillSeen, Report, StandbySeen } from '../../protocol/report.ts';
import {
  type DrillsPast,
  drillParts,
  drillTimings,
  isDrillDue,
  jobsWaiting,
  mustYield,
  whyEndDrill,
  whyNoDrill,
} from '../../scheduler/hosting/drill-rules.ts';
import { snapshot } from '../../scheduler/snapshot.ts';
import type { ViewInput } from '../../scheduler/snapshot-view.ts';
import { hostedGitlab } from '../fixtures/hosted-gitlab.ts';
import { Lab } from './jobs-lab.ts';
import { measured } from './jobs-lab-machines.ts';
import { viewOf } from './snapshot-lab.ts';

const data = 'k3v9q2m4';
const hour = 3_600_000;
const none: DrillSeen = { last: null, proven: null, doing: null, ended: null, waits: null };
const doing = { phase: 'boots GitLab', steps: [] };

/** kang hosts, two desktops hold copies; as desktop-1 sees it. */
class DrillLab {
  readonly lab: Lab;
  readonly ids: Record<string, string>;
  #more: Record<string, Partial<Report>> = {};

  constructor() {
    const machine = () => measured({ memoryGiB: 64 });
    this.lab = new Lab({ machines: { kang: machine(), 'desktop-1': machine(), 'desktop-2': machine() } });
    this.lab.run(3_000);
    const { nodes, gitlab } = this.lab.committed;
    this.ids = Object.fromEntries(Object.entries(nodes).map(([id, { name }]) => [name, id]));
    const hosted = hostedGitlab({ data, hostname: 'kang.lan', port: 8080, since: 0, because: 'asked' });
    const now = { mode: 'hosted', url: 'http://kang.lan:8080', host: this.ids.kang, epoch: 1, hosted };
    this.commit({ gitlab: { ...gitlab, ...now } });
  }

  commit(more: object): void {
    this.lab.committed = { ...this.lab.committed, ...more } as typeof this.lab.committed;
    this.lab.accepted = this.lab.committed;
  }

  says(name: string, more: Partial<Report>): this {
    this.#more[name] = { ...this.#more[name], ...more };
    return this;
  }

  drills(name: string, drill: Partial<DrillSeen>): this {
    const standby: StandbySeen = { data, newest: null, freeBytes: 0, problem: null, drill: { ...none, ...drill } };
    return this.says(name, { standby });
  }

  view(from = 'desktop-1'): ViewInput {
    const view = viewOf(this.lab, from);
    const reports = Object.fromEntries(
      Object.entries(view.jobs.reports).map(([id, heard]) => {
        const name = this.lab.committed.nodes[id]?.name ?? '';
        return [id, { ...heard, report: { ...heard.report, ...this.#more[name] } }];
      }),
    );
    return { ...view, jobs: { ...view.jobs, reports } };
  }

  measured(more: Partial<Report['measured']>): this {
    const own = this.view().jobs.reports[this.ids['desktop-1'] as string]?.report as Report;
    return this.says('desktop-1', { measured: { ...own.measured, ...more } });
  }
}
const lab = (): DrillLab => new DrillLab();
const run = { run: 'r1', job: 1, class: 'c', state: 'running' } as Report['runs'][number];

describe('a drill by itself', () => {
  it('is due an hour after the first copy, then each day; sooner where it failed or was ended; not by a clock ahead', () => {
    const due = (more: Partial<DrillsPast>, wallMs: number) =>
      isDrillDue({ since: 0, last: null, ended: null, ...more }, wallMs);
    expect([due({}, hour - 1), due({}, hour)]).toEqual([false, true]);
    const proven = { at: 2 * hour, isProven: true };
    expect([due({ last: proven }, 25 * hour), due({ last: proven }, 26 * hour)]).toEqual([false, true]);
    const failed = { at: 2 * hour, isProven: false };
    expect([due({ last: failed }, 7 * hour), due({ last: failed }, 8 * hour)]).toEqual([false, true]);
    const ended = 30 * hour;
    expect([
      due({ last: proven, ended }, ended + drillTimings.againMs - 1),
      due({ last: proven, ended }, ended + drillTimings.againMs),
    ]).toEqual([false, true]);
    // One that ended before the last verdict says nothing any more.
    expect(due({ last: { at: ended, isProven: true }, ended: 1 }, ended + 25 * hour)).toBe(true);
    expect(due({ last: { at: 1000 * hour, isProven: true } }, 30 * hour)).toBe(true);
  });

  it('begins only where it is in nobody’s way, and says why it does not', () => {
    expect(whyNoDrill(lab().view(), false)).toBeNull();
    const why = (one: DrillLab, isAsked = false) => whyNoDrill(one.view(), isAsked);
    expect(why(lab().measured({ owner: 'present' }))).toBe('the owner of this machine is there');
    expect(why(lab().measured({ owner: 'playing' }), true)).toBe('the owner of this machine is playing');
    expect(why(lab().measured({ paused: 'all', pausedBecause: 'paused by its owner: no new work' }), true)).toBe(
      'paused by its owner: no new work',
    );
    expect(why(lab().says('desktop-1', { runs: [run] }))).toBe('jobs of the mesh run on this machine');
    expect(why(lab().drills('desktop-2', { doing }))).toBe('desktop-2 is at one');
    expect(why(lab().drills('desktop-1', { doing }))).toBeNull();
    // A person who asks is told of another drill, and not of jobs or of who sits there.
    expect(why(lab().drills('desktop-2', { doing }), true)).toBe('desktop-2 is at one');
    expect(
      why(
        lab()
          .measured({ owner: 'present' })
          .says('desktop-1', { runs: [run] }),
        true,
      ),
    ).toBeNull();
    const away = lab();
    away.lab.node('desktop-1').liveness = { state: 'silent', since: away.lab.at };
    away.lab.node('kang').liveness = { state: 'silent', since: away.lab.at };
    expect(why(away)).toMatch(/^kang, which runs GitLab, /);
    const deploying = lab();
    deploying.commit({ gitlab: { ...deploying.lab.committed.gitlab, url: null } });
    expect(why(deploying, true)).toBe('GitLab does not stand yet');
    const gone = lab();
    gone.commit({ gitlab: { ...gone.lab.committed.gitlab, hosted: undefined, mode: 'none', host: null } });
    expect(why(gone)).toBe('the mesh runs no GitLab itself');
  });

  it('gives way to one that began at the same moment on a machine with a smaller id', () => {
    const [first, second] = ['desktop-1', 'desktop-2'].sort((a, b) => (lab().ids[a]! < lab().ids[b]! ? -1 : 1)) as [
      string,
      string,
    ];
    const both = lab().drills('desktop-1', { doing }).drills('desktop-2', { doing });
    expect([mustYield(both.view(first)), mustYield(both.view(second))]).toEqual([false, true]);
    expect(mustYield(lab().drills(first, { doing }).view(first))).toBe(false);
  });

  it('ends as soon as its machine is wanted', () => {
    const why = (one: DrillLab, isAsked = false, waited = 0) => whyEndDrill(one.view(), isAsked, waited);
    expect(why(lab())).toBeNull();
    expect(why(lab().measured({ owner: 'present' }))).toBe('the owner of this machine is back');
    expect(why(lab().measured({ owner: 'present' }), true)).toBeNull();
    expect(why(lab().measured({ owner: 'playing' }), true)).toBe('the owner of this machine plays');
    expect(why(lab().measured({ paused: 'all', pausedBecause: 'paused' }), true)).toBe('paused');
    expect(why(lab().says('desktop-1', { runs: [run] }))).toBe('a job of the mesh begins on this machine');
    const leader = Object.keys(lab().ids).find((name) => lab().ids[name] === lab().view().leader?.node) as string;
    const queue = { waiting: 2, gitlab: 'healthy' as const, because: null };
    const waiting = lab().says(leader, { queue });
    expect(jobsWaiting(waiting.view())).toBe(2);
    // Jobs that waited before wait for something else.
    expect([why(waiting), why(waiting, false, 2), why(waiting, true)]).toEqual(['a job waits for room', null, null]);
  });

  it('reads each repository whole within its parts, always with the same ones', () => {
    const paths = Array.from({ length: 2000 }, (_, i) => `/var/opt/gitlab/git-data/repositories/@hashed/${i}.git`);
    const counts = Array.from(
      { length: drillParts },
      (_, part) => paths.filter((path) => partOf(path) === part).length,
    );
    expect(Math.min(...counts)).toBeGreaterThan(80);
    expect(counts.reduce((sum, one) => sum + one)).toBe(2000);
  });
});

describe('drills in status', () => {
  const shown = (one: DrillLab) => {
    const now = snapshot(one.view());
    return { text: gitlabView(now, true, 200), lines: now.attention.filter(({ code }) => code === 'gitlab-drill') };
  };
  const round = { era: 1, epoch: 1, number: 120 };
  const steps = [{ step: 'boot', state: 'ok' as const, ms: 9000, sentence: 'it works' }];

  it('show when GitLab was proven, on which machine and of which round', () => {
    const one = lab();
    const at = one.lab.wallMs - hour;
    const last = { at, round, isProven: true, because: 'GitLab works', steps };
    const { text, lines } = shown(one.drills('desktop-1', { last, proven: { at, round } }));
    expect(lines).toEqual([]);
    expect(text).toMatch(/^proven +desktop-1: 20\d\d-\d\d-\d\d \d\d:\d\d:\d\d, 1\.120$/m);
    expect(snapshot(one.view()).gitlab.drills).toMatchObject([{ node: 'desktop-1', proven: { round: '1.120' } }]);
  });

  it('warn of one that failed until the next is clean, and say why none was made for a week', () => {
    const failing = lab();
    const at = failing.lab.wallMs - hour;
    const last = { at, round, isProven: false, because: 'the database is damaged', steps };
    const { text, lines } = shown(failing.drills('desktop-1', { last, proven: { at: at - 30 * hour, round } }));
    expect(lines).toMatchObject([
      {
        severity: 'warn',
        sentence: 'GitLab did not come out whole of 1.120 on desktop-1: the database is damaged',
        fix: 'when that is mended: autogit-node gitlab drill --on desktop-1',
      },
    ]);
    expect(text).toContain('then 1.120 failed: the database is damaged');
    const late = lab();
    const proven = { at: late.lab.wallMs - 200 * hour, round };
    const waits = 'the owner of this machine is there';
    expect(shown(late.drills('desktop-1', { proven, waits })).lines).toMatchObject([
      {
        severity: 'info',
        sentence: "GitLab's copy on desktop-1 was tried 8 days ago: the owner of this machine is there",
      },
    ]);
    expect(shown(lab().drills('desktop-1', { doing })).text).toMatch(/^drill +desktop-1: boots GitLab$/m);
    // Whoever watched it would watch for ever: of a machine that fell silent its last word stands.
    const doingOf = (one: DrillLab) => snapshot(one.drills('desktop-2', { doing }).view()).gitlab.drills?.[0]?.doing;
    expect(doingOf(lab())).toMatchObject({ phase: doing.phase });
    const silent = lab();
    silent.lab.vanish('desktop-2');
    silent.lab.run(5000);
    expect(doingOf(silent)).toBeNull();
  });
});
