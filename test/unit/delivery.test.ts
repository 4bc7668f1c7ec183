import { describe, expect, it } from 'vitest';
import { type DeliveryAge, type DeliveryAnswer, firstTry, nextDelivery } from '../../gitlab-bridge/delivery.ts';

const hourMs = 3_600_000;
const answer = (status: number | 'away', more: Partial<DeliveryAnswer> = {}): DeliveryAnswer => ({
  status,
  because: 'connect ECONNREFUSED',
  jobStatus: null,
  ...more,
});
const young: DeliveryAge = { triedMs: 0, sinceEndMs: 0 };

/** Tries until an end, against a GitLab that answers so; `ageMs`: of the result when this agent begins. */
function tryAll(said: (atMs: number) => DeliveryAnswer, ageMs = 0): { end: string; atMs: number; calls: number } {
  let tries = firstTry;
  for (let atMs = 0, calls = 1; ; calls++) {
    const next = nextDelivery(tries, said(atMs), { triedMs: atMs, sinceEndMs: ageMs + atMs }, true);
    if (next.kind !== 'again') return { end: next.kind, atMs, calls };
    if (calls > 5000) throw new Error('it never ends');
    tries = next.tries;
    atMs += next.afterMs;
  }
}

describe('a result on its way to GitLab', () => {
  it('is tried for a day while GitLab is away, about once a minute, and given up then with the last words', () => {
    const { end, atMs, calls } = tryAll(() => answer('away'));
    expect(end).toBe('given-up');
    expect(atMs / hourMs).toBeGreaterThanOrEqual(24);
    expect(atMs / hourMs).toBeLessThan(24.1);
    expect(calls).toBeGreaterThan(1000);
    const late = { triedMs: hourMs, sinceEndMs: 24 * hourMs };
    expect(nextDelivery(firstTry, answer('away'), late, true)).toEqual({
      kind: 'given-up',
      because: 'connect ECONNREFUSED',
    });
  });

  it('arrives when GitLab is back an hour later, or 23 hours later', () => {
    for (const hours of [1, 23]) {
      const { end, atMs } = tryAll((at) => answer(at >= hours * hourMs ? 200 : 'away'));
      expect(end).toBe('delivered');
      expect(atMs - hours * hourMs).toBeLessThanOrEqual(60_000);
    }
  });

  it('is tried for an hour more by an agent that was off for a week', () => {
    const { end, atMs } = tryAll(() => answer(502), 7 * 24 * hourMs);
    expect(end).toBe('given-up');
    expect(atMs).toBeGreaterThanOrEqual(hourMs);
    expect(atMs).toBeLessThan(hourMs + 61_000);
    expect(tryAll((at) => answer(at > hourMs / 2 ? 200 : 'away'), 7 * 24 * hourMs).end).toBe('delivered');
  });

  it('ends at once by what GitLab itself says, and after eight refusals; a limit on calls is no refusal', () => {
    expect(nextDelivery(firstTry, answer(200), young, true)).toEqual({ kind: 'delivered' });
    expect(nextDelivery(firstTry, answer(200, { jobStatus: 'canceled' }), young, true).kind).toBe('disowned');
    expect(nextDelivery(firstTry, answer(200, { jobStatus: 'canceled' }), young, false).kind).toBe('delivered');
    for (const status of [403, 404]) expect(nextDelivery(firstTry, answer(status), young, true).kind).toBe('over');
    expect(tryAll(() => answer(400))).toMatchObject({ end: 'disowned', calls: 8 });
    expect(tryAll((at) => answer(at < 2 * hourMs ? 429 : 200)).end).toBe('delivered');
  });

  it('keeps to the time that GitLab asks for, within five minutes', () => {
    const waits = (said: DeliveryAnswer): number | null => {
      const next = nextDelivery(firstTry, said, young, true);
      return next.kind === 'again' ? next.afterMs : null;
    };
    expect(waits(answer(503, { retryAfterS: 30 }))).toBe(30_000);
    expect(waits(answer(429, { retryAfterS: 86_400 }))).toBe(300_000);
    expect(waits(answer(202, { intervalS: 3 }))).toBe(3000);
    expect(waits(answer(202))).toBe(1000);
  });
});
