import { describe, expect, it } from 'vitest';
import { gitlabPanel } from '../../node/page/view/gitlab-panel.ts';
import { headlineOf, houseWords, viewWords } from '../../node/page/view/headline.ts';
import { historyList } from '../../node/page/view/history-list.ts';
import { jobActs, jobLists, noJobs } from '../../node/page/view/job-lists.ts';
import { machineCards } from '../../node/page/view/machine-cards.ts';
import { nothingYet, type PageState, withNews } from '../../node/page/view/page-state.ts';
import { pauseNowAct } from '../../node/page/view/person-acts.ts';
import { timelineRows } from '../../node/page/view/timeline-rows.ts';
import { stepTimes, usePlots } from '../../node/page/view/use-plots.ts';
import { forecastWords } from '../../scheduler/phrases.ts';
import { history, house, jobs, now, timeline, usage } from '../browser/sample-house.ts';

const clock = (ms: number): string => new Date(ms).toISOString().slice(11, 16);

describe('the sentence on top', () => {
  it('says that all is well, and what is only good to know below', () => {
    expect(headlineOf(house())).toEqual({
      tone: 'good',
      sentence: 'All 3 machines work, kang leads; 3 jobs run, 2 wait.',
      fix: null,
      more: [{ severity: 'info', sentence: 'desktop-2: its owner plays witcher3.exe: no new GPU work', fix: null }],
    });
  });

  it.each<[string[], string]>([
    [['leader', 'ready', 'ready'], 'All 3 machines work, kang leads'],
    [['leader', 'paused', 'ready'], '2 of 3 machines work (1 paused), kang leads'],
    [['leader', 'paused', 'draining'], '1 of 3 machines works (1 paused, 1 drained), kang leads'],
    [['paused', 'paused', 'gone'], 'None of 2 machines works (2 paused), kang leads'],
    [['paused'], 'The machine is paused, kang leads'],
    [['leader'], 'The machine works, kang leads'],
  ])('counts those that work, not those that rest: %j', (states, words) => {
    const status = house();
    status.attention = [];
    status.nodes = states.map((state) => ({
      ...(status.nodes[0] as (typeof status.nodes)[number]),
      state: state as 'ready',
      because: null,
      paused: state === 'paused' ? 'all' : undefined,
    }));
    expect(headlineOf(status).sentence).toBe(`${words}; 3 jobs run, 2 wait.`);
  });

  it('is the worst of what is wrong, with its fix, in the words of the CLI', () => {
    const status = house();
    status.attention = [
      { code: 'b', severity: 'warn', sentence: 'a disk is nearly full', fix: null },
      { code: 'a', severity: 'fail', sentence: 'no quorum: kang must come back', fix: 'autogit-node recover --force' },
    ];
    const { tone, sentence, fix, more } = headlineOf(status);
    expect({ tone, sentence, fix }).toEqual({
      tone: 'fail',
      sentence: 'no quorum: kang must come back',
      fix: 'autogit-node recover --force',
    });
    expect(more.map((row) => row.severity)).toEqual(['warn', 'info']);
  });

  it('is the cause, not what follows from it', () => {
    const status = house();
    const sentence = 'cannot lose another machine (1 of 3 away now)';
    status.quorum = { ...status.quorum, canLose: 0, sentence };
    status.attention = [
      { code: 'quorum-at-risk', severity: 'warn', sentence, fix: null },
      { code: 'node-gone', severity: 'warn', sentence: 'kang  its machine is gone', fix: 'look at kang' },
    ];
    expect(headlineOf(status)).toMatchObject({ sentence: 'kang: its machine is gone', fix: 'look at kang' });
  });

  it('leaves who waits to be let in to the place where the words are compared', () => {
    const status = house();
    status.waiting = [{ node: 'attic', id: 'n', address: '10.0.0.9', words: 'amber fox', since: status.at }];
    status.attention = [
      {
        code: 'machine-waiting',
        severity: 'info',
        sentence: 'attic waits',
        fix: 'autogit-node approve attic --words amber fox',
      },
    ];
    expect(JSON.stringify(headlineOf(status))).not.toContain('attic');
  });

  it('of the house is that of status, with why where nothing may be lost', () => {
    expect(houseWords(house())).toBe('3 nodes, leader kang (term 12, 3 h), can lose 1');
    const quorum = { ...house().quorum, canLose: 0, sentence: 'cannot lose another machine' };
    expect(houseWords({ ...house(), quorum })).toMatch(/can lose 0: cannot lose another machine$/);
  });
});

