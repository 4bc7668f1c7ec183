import { describe, expect, it } from 'vitest';
import { limits } from '../../protocol/limits.ts';
import { NoticeMemory, type OutNotice } from '../../protocol/notices.ts';
import { type Cause, causesOf } from '../../scheduler/notices/causes.ts';
import { waitAfter } from '../../scheduler/notices/delivery-plan.ts';
import { noMemory, noSight, stepNotices } from '../../scheduler/notices/notice-steps.ts';
import { noticeTimings } from '../../scheduler/notices/notice-timings.ts';
import { parseQuietHours, type Quiet, quietAt } from '../../scheduler/notices/quiet-hours.ts';
import { statusWith } from '../fixtures/status-with.ts';
import { Chance } from '../sim/chance.ts';

const cause = (key: string, severity: Cause['severity'] = 'warn', more: Partial<Cause> = {}): Cause => ({
  ...{
    key,
    code: key,
    severity,
    sentence: `${key} is wrong`,
    fix: `mend ${key}`,
    so: [],
    act: null,
    once: null,
    with: [],
    ...more,
  },
});
const minute = 60_000;
const hour = 60 * minute;

/** A leader that looks every 15 s; whoever is told has it at once unless it is said to be deaf. */
class Lab {
  memory: NoticeMemory = noMemory;
  sight = noSight;
  at = 1_800_000_000_000;
  quiet: Quiet = 'no';
  isDeaf = false;
  readonly said: OutNotice[] = [];

  look(causes: readonly Cause[]): void {
    const before = new Set(this.memory.out.map(({ id }) => id));
    const mesh = { id: 'm', name: 'home' };
    const look = { wallMs: this.at, mesh, causes, quiet: this.quiet, targets: ['phone'] };
    ({ memory: this.memory, sight: this.sight } = stepNotices(this.memory, this.sight, look));
    NoticeMemory.parse(this.memory);
    this.said.push(...this.memory.out.filter(({ id }) => !before.has(id)));
    if (!this.isDeaf) this.memory = { ...this.memory, out: [] };
  }
  live(ms: number, causes: readonly Cause[] | (() => readonly Cause[])): void {
    for (const end = this.at + ms; this.at < end; this.at += noticeTimings.lookMs)
      this.look(typeof causes === 'function' ? causes() : causes);
  }
  get titles(): string[] {
    return this.said.map(({ title }) => title);
  }
}

describe('what is told, and when', () => {
  it('what others chose is one line, turns no writing round, and no letter of it is cut in two', () => {
    const lab = new Lab();
    const sentence = 'tag "\u202egpj\u0000\u001b[2J\r\nBcc: x\u2028" fits nowhere';
    lab.live(2 * minute, [
      cause('tags', 'warn', { sentence, fix: 'mend\u2066\n it', so: [`a\u202e${'\u{1f600}'.repeat(300)}`] }),
    ]);
    expect(lab.said[0]).toMatchObject({ title: 'home, broken: tag " gpj [2J Bcc: x " fits nowhere', fix: 'mend it' });
    expect(lab.said[0]?.text).toMatch(/^tag " gpj \[2J Bcc: x " fits nowhere\nso: a (?:\u{1f600})+\.\.\.$/u);
  });

  it('broken once it was seen twice, still so ever more seldom, fixed when it is surely over', () => {
    const lab = new Lab();
    lab.look([cause('disk')]);
    expect(lab.said).toEqual([]);
    lab.at += noticeTimings.lookMs;
    lab.live(25 * hour, [cause('disk')]);
    lab.live(5 * minute, []);
    expect(lab.titles).toEqual([
      'home, broken: disk is wrong',
      'home, still so after 24 h: disk is wrong',
      'home, fixed after 25 h: disk is wrong',
    ]);
    expect(new Set(lab.said.map(({ incident }) => incident)).size).toBe(1);
    expect(new Set(lab.said.map(({ id }) => id)).size).toBe(3);
    expect(lab.said[0]).toMatchObject({ fix: 'mend disk', severity: 'warn', to: ['phone'], state: 'broken' });
    // What is long over is forgotten.
    lab.live(3 * hour, []);
    expect(lab.memory.open).toEqual([]);
  });

  it('what shows once, or comes and goes between looks, rings nobody', () => {
    const lab = new Lab();
    for (let i = 0; i < 200; i++) {
      lab.look(i % 2 === 0 ? [cause('disk')] : []);
      lab.at += noticeTimings.lookMs;
    }
    expect(lab.said).toEqual([]);
  });

  it('what comes and goes for hours rings less and less', () => {
    const lab = new Lab();
    for (let i = 0; i < 24; i++) {
      lab.live(2 * minute, [cause('wifi')]);
      lab.live(8 * minute, []);
    }
    // Four hours, twenty-four times broken.
    expect(lab.titles.slice(0, 3)).toEqual([
      'home, broken: wifi is wrong',
      expect.stringMatching(/^home, fixed after .* min: wifi is wrong$/),
      'home, broken again: wifi is wrong',
    ]);
    expect(lab.said.length).toBeLessThanOrEqual(6);
    expect(new Set(lab.said.map(({ incident }) => incident)).size).toBe(1);
  });

  it('what gets worse rings again; a wish of the owner is waited for', () => {
    const lab = new Lab();
    lab.live(5 * minute, [cause('gitlab')]);
    lab.live(5 * minute, [cause('gitlab', 'fail')]);
    expect(lab.said.map(({ severity }) => severity)).toEqual(['warn', 'fail']);
    const paused = new Lab();
    paused.live(20 * minute, [cause('gpu-paused', 'info')]);
    expect(paused.said).toEqual([]);
    paused.live(20 * minute, [cause('gpu-paused', 'info')]);
    expect(paused.titles).toEqual(['home: gpu-paused is wrong']);
  });

  it('in quiet hours only what is broken outright rings; the rest is told afterwards, where it is still so', () => {
    const lab = new Lab();
    lab.quiet = 'soft';
    lab.live(hour, [cause('disk'), cause('gitlab', 'fail')]);
    lab.live(hour, [cause('disk')]);
    expect(lab.titles).toEqual(['home, broken: gitlab is wrong', expect.stringContaining('fixed after')]);
    lab.quiet = 'no';
    lab.live(minute, [cause('disk')]);
    expect(lab.titles.at(-1)).toBe('home, broken: disk is wrong');
    const silent = new Lab();
    silent.quiet = 'all';
    silent.live(hour, [cause('gitlab', 'fail')]);
    expect(silent.said).toEqual([]);
  });
});

