import { describe, expect, it } from 'vitest';
import { gitlabView } from '../../node/cli/gitlab-commands.ts';
import { PhaseLines } from '../../node/cli/gitlab-deploy.ts';
import { statusView } from '../../node/cli/status-view.ts';
import { abilities } from '../../protocol/ledger.ts';
import type { GitlabSeen } from '../../protocol/report.ts';
import { snapshot } from '../../scheduler/snapshot.ts';
import { hostedGitlab } from '../fixtures/hosted-gitlab.ts';
import { Lab } from './jobs-lab.ts';
import { measured } from './jobs-lab-machines.ts';
import { viewOf } from './snapshot-lab.ts';

const data = 'k3v9q2m4';
const seen: GitlabSeen = {
  data,
  epoch: 1,
  state: 'deploying',
  because: 'its image is being pulled',
  since: 0,
  version: null,
  progress: { phase: 'pulling gitlab/gitlab-ce:19.4.1-ce.0', percent: 41.7 },
};

/** Two machines; GitLab was deployed on kang. */
function hostedLab(said: Partial<GitlabSeen> | null, more: { url?: string | null; ending?: object } = {}): Lab {
  const lab = new Lab({ machines: { kang: measured({ memoryGiB: 64 }), 'desktop-1': measured({ memoryGiB: 64 }) } });
  lab.run(3_000);
  const host = Object.entries(lab.committed.nodes).find(([, node]) => node.name === 'kang')?.[0] as string;
  const asked = { data, hostname: 'kang.lan', port: 8080, since: lab.wallMs, because: 'asked by ann' };
  const hosted = { ...hostedGitlab(asked), ...(more.ending ? { ending: more.ending } : {}) };
  const gitlab = {
    ...lab.committed.gitlab,
    ...{ mode: 'hosted' as const, url: more.url ?? null, token: null, instance: null, host, epoch: 1, hosted },
  };
  const can = [...abilities];
  const nodes = Object.fromEntries(Object.entries(lab.committed.nodes).map(([id, node]) => [id, { ...node, can }]));
  lab.committed = { ...lab.committed, nodes, gitlab, classes: {} } as typeof lab.committed;
  lab.accepted = lab.committed;
  for (const name of ['kang', 'desktop-1']) {
    const node = lab.node(name);
    const heard = node.jobs.reports[host];
    if (heard === undefined) throw new Error(`${name} has no report of kang`);
    const { gitlab: _before, ...report } = heard.report;
    const now = said === null ? report : { ...report, gitlab: { ...seen, ...said } };
    node.jobs = { ...node.jobs, reports: { ...node.jobs.reports, [host]: { ...heard, report: now } } };
  }
  return lab;
}
const shown = (lab: Lab, from = 'desktop-1') => snapshot(viewOf(lab, from));
const silence = (lab: Lab, state: 'silent' | 'dead') => {
  lab.node('kang').liveness = { state, since: lab.at };
  return lab;
};

