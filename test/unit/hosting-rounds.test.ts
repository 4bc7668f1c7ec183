import { describe, expect, it } from 'vitest';
import { compareRounds, newestOf, readRoundName, roundText } from '../../protocol/round-name.ts';
import { PushWait } from '../../scheduler/hosting/copies/push-wait.ts';
import { type DatedRound, type Pressure, thin } from '../../scheduler/hosting/copies/thinning.ts';

const round = (number: number, atMs = 0, epoch = 1, era = 1): DatedRound => ({ name: { era, epoch, number }, atMs });
const names = (rounds: readonly DatedRound[]): number[] => rounds.map(({ name }) => name.number);

describe('a round by name', () => {
  it('reads what it writes, and nothing else: folders are deleted by it', () => {
    const name = { era: 0, epoch: 12, number: 345 };
    expect(readRoundName(roundText(name))).toEqual(name);
    for (const text of [
      '',
      '1-2',
      '1-2-3-4',
      '01-2-3',
      '1-2-3/..',
      '../1-2-3',
      '1-2--3',
      ' 1-2-3',
      '1-2-3\n',
      '1-2-3e9',
      '1-2-9999999999999',
    ])
      expect(readRoundName(text), JSON.stringify(text)).toBeNull();
  });

  it('is newer by era, then by epoch, then by number', () => {
    const [old, moved, forced] = [round(900), round(1, 0, 2), round(1, 0, 1, 2)];
    expect(compareRounds(old.name, moved.name)).toBeLessThan(0);
    expect(newestOf([old, forced, moved])).toBe(forced);
    expect(newestOf([])).toBeNull();
  });
});

describe('thinning', () => {
  const seconds = 1000;
  /** What stays after rounds every 5 s, thinned every 20. */
  function longRow(count: number, pinned: (at: number) => string[] = () => []): DatedRound[] {
    let kept: DatedRound[] = [];
    for (let at = 1; at <= count; at++) {
      kept.push(round(at, at * 5 * seconds));
      if (at % 20 !== 0) continue;
      const gone = new Set(thin(kept, new Set(pinned(at))));
      kept = kept.filter((one) => !gone.has(one));
    }
    return kept;
  }

  it('keeps two minutes of all, an hour by the minute, a day by the hour and two weeks by the day', () => {
    const kept = longRow(300_000); // 17 days
    const newest = kept.at(-1) as DatedRound;
    const within = (from: number, until: number): number =>
      kept.filter(({ atMs }) => newest.atMs - atMs > from * seconds && newest.atMs - atMs <= until * seconds).length;
    expect(within(-1, 120)).toBe(25);
    expect(within(120, 3600)).toBeGreaterThanOrEqual(57);
    expect(within(120, 3600)).toBeLessThanOrEqual(59);
    expect(within(3600, 86_400)).toBeGreaterThanOrEqual(22);
    expect(within(3600, 86_400)).toBeLessThanOrEqual(24);
    expect(within(86_400, 14 * 86_400)).toBe(13);
    expect(within(14 * 86_400, Number.POSITIVE_INFINITY)).toBe(0);
  });

  it('is the same however often it is asked: what a longer step wants no shorter one deleted', () => {
    const all = Array.from({ length: 20_000 }, (_, at) => round(at + 1, (at + 1) * 5 * seconds));
    const gone = new Set(thin(all, new Set()));
    const atOnce = names(all.filter((one) => !gone.has(one)));
    expect(atOnce).toEqual(names(longRow(20_000)));
  });

  it('never takes the newest or what is pinned, at any pressure', () => {
    const rounds = [round(1, 0), round(2, 10 * seconds), round(3, 40 * 86_400 * seconds)];
    for (const pressure of [0, 1, 2, 3] satisfies Pressure[])
      expect(names(thin(rounds, new Set(['1-1-2']), pressure))).toEqual([1]);
    expect(thin([], new Set())).toEqual([]);
  });

  it('gives up minutes, then hours, then days, and never the last two minutes', () => {
    const kept = longRow(100_000);
    const left = [0, 1, 2, 3].map((pressure) => kept.length - thin(kept, new Set(), pressure as Pressure).length);
    expect(left[0]).toBe(kept.length);
    for (const [at, count] of left.entries()) if (at > 0) expect(count).toBeLessThan(left[at - 1] as number);
    expect(left[3]).toBe(25);
  });

  it('knows no clock but the one that travels with the rounds', () => {
    // The next round after a long sleep is 5 s of the host's time later, whatever the wall clock says.
    expect(thin([round(1, 0), round(2, 5 * seconds)], new Set())).toEqual([]);
  });
});

describe('a push that waits', () => {
  const [first, second] = [round(1).name, round(2).name];

  it('goes when every member has a round that began after it asked, and the host itself', () => {
    const wait = new PushWait();
    wait.begins(first);
    wait.ask(1);
    wait.durable(first);
    wait.acknowledged('desktop-1', first);
    expect(wait.release(['desktop-1'])).toEqual([]); // began before it asked: may lack it
    expect(wait.wantsRound).toBe(true);
    wait.begins(second);
    expect(wait.wantsRound).toBe(false);
    wait.acknowledged('desktop-1', second);
    expect(wait.release(['desktop-1'])).toEqual([]); // not on the host's disk yet
    wait.durable(second);
    expect(wait.release(['desktop-1', 'desktop-2'])).toEqual([]);
    expect(wait.release(['desktop-1'])).toMatchObject([{ id: 1, isAlone: false }]); // the other's removal is committed
    expect(wait.waiting).toEqual([]);
  });

  it('is told when nobody else has it, and only once the host does', () => {
    const wait = new PushWait();
    wait.ask(1);
    wait.begins(first);
    expect(wait.release([])).toEqual([]);
    wait.durable(first);
    expect(wait.release([])).toMatchObject([{ id: 1, isAlone: true }]);
  });

  it('waits for another round when its own came to nothing, and an older acknowledgement that is late takes nothing back', () => {
    const wait = new PushWait();
    wait.ask(1);
    wait.begins(first);
    wait.failed(first);
    expect(wait.wantsRound).toBe(true);
    wait.begins(second);
    wait.durable(second);
    wait.acknowledged('desktop-1', second);
    wait.acknowledged('desktop-1', first);
    expect(wait.release(['desktop-1'])).toHaveLength(1);
  });

  it('is not served by a high number of an earlier epoch', () => {
    const wait = new PushWait();
    wait.acknowledged('desktop-1', round(900).name);
    wait.ask(1);
    const moved = round(1, 0, 2).name;
    wait.begins(moved);
    wait.durable(moved);
    expect(wait.release(['desktop-1'])).toEqual([]);
  });
});
