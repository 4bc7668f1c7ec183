import { describe, expect, it } from 'vitest';
import type { CopiesSeen, GitlabSeen } from '../../protocol/report.ts';
import { StatusSnapshot } from '../../protocol/status.ts';
import { forecastWords } from '../../scheduler/phrases.ts';
import { snapshot } from '../../scheduler/snapshot.ts';
import { hostedGitlab } from '../fixtures/hosted-gitlab.ts';
import { copiesLab } from './copies-lab.ts';
import type { Lab } from './jobs-lab.ts';
import { viewOf } from './snapshot-lab.ts';

const { data } = hostedGitlab();
const round = (number: number, epoch = 1) => ({ era: 0, epoch, number });
const healthy: GitlabSeen = {
  ...{ data, epoch: 1, state: 'healthy', because: 'it serves' },
  ...{ since: 0, version: '17.5.1', progress: null },
};
type Row = CopiesSeen['standbys'][number];

/** desktop-1 is in sync and desktop-2 stands by, unless `members` says otherwise. What is said is said `wallMs` of then. */
function lab(
  seen: ((wallMs: number) => Partial<CopiesSeen>) | null,
  members = ['desktop-1'],
  more: Partial<GitlabSeen> = {},
): Lab {
  const standbys = ['desktop-1', 'desktop-2'].map((node) => ({ node, because: 'a person named it, and it is well' }));
  const set = { version: 3, members, last: null, boot: 'b' };
  const all = copiesLab(['desktop-1', 'desktop-2'], { standbys, set }, 'http://g');
  all.run(3000);
  if (seen !== null) {
    const none = { newest: null, arePushesSafe: false, safeUntil: null, standbys: [], problem: null };
    all.feed('kang', {
      kind: 'gitlab-seen',
      report: { ...healthy, ...more, copies: { ...none, ...seen(all.wallMs) } },
    });
  }
  all.run(2000);
  return all;
}
const row = (node: string, state: Row['state'], over: Partial<Row> = {}): Row => ({
  ...{ node, state, round: null, takenAt: null, because: `${node} is ${state}`, progress: null },
  ...over,
});
const shown = (all: Lab, from = 'laptop') => {
  const now = snapshot(viewOf(all, from));
  expect(StatusSnapshot.parse(now)).toEqual(now);
  return now;
};
const lines = (all: Lab) =>
  shown(all)
    .attention.filter(({ code }) => /^(copy|gitlab)-/.test(code))
    .map(({ code, severity, sentence }) => [code, severity, sentence]);

/** desktop-1 has all of up to 1 s before it was said; desktop-2 is still being filled. */
const usual = (wallMs: number): Partial<CopiesSeen> => ({
  newest: round(9),
  arePushesSafe: true,
  safeUntil: wallMs - 1000,
  standbys: [
    row('desktop-1', 'in-sync', { round: round(9), takenAt: wallMs - 60_000 }),
    row('desktop-2', 'catching-up', { progress: { doneBytes: 40, totalBytes: 99 } }),
  ],
});