describe('a GitLab that the mesh runs, in status', () => {
  it('says what of the list of users and groups it has not, or has in another way', () => {
    const people = {
      problems: ['user ann: Email has already been taken'],
      differences: ['user bob is there and no admin'],
    };
    const { attention } = shown(hostedLab({ state: 'healthy', people }));
    expect(attention.filter(({ code }) => code === 'gitlab-people')).toMatchObject([
      { severity: 'warn', sentence: expect.stringMatching(/^GitLab lacks .* autogit.yml of kang: user ann: Email/) },
      {
        severity: 'info',
        sentence: expect.stringMatching(/^GitLab differs from autogit.yml of kang: user bob/),
        fix: null,
      },
    ]);
  });

  it('says that the certificate of its address ends, and what to do', () => {
    const certificate = 'the certificate of its address ends in 20 days';
    const { attention } = shown(hostedLab({ state: 'healthy', certificate }));
    expect(attention.filter(({ code }) => code === 'gitlab-certificate')).toMatchObject([
      {
        severity: 'warn',
        sentence: `GitLab on kang: ${certificate}`,
        fix: expect.stringContaining('gitlab certificate'),
      },
    ]);
  });

  it('shows its backups: the newest, what is done, and why none could be made', () => {
    const keep = { daily: 7, weekly: 4, monthly: 6 };
    const plan = { target: '/mnt/disk', repository: '7f0e2902889beb10', secret: 's', everyMs: 86_400_000, keep };
    const of = (vault: object, agoMs: number | null) => {
      const lab = hostedLab({});
      const last = agoMs === null ? null : { id: 'abcdef01', at: lab.wallMs - agoMs };
      const said = { last, checkedAt: null, doing: null, problem: null, restored: null, ...vault };
      const made = hostedLab({ state: 'healthy', vault: said });
      const gitlab = { ...made.committed.gitlab, vault: { ...plan, since: 0, because: '' } };
      made.committed = { ...made.committed, gitlab };
      made.accepted = made.committed;
      const now = shown(made);
      return { ...now, lines: now.attention.filter(({ code }) => code === 'gitlab-backup') };
    };
    const well = of({ doing: { what: 'backup', phase: 'copies to /mnt/disk', percent: 40 } }, 3_600_000);
    expect(well.gitlab.lastBackup).toMatchObject({ id: 'abcdef01', copies: ['/mnt/disk'] });
    expect([well.lines, gitlabView(well, true)]).toEqual([
      [],
      expect.stringMatching(/^backup +copies to .mnt.disk, 40 %$/m),
    ]);
    const ill = of(
      { problem: 'the repository is not at /mnt/disk any more -> see whether its disk is mounted' },
      3_600_000,
    );
    expect(ill.lines).toMatchObject([{ severity: 'warn', sentence: expect.stringContaining('any more; see whether') }]);
    expect(of({ problem: 'no room' }, 3 * 86_400_000).lines[0]).toMatchObject({ severity: 'fail' });
    expect(of({}, 3 * 86_400_000).lines[0]?.sentence).toContain('while GitLab does not work');
    expect(of({}, null).lines).toEqual([]);
    // One that hangs is no GitLab that does not work.
    const doing = { what: 'backup', phase: 'copies to /mnt/disk', percent: 40 };
    expect(of({ doing }, 3 * 86_400_000).lines[0]?.sentence).toContain(
      'one is being made, and has not come to its end: copies to /mnt/disk (the newest is',
    );
    // Where none is named there is nothing to say.
    expect(shown(hostedLab({})).gitlab).not.toHaveProperty('vault');
  });

  it('is deployed step by step, under the address that it will have, and is no reason to worry', () => {
    const now = shown(hostedLab({}));
    expect(now.gitlab).toMatchObject({ mode: 'hosted', state: 'deploying', host: 'kang', url: 'http://kang.lan:8080' });
    expect(now.gitlab.hosted).toMatchObject({ folder: '/srv/gitlab', preset: 'homelab', progress: { percent: 41.7 } });
    expect(now.attention.filter(({ code }) => /gitlab/.test(code))).toEqual([]);
    const screen = statusView(now, { isTerminal: true, columns: 100, wide: false });
    expect(screen).toContain(
      'deploying on kang   http://kang.lan:8080\n            pulling gitlab/gitlab-ce:19.4.1-ce.0',
    );
    expect(gitlabView(now, true)).toContain(
      'state     deploying: its image is being pulled (pulling gitlab/gitlab-ce:19.4.1-ce.0, 41 %)',
    );
  });

  it('is said to be one copy, before anything happens to it', () => {
    const { gitlab } = shown(
      hostedLab({ state: 'healthy', because: 'it serves', progress: null }, { url: 'http://g' }),
    );
    expect([gitlab.state, gitlab.url]).toEqual(['healthy', 'http://g']);
    expect(gitlab.forecast?.sentence).toBe('one copy, on kang alone: if that machine dies nothing moves');
  });

  it.each([
    ['degraded', 'warn', null],
    ['repairing', 'warn', null],
    ['failed', 'fail', 'when that is mended: autogit-node reconcile'],
  ] as const)('%s: with the cause that its host gives', (state, severity, fix) => {
    const now = shown(hostedLab({ state, because: 'the disk is full', progress: null }, { url: 'http://g' }));
    const sentence = `GitLab on kang is ${state}: the disk is full`;
    expect(now.attention.filter(({ code }) => code.startsWith('gitlab'))).toEqual([
      { code: `gitlab-${state}`, severity, sentence, fix },
    ]);
    expect(gitlabView(now, true)).toContain(sentence);
  });

  it('what a host said that is away does not count, nor what is said of an earlier one', () => {
    const well = { state: 'healthy', because: 'it serves', progress: null } as const;
    const dead = shown(silence(hostedLab(well, { url: 'http://g' }), 'dead')).gitlab;
    expect([dead.state, dead.hosted?.because]).toEqual([
      'degraded',
      'the agent of kang does not run: it goes on there when its agent is back',
    ]);
    const gone = shown(silence(hostedLab(well, { url: 'http://g' }), 'silent'));
    expect(gone.gitlab.state).toBe('failed');
    expect(gone.attention).toContainEqual(
      expect.objectContaining({
        severity: 'fail',
        sentence: 'GitLab on kang is failed: kang does not answer, and GitLab is on no other machine',
      }),
    );
    const earlier = shown(hostedLab({ ...well, epoch: 2 }, { url: 'http://g' })).gitlab;
    expect([earlier.state, earlier.hosted?.because]).toEqual(['degraded', 'kang has not said anything of it yet']);
  });

  it('nobody who could let it go on: a leader of an earlier version, none, and a host that was removed', () => {
    const well = { state: 'healthy', because: 'it serves', progress: null } as const;
    const because = (lab: Lab, from: string, over = {}) => {
      const { gitlab } = snapshot(viewOf(lab, from, over));
      return [gitlab.state, gitlab.hosted?.because];
    };
    const lab = hostedLab(well, { url: 'http://g' });
    expect(because(lab, 'kang')).toEqual(['healthy', 'it serves']);
    expect(because(lab, 'kang', { leader: null })[1]).toContain('hears no leader: after 4 s GitLab stands still');
    const { kang, ...others } = lab.committed.nodes;
    const nodes = { ...lab.committed.nodes, [lab.leader ?? '']: { ...kang!, can: ['disconnect'] } };
    const older = 'kang leads, and its version cannot let GitLab go on: upgrade it';
    expect(because(lab, 'desktop-1', { ledger: { ...lab.committed, nodes } })).toEqual(['failed', older]);
    expect(because(lab, 'desktop-1', { ledger: { ...lab.committed, nodes: others } })).toEqual([
      'failed',
      'its host was removed from the mesh: autogit-node gitlab uninstall',
    ]);
  });

  it('being uninstalled it says what is waited for, and what makes it quicker', () => {
    const ending = { since: 0, deleteData: true, now: false, force: false, drained: false };
    const { gitlab, attention } = shown(hostedLab({ state: 'healthy' }, { url: 'http://g', ending }));
    expect(gitlab.flag).toContain('GitLab on kang is being uninstalled: ');
    expect(attention.find(({ code }) => code === 'gitlab-leaving')?.fix).toBe(
      'not to wait for GitLab: autogit-node gitlab uninstall --delete-data --force',
    );
  });
});