describe('what only happened', () => {
  const lost = (at: number, more: Partial<Cause> = {}) => cause('lost-runs kang', 'warn', { once: at, ...more });

  it('is told once, and never as still so or fixed, however long it is known and whoever leads', () => {
    const lab = new Lab();
    const one = lost(lab.at);
    lab.live(8 * hour, [one]);
    const next = new Lab();
    Object.assign(next, { at: lab.at, memory: NoticeMemory.parse(JSON.parse(JSON.stringify(lab.memory))) });
    next.live(8 * hour, [one]);
    next.live(3 * hour, []);
    expect([...lab.titles, ...next.titles]).toEqual(['home: lost-runs kang is wrong']);
    expect(lab.said[0]).toMatchObject({ state: 'broken', once: true });
    expect(next.memory.open).toEqual([]);
  });

  it('again where more of it happened since, ten minutes after the last word and under another incident', () => {
    const lab = new Lab();
    const first = lab.at;
    lab.live(5 * minute, [lost(first)]);
    const second = lab.at;
    lab.live(hour, [lost(second)]);
    expect(lab.said.map(({ at }) => Math.round((at - first) / minute))).toEqual([1, 11]);
    expect(new Set(lab.said.map(({ incident }) => incident)).size).toBe(2);
  });

  it('waits for the end of quiet hours, and is told with others as what happened', () => {
    const lab = new Lab();
    lab.quiet = 'soft';
    const lasting = [cause('disk'), cause('wifi')];
    const at = lab.at;
    lab.live(8 * hour, [lost(at), ...lasting]);
    expect(lab.said).toEqual([]);
    lab.quiet = 'no';
    lab.live(minute, [lost(at), ...lasting]);
    expect(lab.said[0]?.text.split('\n')).toEqual([
      'happened: lost-runs kang is wrong',
      'broken: disk is wrong',
      'broken: wifi is wrong',
    ]);
  });

  it('told as what came of a machine that was gone it is told, also when that one is back', () => {
    const lab = new Lab();
    const at = lab.at;
    const gone = cause('node-gone kang', 'warn', {
      so: ['kang lost job 7'],
      with: [{ key: 'lost-runs kang', at, severity: 'warn', sentence: 'kang lost job 7' }],
    });
    lab.live(5 * minute, [gone]);
    lab.live(hour, [lost(at)]);
    expect(lab.titles).toEqual([
      'home, broken: node-gone kang is wrong',
      expect.stringMatching(/^home, fixed after 5 min/),
    ]);
    expect(lab.said[0]?.text).toContain('so: kang lost job 7');
  });
});