describe('whose view it is', () => {
  const live = withNews(nothingYet, { kind: 'status', status: house(), atMs: now });
  const words = (state: PageState, atMs: number): string => viewWords(state, atMs, clock).text;

  it('and how old', () => {
    expect(words(live, now)).toBe('as desktop-1 sees it, now');
    expect(words(live, now + 7_000)).toBe('as desktop-1 sees it, 7 s ago');
  });

  it('says since when nobody answers, and of when it is', () => {
    const lost = withNews(live, { kind: 'lost', atMs: now + 2_000 });
    const still = withNews(lost, { kind: 'lost', atMs: now + 9_000 });
    expect(words(still, now + 14_000)).toBe(
      'desktop-1 does not answer since 12 s; what is shown is of 19:58. It is asked again by itself',
    );
    expect(words(withNews(still, { kind: 'heard', atMs: now + 15_000 }), now + 15_000)).toBe(
      'as desktop-1 sees it, now',
    );
  });

  it('names the command for another session, and does not forget it by resting', () => {
    const over = withNews(live, { kind: 'over', atMs: now });
    expect(words(withNews(over, { kind: 'resting', atMs: now }), now)).toMatch(/ended.*autogit-node dashboard$/);
  });
});

describe('machines', () => {
  it('are told with what each is, and each GPU with who has it', () => {
    const [one, two, kang] = machineCards(house(), jobs());
    expect(one).toMatchObject({
      state: 'ready',
      badges: ["holds GitLab's copy", 'this page'],
      cpu: { percent: 40, words: '40 %' },
      memory: { words: '31/64 GiB' },
      gpus: [{ model: 'RTX 3090 Ti', holder: 'job 4813 has it: train', memory: { words: '22/24 GiB' } }],
      runs: [{ job: 4813, name: 'train' }],
    });
    expect(two).toMatchObject({
      state: 'gpu paused',
      tone: 'rest',
      gpus: [{ holder: 'its owner has it: witcher3.exe' }],
    });
    expect(kang).toMatchObject({ badges: ['leads', 'runs GitLab'], gpus: [] });
  });

  it('one that leads is as busy or paused as any other, and says so', () => {
    const status = house();
    const leads = { ...status.nodes[1]!, state: 'leader' as const, because: null, paused: undefined };
    const told = (more: object) => {
      const [card] = machineCards({ ...status, nodes: [{ ...leads, ...more }] }, []);
      return [card?.state, card?.tone];
    };
    expect(told({})).toEqual(['ready', 'good']);
    expect(told({ because: 'has 4 runs, its limit' })).toEqual(['busy', 'busy']);
    expect(told({ because: 'its owner plays', paused: 'gpu' })).toEqual(['gpu paused', 'rest']);
  });

  it('that are gone show nothing that nobody can know, and when they were heard', () => {
    const status = house();
    const gone = { ...status.nodes[1]!, state: 'gone' as const, lastHeardMs: 240_000, because: 'its machine is gone' };
    const [card] = machineCards({ ...status, nodes: [gone] }, []);
    expect(card).toMatchObject({ tone: 'fail', cpu: null, memory: null, seen: 'heard 4 min ago' });
    expect(card?.gpus[0]).toMatchObject({ holder: 'nothing is heard of it', busy: null });
  });

  it('a GPU that fails, one that is shared, one of many: no more is said than is known', () => {
    const status = house();
    const node = status.nodes[0]!;
    const holderOf = (over: object, runs = node.runs): string | undefined => {
      const gpus = node.room!.gpus.map((gpu) => ({ ...gpu, ...over }));
      return machineCards({ ...status, nodes: [{ ...node, runs, room: { ...node.room!, gpus } }] }, jobs())[0]?.gpus[0]
        ?.holder;
    };
    expect(holderOf({ problem: 'fell off the bus', foreign: true })).toBe('fails: fell off the bus');
    expect(holderOf({ shared: { runs: 1, bytes: 20 * 2 ** 30 } })).toBe('a job has a share, 20 GiB of it');
    expect(holderOf({ shared: { runs: 2, bytes: 12 * 2 ** 30 } })).toBe('2 jobs share it, 12 GiB of it');
    expect(holderOf({}, [4813, 4816])).toBe('a job has it');
    expect(holderOf({ held: undefined })).toBe('free');
  });
});