describe('the lines of a deployment', () => {
  it('each phase once, each tenth of a long one with a forecast, each cause once', () => {
    const said: string[] = [];
    const say = (_what: string, sentence: string): void => void said.push(sentence);
    let now = 0;
    const lines = new PhaseLines({ wait: say, warn: say }, () => now);
    const at = (ms: number, phase: string, percent: number | null, because = 'it boots'): void => {
      now = ms;
      lines.say({
        state: 'deploying',
        hosted: { image: '', preset: '', folder: '', because, progress: { phase, percent } },
      });
    };
    at(0, 'pulling', 0);
    at(500, 'pulling', 4);
    at(10_000, 'pulling', 20);
    at(11_000, 'pulling', 21);
    at(20_000, 'pulling', 100);
    at(21_000, 'booting', null);
    at(90_000, 'booting', null);
    expect(said).toEqual(['pulling: 0 %', 'pulling: 20 %, about 40 s more', 'pulling: 100 %', 'booting']);
    for (let i = 0; i < 2; i++)
      lines.say({
        state: 'degraded',
        hosted: { image: '', preset: '', folder: '', because: 'no memory', progress: null },
      });
    expect(said.at(-1)).toBe('no memory');
    expect(said).toHaveLength(5);
    // The first time it is begun anew at once: then it is a cause without a time.
    for (const again of ['', '; tried again in 10 s', '; tried again in 9 s'])
      lines.say({
        state: 'deploying',
        hosted: { image: '', preset: '', folder: '', because: `no image${again}`, progress: null },
      });
    expect(said.slice(5)).toEqual(['no image']);
  });

  it('hangs once one cause has stood for ten minutes, however often it is tried, and not while a phase goes on', () => {
    let now = 0;
    const lines = new PhaseLines({ wait: () => {}, warn: () => {} }, () => now);
    const at = (minutes: number, because: string, progress: { phase: string; percent: number } | null = null) => {
      now = minutes * 60_000;
      lines.say({ state: 'deploying', hosted: { image: '', preset: '', folder: '', because, progress } });
      return lines.hangs();
    };
    expect(at(0, 'no image; tried again in 60 s')).toBeNull();
    expect(at(5, 'it boots')).toBeNull();
    expect(at(9, 'no image; tried again in 2 s')).toBeNull();
    expect(at(11, 'no image; tried again in 110 s')).toBe('no image');
    expect(at(12, 'no image', { phase: 'pulling', percent: 30 })).toBeNull();
    expect(at(30, 'it boots')).toBeNull();
    expect(at(31, 'no room; tried again in 60 s')).toBeNull();
    expect(at(42, 'no room; tried again in 60 s')).toBe('no room');
  });
});