describe('the copies of a hosted GitLab, in status', () => {
  it('says what the death of its host would cost now, and who has what', () => {
    const { gitlab, attention } = shown(lab(usual));
    expect(gitlab.loss).toEqual({ pushes: false, seconds: 3 });
    expect(gitlab.forecast).toMatchObject({
      sentence:
        'if kang died now: no push lost, 3 s of all else; copies on desktop-1 (in sync, 3 s) and desktop-2 (catching up 40 %); desktop-1 goes on by itself after 45 s',
      rpoSeconds: 3,
    });
    // A face that shows one of them by itself leaves it out of the sentence.
    const { parts = [], sentence } = gitlab.forecast ?? {};
    expect(parts.map(({ about }) => about)).toEqual(['loss', 'copies', 'next']);
    expect(forecastWords(parts)).toBe(sentence);
    expect(forecastWords(parts.slice(2))).toBe('desktop-1 goes on by itself after 45 s');
    expect(gitlab.standbys).toEqual([
      // Nothing was written since the newest round, so the copy is as good as the meter says.
      {
        node: 'desktop-1',
        round: '1.9',
        ageMs: expect.closeTo(3000, -2),
        inSync: true,
        state: 'in-sync',
        ...seenAs('desktop-1 is in-sync'),
      },
      {
        ...{ node: 'desktop-2', round: null, ageMs: null, inSync: false, state: 'catching-up' },
        ...seenAs('desktop-2 is catching-up', 40),
      },
    ]);
    expect(attention.filter(({ code }) => /copy|gitlab-/.test(code))).toEqual([]);
  });

  const seenAs = (because: string, percent: number | null = null) => ({
    ...{ because, percent, chosen: 'a person named it, and it is well' },
  });

  it("tells how GitLab's queued work is kept, and a push that no hook holds is not called safe", () => {
    const second = { each: 'second', because: 'its log is synced' } as const;
    expect(shown(lab(usual, ['desktop-1'], { queued: second })).gitlab.forecast?.sentence).toContain(
      '3 s of all else; queued work is on its disk each second; copies on',
    );
    const queued = { each: 'minute', because: "until Redis' log of each write is begun" } as const;
    const unheld = lab(usual, ['desktop-1'], { queued, unheld: 'Gitaly runs no hooks of a folder' });
    const { gitlab } = shown(unheld);
    expect([gitlab.loss?.pushes, gitlab.forecast?.sentence]).toEqual([
      true,
      expect.stringContaining("queued work is on its disk each minute (until Redis' log of each write is begun); "),
    ]);
    expect(lines(unheld)).toEqual([
      [
        'gitlab-pushes-not-held',
        'warn',
        'pushes to GitLab on kang are not protected: Gitaly runs no hooks of a folder',
      ],
    ]);
  });

  it('where nobody was asked nothing is said of copies', () => {
    const all = copiesLab([], {}, 'http://g');
    all.run(3000);
    const { gitlab } = shown(all);
    expect([gitlab.standbys, gitlab.loss]).toEqual([[], null]);
    expect(gitlab.forecast?.sentence).toContain('one copy, on kang alone');
    expect(lines(all).filter(([code]) => code !== 'gitlab-degraded')).toEqual([]);
  });

  it('the ledger alone says who is in sync, not a host that has not read it', () => {
    const { standbys } = shown(lab(usual, [])).gitlab;
    expect(standbys?.[0]).toMatchObject({ inSync: false, state: 'catching-up' });
  });

  it.each([
    [true, null, 'no push lost, but not all else is copied yet'],
    [false, null, 'all of it would be lost'],
    [false, 7_200_000, 'the last 2 h would be lost, pushes too'],
  ])('pushes safe: %s, safe until %s ms ago: %s', (arePushesSafe, agoMs, words) => {
    const { gitlab } = shown(lab((wallMs) => ({ arePushesSafe, safeUntil: agoMs === null ? null : wallMs - agoMs })));
    expect(gitlab.forecast?.sentence).toContain(`if kang died now: ${words}; `);
    expect(gitlab.loss?.pushes).toBe(!arePushesSafe);
  });

  it('a copy that lies there and was not in time long enough is not called lost', () => {
    const { forecast } = shown(lab((wallMs) => ({ ...usual(wallMs), arePushesSafe: false, safeUntil: null }))).gitlab;
    const words = 'if kang died now: all of it may be lost, as no copy can be counted on yet; ';
    expect(forecast?.sentence).toContain(words);
  });

  it('of a host that fell silent the meter stands where it was heard last, and a newer round counts where it lies', () => {
    const all = lab(usual);
    const newest = { round: round(10), takenAt: all.wallMs - 500 };
    all.feed('desktop-1', { kind: 'standby-seen', report: { data, newest, freeBytes: 1, problem: null } });
    all.run(2000);
    const { loss: before } = shown(all).gitlab;
    all.vanish('kang');
    all.elect('laptop');
    all.run(3_600_000);
    const { gitlab, attention } = shown(all);
    expect(gitlab.loss?.seconds).toBeLessThanOrEqual((before?.seconds ?? 0) + 1);
    expect(gitlab.forecast?.sentence).toMatch(
      /^if kang stays away: no push lost, \d s of all else; copies on desktop-1 \(in/,
    );
    expect(gitlab.standbys?.[0]).toMatchObject({ round: '1.10', because: 'kang is away, and sends nothing' });
    expect(attention).toContainEqual(
      expect.objectContaining({
        sentence:
          'GitLab on kang is failed: kang is silent for 60 min; desktop-1 takes GitLab over now, unless it is back',
      }),
    );
  });

  it.each(['kang', 'laptop'])(
    'a clock that jumps between two words of the host costs nothing: seen from %s',
    (from) => {
      const all = lab(usual);
      const at = (wallMs: number) => {
        const { gitlab } = snapshot(viewOf(all, from, { wallMs }));
        return [gitlab.loss?.seconds, Math.round((gitlab.standbys?.[0]?.ageMs ?? 0) / 1000)];
      };
      const days = 15 * 86_400_000;
      for (const jumped of [0, days, -days]) expect(at(all.wallMs + jumped)).toEqual([3, 3]);
      // Nor is the date of a round that its machine tells of before the host does a clock to go by.
      const newest = { round: round(10), takenAt: all.wallMs - days };
      all.feed('desktop-1', { kind: 'standby-seen', report: { data, newest, freeBytes: 1, problem: null } });
      all.run(2000);
      expect(at(all.wallMs)[1]).toBeLessThan(120);
    },
  );

  it('what was said of another epoch does not count', () => {
    const all = lab(usual);
    all.feed('kang', { kind: 'gitlab-seen', report: null });
    const { gitlab } = all.accepted;
    all.accepted = { ...all.accepted, gitlab: { ...gitlab, epoch: 2 } };
    all.committed = all.accepted;
    all.run(2000);
    const now = shown(all).gitlab;
    expect(now.loss).toBeNull();
    expect(now.forecast?.sentence).toContain('kang has not said how far its copies are');
  });
});

describe('what a person should know of the copies', () => {
  it('none in sync: the first copy is on its way, or nothing comes', () => {
    const coming = lab((at) => ({ ...usual(at), standbys: [row('desktop-2', 'catching-up')] }), []);
    expect(lines(coming)).toEqual([
      ['gitlab-no-copy', 'info', expect.stringContaining('so a push is on kang alone: desktop-1: kang has not said')],
    ]);
    const full = () => ({ standbys: [row('desktop-1', 'full'), row('desktop-2', 'away')] });
    expect(lines(lab(full, []))).toEqual([
      [
        'gitlab-no-copy',
        'warn',
        'no copy of GitLab is in sync, so a push is on kang alone: desktop-1: desktop-1 is full; desktop-2: desktop-2 is away',
      ],
    ]);
  });

  it.each([
    ['full', 'warn'],
    ['behind', 'warn'],
    ['refused', 'warn'],
    ['away', 'info'],
  ] as const)('one that is %s while another one is in sync: %s', (state, severity) => {
    const seen = (at: number) => {
      const [first] = usual(at).standbys as Row[];
      return {
        ...usual(at),
        standbys: [first!, row('desktop-2', state, { round: round(2), takenAt: at - 10_800_000 })],
      };
    };
    const sentence = `desktop-2  holds GitLab as it was 3 h ago: desktop-2 is ${state}`;
    expect(lines(lab(seen))).toEqual([[`copy-${state}`, severity, sentence]]);
  });

  it('data that cannot be protected, and why', () => {
    const problem = 'a plain folder has no snapshots';
    expect(lines(lab(() => ({ problem })))).toEqual([
      ['gitlab-unprotected', 'warn', `GitLab on kang is not protected: ${problem}`],
    ]);
  });

  it('nobody of those that were named can', () => {
    const all = copiesLab(['desktop-1', 'laptop'], {}, 'http://g');
    all.feed('kang', { kind: 'gitlab-seen', report: healthy });
    all.feed('desktop-1', { kind: 'copies-said', copies: 'never' });
    all.vanish('laptop');
    all.run(20_000);
    const [line] = snapshot(viewOf(all, 'kang')).attention.filter(({ code }) => code === 'gitlab-unprotected');
    expect(line?.sentence).toContain(
      'GitLab is on kang alone, and no machine holds a copy: desktop-1 holds no copies, as its owner says and laptop has not',
    );
  });

  it('what a machine says of its own copy, unless its host says the same', () => {
    const problem = 'the disk gives errors';
    const report = { data, newest: null, freeBytes: 1, problem };
    const all = lab(usual);
    all.feed('desktop-1', { kind: 'standby-seen', report });
    all.run(3000);
    expect(lines(all)).toEqual([
      ['copy-problem', 'warn', `desktop-1  cannot keep its copy of GitLab up to date: ${problem}`],
    ]);
    const same = lab((at) => ({ ...usual(at), standbys: [row('desktop-1', 'refused', { because: problem })] }), []);
    same.feed('desktop-1', { kind: 'standby-seen', report });
    same.run(3000);
    expect(lines(same).map(([code]) => code)).toEqual(['gitlab-no-copy']);
  });

  it('nothing while it is deployed or uninstalled', () => {
    const all = lab(() => ({ problem: 'no' }));
    const { gitlab } = all.committed;
    const ending = { since: 0, deleteData: false, now: false, force: false, drained: false };
    const of = (over: object) => {
      const ledger = { ...all.committed, gitlab: { ...gitlab, ...over } };
      return snapshot(viewOf(all, 'laptop', { ledger })).attention.filter(({ code }) => code === 'gitlab-unprotected');
    };
    expect(of({})).toHaveLength(1);
    expect(of({ url: null })).toEqual([]);
    expect(of({ hosted: { ...gitlab.hosted, ending } })).toEqual([]);
  });
});