describe('jobs', () => {
  it('are shown with how far they are by the time that they usually take', () => {
    const { running, waiting, ended } = jobLists(jobs(), now);
    expect(running.map(({ row, progress }) => [row.name, progress?.percent, progress?.words])).toEqual([
      ['train', 40, 'about 6 min left'],
      // The middle of its good runs: 46 and 48 s; one that failed says nothing.
      ['unit', 64, 'about 17 s left'],
      ['docs', null, 'its first time here'],
    ]);
    expect(waiting.map(({ row, time }) => [row.name, time])).toEqual([
      ['eval', '20 s'],
      ['deploy', '9 s'],
    ]);
    expect(ended.map(({ row }) => row.job)).toEqual([4812, 4811, 4810, 4809, 4806]);
  });

  it('that take longer than usual are not told to be done', () => {
    const { running } = jobLists(jobs(), now + 3_600_000);
    expect(running[1]?.progress).toEqual({ percent: 99, words: 'longer than usual (48 s)' });
  });

  it('can be ended while they wait or run, and run again when they are over', () => {
    const can = (state: 'waiting' | 'running' | 'canceling' | 'done' | 'lost') => jobActs({ ...jobs()[0]!, state });
    expect(can('waiting')).toEqual({ cancel: true, retry: false });
    expect(can('canceling')).toEqual({ cancel: false, retry: false });
    expect(can('lost')).toEqual({ cancel: false, retry: true });
  });
});

describe('GitLab', () => {
  it('shows what would be lost, who holds copies, and all else by name', () => {
    const panel = gitlabPanel(house());
    expect(panel).toMatchObject({
      state: 'healthy',
      host: 'kang',
      url: 'http://home.local',
      loss: { tone: 'good', when: 'if kang died now', words: 'no push lost, 2 s of all else' },
      // What its loss and its copies say is not said again.
      forecast: 'desktop-1 goes on by itself after 20 s',
      mayMoveTo: ['desktop-1', 'desktop-2'],
      hasBackups: true,
    });
    expect(panel.copies.map(({ node, state, age }) => [node, state, age])).toEqual([
      ['desktop-1', 'in sync', '2 s old'],
      ['desktop-2', 'catching up 62 %', '64 s old'],
    ]);
    expect(panel.rows.map(([name]) => name)).toEqual(['version', 'backup', 'backups', 'proven']);
  });

  it('foretells all of it where nobody is asked to hold copies, and by the words of a host that is away', () => {
    const { gitlab, ...status } = house();
    const panelOf = (over: Partial<typeof gitlab>) => gitlabPanel({ ...status, gitlab: { ...gitlab, ...over } });
    const forecast = (parts: { about: string; when?: string; words: string }[]) => ({
      ...{ sentence: forecastWords(parts), to: null, rtoSeconds: null, rpoSeconds: null },
      parts,
    });
    const alone = forecast([{ about: 'copies', words: 'one copy, on kang alone: if that machine dies nothing moves' }]);
    expect(panelOf({ loss: null, standbys: [], forecast: alone })).toMatchObject({
      ...{ loss: null, forecast: 'one copy, on kang alone: if that machine dies nothing moves' },
    });
    const lost = { about: 'loss', when: 'if kang stays away', words: 'no push lost, 2 s of all else' };
    const none = { about: 'copies', words: 'no machine holds a copy' };
    expect(panelOf({ standbys: [], forecast: forecast([lost, none]) })).toMatchObject({
      ...{ loss: { when: 'if kang stays away', words: lost.words }, forecast: 'no machine holds a copy' },
    });
    expect(panelOf({ forecast: forecast([lost, none]) }).forecast).toBeNull();
    // Nobody knows it yet, and a part of a later version: neither has a place of its own.
    const unsaid = forecast([{ about: 'loss', words: 'kang has not said it' }, none, { about: 'rest', words: 'more' }]);
    expect(panelOf({ loss: null, forecast: unsaid })).toMatchObject({
      ...{ loss: null, forecast: 'kang has not said it; more' },
    });
    // Of an agent that does not tell the parts nothing is taken apart.
    const { parts: _, ...whole } = forecast([lost, none]);
    expect(panelOf({ forecast: whole })).toMatchObject({ loss: null, forecast: whole.sentence });
    expect(panelOf({ forecast: null })).toMatchObject({ loss: null, forecast: null });
  });

  it('is as bad as the worst that is told of it: one that takes no push is not simply healthy', () => {
    const { gitlab, ...status } = house();
    const line = (severity: 'fail' | 'warn' | 'info') => ({ code: 'gitlab-x', severity, sentence: 's', fix: null });
    const panelOf = (severity: 'fail' | 'warn' | 'info', over: Partial<typeof gitlab> = {}) =>
      gitlabPanel({ ...status, attention: [line(severity)], gitlab: { ...gitlab, ...over } });
    expect((['info', 'warn', 'fail'] as const).map((one) => panelOf(one).tone)).toEqual(['good', 'warn', 'fail']);
    expect(panelOf('warn', { state: 'failed' }).tone).toBe('fail');
    expect(panelOf('fail', { mode: 'none', state: 'absent' }).tone).toBe('rest');
    const sides = [{ node: 'kang', name: 'fenced-3', because: 'kang served beside this mesh' }];
    const two = panelOf('fail', { sides });
    expect([two.state, two.tone]).toEqual(['healthy, no pushes', 'fail']);
    // Told once, with its fix.
    expect(two.rows.map(([name]) => name)).not.toContain('pushes');
  });

  it('what runs on a machine makes way at its owner’s word, as the command has it', () => {
    expect(pauseNowAct('desktop-1', 'gpu', 1)).toMatchObject({
      ...{ name: 'pause', body: { what: 'gpu', forMs: null, now: true } },
      questions: [expect.stringMatching(/^One job runs on desktop-1\. What uses a GPU there makes way at once/)],
    });
    expect(pauseNowAct('kang', 'all', 3).questions[0]).toMatch(/^3 jobs run on kang\. What runs there makes way/);
  });

  it('an address that is none of a page is no link', () => {
    const status = house();
    const urlOf = (url: string) => gitlabPanel({ ...status, gitlab: { ...status.gitlab, url } }).url;
    expect(urlOf('javascript:alert(1)')).toBeNull();
    expect(urlOf('http://a"onmouseover="x')).toBeNull();
    expect(urlOf('https://gitlab.lan:8443/x')).toBe('https://gitlab.lan:8443/x');
  });

  it('all of it may be lost: the meter is full', () => {
    const status = house();
    const lossOf = (loss: { pushes: boolean; seconds: number | null }) =>
      gitlabPanel({ ...status, gitlab: { ...status.gitlab, loss } }).loss;
    expect(lossOf({ pushes: true, seconds: null })).toMatchObject({ tone: 'fail', percent: 100 });
    expect(lossOf({ pushes: false, seconds: null })).toMatchObject({ tone: 'warn', percent: 100 });
    expect(lossOf({ pushes: true, seconds: 4 })).toMatchObject({ tone: 'fail', percent: 50 });
    expect(lossOf({ pushes: false, seconds: 0 })).toMatchObject({ tone: 'good', percent: 0 });
  });
});