describe('words of a later version', () => {
  const later = (memory: NoticeMemory): NoticeMemory =>
    NoticeMemory.parse({
      ...memory,
      open: memory.open.map((one) => ({ ...one, severity: 'grave', mood: 1 })),
      out: memory.out.map((one) => ({
        ...{ ...one, state: 'worse', severity: 'grave' },
        act: { act: 'restart-gitlab', node: 'kang', times: 3 },
      })),
    });

  it('stay as they are, and what is known goes on beside them', () => {
    const lab = new Lab();
    lab.isDeaf = true;
    lab.live(2 * minute, [cause('disk')]);
    lab.memory = later(lab.memory);
    const kept = structuredClone(lab.memory.out);
    lab.live(2 * minute, [cause('disk'), cause('gitlab', 'fail')]);
    expect(lab.memory.out.slice(0, -1)).toEqual(kept);
    expect(lab.memory.open[0]).toMatchObject({ severity: 'grave', mood: 1 });
    // A grave one is not told again as if it had been a question, and is said to be over.
    lab.live(5 * minute, [cause('gitlab', 'fail')]);
    expect(lab.titles).toEqual([
      ...['home, broken: disk is wrong', 'home, broken: gitlab is wrong', 'home, fixed after 4 min: disk is wrong'],
    ]);
  });

  it('this version writes none that agents of before take for damage', () => {
    const words = { severity: ['info', 'warn', 'fail'], state: ['broken', 'still', 'fixed', 'several', 'test'] };
    const lab = new Lab();
    lab.isDeaf = true;
    const chance = new Chance(11);
    for (let i = 0; i < 400; i++) {
      const severity = (['info', 'warn', 'fail'] as const)[chance.below(3)] ?? 'warn';
      const once = chance.below(3) === 0 ? lab.at : null;
      lab.look(Array.from({ length: chance.below(4) }, () => cause(`c${chance.below(6)}`, severity, { once })));
      lab.at += chance.below(20) * minute;
      for (const { severity: is, state, act } of lab.memory.out)
        expect([words.severity, words.state, act]).toEqual([
          ...[expect.arrayContaining([is]), expect.arrayContaining([state]), null],
        ]);
      for (const one of lab.memory.open) expect(words.severity).toContain(one.severity);
    }
    expect(new Set(lab.said.map(({ state }) => state)).size).toBeGreaterThan(2);
  });
});

describe('a storm', () => {
  const storm = (lab: Lab, of: (i: number) => Cause[]): void => {
    // 500 events within five minutes, and then it is over.
    for (let i = 0; i < 500; i++) {
      lab.look(of(i));
      lab.at += 600;
    }
    lab.live(20 * minute, []);
  };

  it('of 500 events makes at most five notices, however they come', () => {
    const chance = new Chance(7);
    const shapes: ((i: number) => Cause[])[] = [
      // All at once, one after the other to stay, and each for a while.
      () => Array.from({ length: 100 }, (_, i) => cause(`c${i}`)),
      (i) => Array.from({ length: Math.ceil((i + 1) / 5) }, (_, k) => cause(`c${k}`, k % 3 === 0 ? 'fail' : 'warn')),
      (i) => Array.from({ length: 60 }, (_, k) => cause(`c${i + k}`, 'fail')),
      () => Array.from({ length: 60 }, () => cause(`c${chance.below(10)}`, chance.below(2) === 0 ? 'fail' : 'warn')),
    ];
    for (const shape of shapes) {
      const lab = new Lab();
      // As the mesh shows them: attention becomes causes.
      storm(lab, (i) =>
        causesOf(
          statusWith(['kang'], {
            attention: shape(i).map(({ key, severity, sentence, fix }) => ({ code: key, severity, sentence, fix })),
          }),
          new Set(lab.memory.open.filter(({ fixedAt }) => fixedAt === null).map(({ key }) => key)),
        ),
      );
      expect(lab.said.length).toBeLessThanOrEqual(5);
      expect(lab.said.length).toBeGreaterThan(0);
      expect(lab.memory.open.every(({ fixedAt }) => fixedAt !== null)).toBe(true);
    }
  });

  it('a hundred warnings do not keep back what is broken outright', () => {
    const lab = new Lab();
    let n = 0;
    const more = (): Cause[] => Array.from({ length: 4 }, (_, k) => cause(`c${Math.floor(n++ / 40) * 4 + k}`));
    lab.live(15 * minute, more);
    const before = lab.said.length;
    lab.live(minute, () => [cause('gitlab', 'fail'), ...more()]);
    expect(lab.said.slice(before).some(({ severity }) => severity === 'fail')).toBe(true);
  });

  it('several at once are one notice, the worst first, and no more than five lines of it', () => {
    const lab = new Lab();
    lab.live(
      2 * minute,
      causesOf(
        statusWith([], {
          attention: Array.from({ length: 12 }, (_, i) => ({
            ...{
              code: `c${i}`,
              severity: i === 7 ? ('fail' as const) : ('warn' as const),
              sentence: `thing ${i}`,
              fix: null,
            },
          })),
        }),
      ),
    );
    // The one that is broken outright is sure sooner.
    expect(lab.titles).toEqual(['home, broken: thing 7', 'home: 11 things, the worst broken: thing 0']);
    expect(lab.said[1]?.text.split('\n')).toHaveLength(6);
    expect(lab.said[1]?.text).toContain('and 6 more');
  });
});

