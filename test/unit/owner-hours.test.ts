import { describe, expect, it } from 'vitest';
import { ownerWishes } from '../../node/agent/owner-wishes.ts';
import { PauseSwitch } from '../../node/agent/pause.ts';
import { ownersNow, readOwnerHours } from '../../node/settings/owner-hours.ts';

/** Monday 2026-11-30 and the days behind it, local time. */
const at = (day: number, hour: number, minute = 0): Date => new Date(2026, 10, 30 + day, hour, minute);
const hour = 3_600_000;

describe("the owner's hours", () => {
  it('are of days and of times of the day, over midnight and the end of the week too', () => {
    const evenings = readOwnerHours(['weekdays 18:00-23:00']);
    expect(ownersNow(evenings, at(0, 17, 59))).toBeNull();
    expect(ownersNow(evenings, at(0, 18))).toEqual({ what: 'all', leftMs: 5 * hour });
    expect(ownersNow(evenings, at(0, 22, 59))).toEqual({ what: 'all', leftMs: 60_000 });
    expect(ownersNow(evenings, at(0, 23))).toBeNull();
    expect(ownersNow(evenings, at(5, 20))).toBeNull();
    const nights = readOwnerHours(['sun 22:00-06:00']);
    expect(ownersNow(nights, at(-1, 23))).toEqual({ what: 'all', leftMs: 7 * hour });
    expect(ownersNow(nights, at(0, 5))).toEqual({ what: 'all', leftMs: hour });
    expect(ownersNow(nights, at(1, 5))).toBeNull();
    expect(ownersNow(readOwnerHours(['fri-sun 10:00-24:00']), at(6, 12))?.leftMs).toBe(12 * hour);
    expect(ownersNow(readOwnerHours(['mon+wed 10:00-11:00']), at(2, 10, 30))?.leftMs).toBe(hour / 2);
    expect(ownersNow(readOwnerHours(['07:00-08:00']), at(5, 7))?.leftMs).toBe(hour);
  });

  it('of the GPU leave the rest to jobs; of both the machine counts', () => {
    const hours = readOwnerHours(['daily 18:00-23:00 GPU', 'daily 20:00-21:00']);
    expect(ownersNow(hours, at(0, 19))).toEqual({ what: 'gpu', leftMs: 4 * hour });
    expect(ownersNow(hours, at(0, 20))).toEqual({ what: 'all', leftMs: hour });
  });

  it.each([
    '18-23',
    'monday 18:00-23:00',
    'weekdays 18:00-25:00',
    'daily 10:00-10:00',
    'mon-tue-wed 1:00-2:00',
    '24:00-02:00',
    '10:60-11:00',
    'constructor 10:00-11:00',
    '',
  ])('refuses "%s"', (text) => expect(() => readOwnerHours([text])).toThrow(/is no hours; write weekdays 18:00-23:00/));

  it('end by the clock on a day on which it is put back or on', () => {
    const zone = process.env.TZ;
    process.env.TZ = 'Europe/Berlin';
    try {
      const nights = readOwnerHours(['sat 22:00-06:00']);
      // 2026-10-25 has 02:00 to 03:00 twice, 2026-03-29 has it not at all.
      const [autumn, spring] = [new Date(2026, 9, 24, 23), new Date(2026, 2, 28, 23)];
      expect([autumn, spring].map((night) => ownersNow(nights, night)?.leftMs)).toEqual([8 * hour, 6 * hour]);
      const until = readOwnerHours(['sun 01:00-02:30']);
      const second = new Date(new Date(2026, 9, 25, 2, 15).getTime() + hour);
      expect(ownersNow(until, second)?.leftMs).toBe(hour / 4);
    } finally {
      if (zone === undefined) delete process.env.TZ;
      else process.env.TZ = zone;
    }
  });

  it('who asks for the GPU of a paused machine is told what stays, and how that ends', async () => {
    const kept = new Map<string, string>();
    const store = {
      get: async (key: string) => kept.get(key) ?? null,
      put: async (key: string, value: string) => void kept.set(key, value),
    };
    const one = new PauseSwitch(store as never, () => at(1, 12).getTime());
    await one.load();
    await one.pause('all', null);
    expect(await one.resume('gpu')).toBe('paused by its owner: no new work; that ends by: autogit-node resume');
    expect(await one.resume('all')).toBe('takes new work again');
    await one.pause('gpu', null);
    expect(await one.resume('gpu')).toBe('takes new work again');
  });

  it('come back where they were taken back by a clock that was years ahead', async () => {
    let now = at(3000, 19).getTime();
    const kept = new Map<string, string>();
    const store = {
      get: async (key: string) => kept.get(key) ?? null,
      put: async (key: string, value: string) => void kept.set(key, value),
    };
    const one = new PauseSwitch(store as never, () => now, readOwnerHours(['daily 18:00-23:00']));
    await one.load();
    await one.resume('all');
    expect(one.state().paused).toBe('no');
    now = at(1, 19).getTime();
    expect(one.state().paused).toBe('all');
  });

  it('pause the machine by themselves and end by themselves; resume takes it back until they would end', async () => {
    let now = at(0, 17).getTime();
    const kept = new Map<string, string>();
    const store = {
      get: async (key: string) => kept.get(key) ?? null,
      put: async (key: string, value: string) => void kept.set(key, value),
    };
    const make = async (): Promise<PauseSwitch> => {
      const one = new PauseSwitch(store as never, () => now, readOwnerHours(['weekdays 18:00-23:00']));
      await one.load();
      return one;
    };
    const first = await make();
    expect(first.state().paused).toBe('no');
    now = at(0, 19).getTime();
    expect(first.state()).toMatchObject({ paused: 'all', because: "its owner's hours until 23:00: no new work" });
    const [wish] = ownerWishes(first.state(), null);
    expect(wish).toEqual({ gpus: null, because: "its owner's hours until 23:00", now: null });
    await first.pause('gpu', hour, true);
    expect(first.state()).toMatchObject({ paused: 'all', now: { what: 'gpu', way: null } });
    expect(await first.resume('gpu')).toBe("its owner's hours until 23:00: no new work");
    expect(await first.resume('all')).toBe('takes new work again');
    expect((await make()).state().paused).toBe('no');
    now = at(1, 19).getTime();
    expect((await make()).state().paused).toBe('all');
  });
});
