import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { openPairWindow } from '../../node/agent/pair-window.ts';
import type { Change, ChangeOutcome } from '../../protocol/changes.ts';

beforeEach(() => void vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] }));
afterEach(() => void vi.useRealTimers());

/** A mesh that knows of the window only; its leader answers as `answers` says, then always that it is done. */
function windowOf(...answers: ChangeOutcome['state'][]) {
  const seen = { asked: [] as Change[], pairUntil: 0, said: [] as string[] };
  const ask = async (change: Change): Promise<ChangeOutcome> => {
    seen.asked.push(change);
    const state = answers.shift() ?? 'done';
    if (state === 'done' && change.kind === 'pair') seen.pairUntil = change.until;
    return { state, because: 'as the test says' };
  };
  const say = (what: string, sentence: string): void => void seen.said.push(`${what}: ${sentence}`);
  const member = { changes: { ask }, ledger: () => ({ pairUntil: seen.pairUntil }) };
  const open = openPairWindow(
    member as unknown as Parameters<typeof openPairWindow>[0],
    600_000,
    { wallMs: () => 5000 } as Parameters<typeof openPairWindow>[2],
    { ok: say, warn: say } as unknown as Parameters<typeof openPairWindow>[3],
  );
  return { seen, open };
}

it('is closed by who opened it, so that no slow clock holds it open', async () => {
  const { seen, open } = windowOf();
  await open;
  expect(seen.pairUntil).toBe(605_000);
  await vi.advanceTimersByTimeAsync(599_999);
  expect(seen.pairUntil).toBe(605_000);
  await vi.advanceTimersByTimeAsync(1);
  expect(seen.asked).toEqual([
    { kind: 'pair', until: 605_000 },
    { kind: 'pair', until: 0 },
  ]);
  expect(seen.said.at(-1)).toBe('pair: the window is closed; from now on: approve');
});

it('is asked for again where nobody led, and left alone where another machine opened one since', async () => {
  const leaderless = windowOf('done', 'unknown', 'unknown');
  await leaderless.open;
  await vi.advanceTimersByTimeAsync(620_000);
  expect([leaderless.seen.pairUntil, leaderless.seen.asked.length]).toEqual([0, 4]);
  const other = windowOf();
  await other.open;
  other.seen.pairUntil = 900_000;
  await vi.advanceTimersByTimeAsync(620_000);
  expect([other.seen.pairUntil, other.seen.asked.length]).toEqual([900_000, 1]);
});

it('asks for nothing once the agent has ended, also between two tries', async () => {
  const { seen, open } = windowOf('done', 'unknown');
  const end = await open;
  await vi.advanceTimersByTimeAsync(600_000);
  end();
  await vi.advanceTimersByTimeAsync(60_000);
  expect(seen.asked).toHaveLength(2);
});