describe('what GitLab can be made of again', () => {
  it('is told as the command tells it, and how many more there are', () => {
    const round = (number: number, at: number) => ({ ...history()[0]!, id: `3.${number}`, at });
    const { lines, more } = historyList([...history(), round(4710, now - 3_000), round(1, 0)], now);
    expect(lines).toEqual([
      { id: '3.4711', at: now - 2_000, kind: 'round', words: 'on kang and desktop-1 · GitLab 18.5.1' },
      { id: '3.4402', at: now - 43_000_000, kind: 'round', words: 'on kang and desktop-1 · GitLab 18.5.1' },
      { id: '4be1c2d9', at: now - 30_000_000, kind: 'backup', words: 'in /mnt/disk/gitlab · GitLab 18.5.1' },
    ]);
    expect(more).toBe(2);
  });
});

describe('what happened, and use', () => {
  it('is kept once each, the newest first, so many, and chosen by what it is about', () => {
    let state = withNews(nothingYet, { kind: 'timeline', events: timeline().slice(2) });
    state = withNews(state, { kind: 'timeline', events: timeline() });
    expect(state.timeline).toEqual(timeline());
    expect(timelineRows(state.timeline, 'gitlab').map(({ kind }) => kind)).toEqual(['backup', 'gitlab']);
    const many = Array.from({ length: 700 }, (_, id) => ({
      ...timeline()[0]!,
      id: String(1000 + id).padStart(16, '0'),
    }));
    expect(withNews(state, { kind: 'timeline', events: many }).timeline).toHaveLength(500);
  });

  it('of a machine that was away has a gap, and says what it shows', () => {
    const used = usage();
    expect(stepTimes(used)).toHaveLength(288);
    const [, two] = usePlots(used);
    expect(two?.plots[0]?.curves[0]?.values[60]).toBeNull();
    expect(two?.plots[0]?.words).toMatch(/^CPU \d+ % now, \d+ % at most, memory \d+ % now, \d+ % at most$/);
    const none = { ...used, machines: [{ node: 'a', cpu: [], memory: [], gpus: [] }] };
    expect(usePlots(none)[0]?.plots[0]?.words).toBe('CPU not known, memory not known');
  });
});

it('an empty queue promises no job to a mesh that has no GitLab', () => {
  expect(noJobs('none')).toMatch(/no GitLab yet\. autogit-node gitlab deploy .* gitlab connect/);
  expect(noJobs('connected')).toMatch(/next push/);
});
