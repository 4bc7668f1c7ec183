import { describe, expect, it } from 'vitest';
import { type KeptBackup, keepInForce, lowerAfterMs, toForget } from '../../node/hosting/keep/retention.ts';

const dayMs = 86_400_000;
const start = Date.UTC(2026, 10, 2);
const keep = { daily: 7, weekly: 4, monthly: 6 };
const daily = (days: number, of = 'data-1', from = 0): KeptBackup[] =>
  Array.from({ length: days }, (_, day) => ({
    id: `${of}-${from + day}`,
    of,
    arrivedMs: start + (from + day) * dayMs,
  }));
const left = (backups: KeptBackup[], wanted = keep): string[] => {
  const gone = new Set(toForget(backups, wanted));
  return backups.map(({ id }) => id).filter((id) => !gone.has(id));
};

describe('what stays of the backups that are kept for another machine', () => {
  it('is one of each of the last days, weeks and months, and the newest', () => {
    const stays = left(daily(100));
    expect(stays.slice(-7)).toEqual([93, 94, 95, 96, 97, 98, 99].map((day) => `data-1-${day}`));
    // Mondays, and the first of each month that arrived.
    expect(stays).toEqual(expect.arrayContaining([77, 84, 91, 98, 0, 29, 60, 91].map((day) => `data-1-${day}`)));
    expect(stays.length).toBeLessThanOrEqual(7 + 4 + 6);
    expect(left(daily(3))).toHaveLength(3);
    expect(left([])).toEqual([]);
  });

  it('a host that sends a thousand in an hour makes none of before go', () => {
    const good = daily(60);
    const flood = Array.from({ length: 1000 }, (_, at) => ({
      ...{ id: `flood-${at}`, of: 'data-1' },
      arrivedMs: start + 59 * dayMs + 3_600_000 + at * 3000,
    }));
    const stays = left([...good, ...flood]);
    expect(stays.filter((id) => id.startsWith('data-1'))).toEqual(left(good));
    expect(stays.filter((id) => id.startsWith('flood'))).toEqual(['flood-999']);
  });

  it("another GitLab's take nothing from these", () => {
    const old = daily(30);
    expect(left([...old, ...daily(90, 'data-2', 30)]).filter((id) => id.startsWith('data-1'))).toEqual(left(old));
  });

  it('fewer shall stay: not before the mesh has wanted that for a fortnight without a break; more: at once', () => {
    const less = { daily: 1, weekly: 0, monthly: 0 };
    const first = keepInForce(null, keep, 0);
    expect(first).toEqual({ keep, lower: null });
    const asked = keepInForce(first, less, 1000);
    expect(asked).toEqual({ keep, lower: { keep: less, sinceMs: 1000 } });
    expect(keepInForce(asked, less, 1000 + lowerAfterMs - 1)).toEqual(asked);
    expect(keepInForce(asked, less, 1000 + lowerAfterMs)).toEqual({ keep: less, lower: null });
    // Taken back meanwhile, it begins anew.
    const back = keepInForce(asked, keep, 5000);
    expect(back).toEqual(first);
    expect(keepInForce(back, less, 1000 + lowerAfterMs).lower?.sinceMs).toBe(1000 + lowerAfterMs);
    expect(keepInForce(asked, { ...keep, daily: 30 }, 2000)).toEqual({ keep: { ...keep, daily: 30 }, lower: null });
    // More of one and fewer of another.
    const mixed = { daily: 30, weekly: 0, monthly: 6 };
    expect(keepInForce(first, mixed, 7)).toEqual({
      keep: { ...keep, daily: 30 },
      lower: { keep: mixed, sinceMs: 7 },
    });
    // A clock that was far ahead when it was asked.
    expect(keepInForce({ keep, lower: { keep: less, sinceMs: 9e15 } }, less, 50).lower?.sinceMs).toBe(50);
  });
});