describe('an upgrade of it', () => {
  const image = 'gitlab/gitlab-ce:19.5.3-ce.0';
  const of = (hosted: object, said: Partial<GitlabSeen> = {}) => {
    const lab = hostedLab({ state: 'healthy', progress: null, ...said });
    lab.committed = {
      ...lab.committed,
      gitlab: { ...lab.committed.gitlab, hosted: { ...lab.committed.gitlab.hosted, ...hosted } },
    } as typeof lab.committed;
    lab.accepted = lab.committed;
    return shown(lab);
  };
  const wish = { image, from: '19.4.1', rehearse: true, since: 0, because: 'asked' };

  it('is nothing while none was asked for', () => {
    expect(of({}).gitlab).not.toHaveProperty('upgrade');
  });

  it('says from what to what, and how far, by its host and then by the keeper of its container', () => {
    const doing = { what: 'upgrade' as const, to: '19.5.3', phase: 'pulls the image', percent: 40 };
    const pulls = of({ upgrade: wish }, { upgrade: { doing, rehearsed: null } });
    expect(pulls.attention.map(({ sentence }) => sentence)).toContain(
      'GitLab is upgraded from 19.4.1 to 19.5.3: pulls the image (40 %)',
    );
    const boots = of({ upgrade: wish }, { state: 'deploying', progress: { phase: 'boots', percent: 60 } });
    expect(boots.gitlab.upgrade?.doing).toEqual({ what: 'upgrade', to: '19.5.3', phase: 'boots', percent: 60 });
    expect(gitlabView(boots, false)).toContain('upgrade\tfrom 19.4.1 to 19.5.3: boots, 60 %');
  });

  it('how it ended stays, and is warned of for a day where it did not stand', () => {
    const wallMs = hostedLab({}).wallMs;
    const ended = (isDone: boolean, agoMs: number) =>
      of({ upgraded: { image, from: '19.4.1', isDone, because: 'its container ended', at: wallMs - agoMs } });
    const warned = (view: ReturnType<typeof of>) => view.attention.filter(({ code }) => code === 'gitlab-upgrade');
    expect(warned(ended(false, 1000))).toMatchObject([
      { severity: 'warn', sentence: 'GitLab was not upgraded to 19.5.3: its container ended' },
    ]);
    expect([warned(ended(true, 1000)), warned(ended(false, 90_000_000))]).toEqual([[], []]);
    expect(gitlabView(ended(false, 1000), false)).toContain('upgraded\tno: its container ended');
  });
});