describe('another leader', () => {
  it('goes on with what the ledger has: the same id where it was not heard, nothing again where it was', () => {
    const lab = new Lab();
    lab.isDeaf = true;
    lab.live(2 * minute, [cause('disk')]);
    const [first] = lab.memory.out;
    const next = new Lab();
    next.memory = NoticeMemory.parse(JSON.parse(JSON.stringify(lab.memory)));
    next.at = lab.at;
    next.isDeaf = true;
    next.live(5 * minute, [cause('disk')]);
    expect(next.said).toEqual([]);
    expect(next.memory.out).toEqual([first]);
    next.live(5 * minute, []);
    // Who has not heard that it was broken hears only that it is fixed, and of the same incident.
    expect(next.memory.out.map(({ state, incident }) => [state, incident])).toEqual([['fixed', first?.incident]]);
    // What nobody could be told for a day is told no more.
    next.live(25 * hour, []);
    expect(next.memory.out).toEqual([]);
  });

  it('keeps its memory bounded, whatever comes', () => {
    const chance = new Chance(3);
    const lab = new Lab();
    lab.isDeaf = true;
    for (let i = 0; i < 3_000; i++) {
      const worst = (['info', 'warn', 'fail'] as const)[chance.below(3)] ?? 'warn';
      lab.look(Array.from({ length: chance.below(21) }, (_, k) => cause(`c${k + chance.below(30)}`, worst)));
      lab.at += chance.below(30) * minute;
      expect(lab.memory.open.length).toBeLessThanOrEqual(limits.noticeCauses);
    }
    expect(JSON.stringify(lab.memory).length).toBeLessThan(24_000);
    expect(lab.said.length).toBeGreaterThan(10);
  });

  it('a clock that was set back by a day neither rings nor is silent for a day', () => {
    const lab = new Lab();
    lab.live(2 * minute, [cause('disk')]);
    lab.at -= 24 * hour;
    lab.live(5 * minute, [cause('disk'), cause('gitlab', 'fail')]);
    expect(lab.titles).toEqual(['home, broken: disk is wrong', 'home, broken: gitlab is wrong']);
  });
});

describe('small rules', () => {
  it('quiet hours over midnight, in a day, and none', () => {
    const night = { ...parseQuietHours('22:00-07:00')!, zone: 'UTC', all: false };
    expect([21 * 60 + 59, 22 * 60, 0, 6 * 60 + 59, 7 * 60].map((at) => quietAt(night, at))).toEqual([
      ...['no', 'soft', 'soft', 'soft', 'no'],
    ]);
    const noon = { ...parseQuietHours('12-13:30')!, zone: 'UTC', all: true };
    expect([11 * 60, 12 * 60, 13 * 60 + 29, 13 * 60 + 30].map((at) => quietAt(noon, at))).toEqual([
      'no',
      'all',
      'all',
      'no',
    ]);
    expect(quietAt(undefined, 0)).toBe('no');
    // An earlier version kept them when a program asked for them.
    expect([0, 420, 1439].map((at) => quietAt({ ...night, from: 420, to: 420 }, at))).toEqual(['no', 'no', 'no']);
    expect(['25:00-07:00', '22:00', '7-7', '22:60-23:00', '0:00-24:00', 'night'].map(parseQuietHours)).toEqual(
      Array(6).fill(null),
    );
    expect(parseQuietHours('18:00-24:00')).toEqual({ from: 1080, to: 0 });
  });

  it('who does not take it is asked ever more seldom, and never sooner than it said', () => {
    expect([1, 2, 3, 4].map((n) => waitAfter(n, null))).toEqual([15_000, 30_000, 60_000, 120_000]);
    expect(waitAfter(99, null)).toBe(1_800_000);
    expect(waitAfter(1, 3_600_000)).toBe(3_600_000);
  });
});
