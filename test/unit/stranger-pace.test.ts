import { afterEach, expect, it, vi } from 'vitest';
import { StrangerPace, strangerGapMs } from '../../node/network/stranger-pace.ts';

afterEach(() => {
  vi.useRealTimers();
});

it('begins handshakes of strangers one after the other, the first at once, and passes over what has ended', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'performance'] });
  const pace = new StrangerPace(() => performance.now());
  const begun: number[] = [];
  const open = Array.from({ length: 60 }, (_, index) => index % 3 !== 2);
  const all = open.map((_, index) => pace.turn(() => open[index] === true).then(() => void begun.push(index)));
  await vi.advanceTimersByTimeAsync(0);
  expect(begun).toEqual([0]);
  await vi.advanceTimersByTimeAsync(strangerGapMs);
  expect(begun).toEqual([0, 1, 2]);
  // One that ends while it waits gives its turn to the next.
  open[3] = false;
  await vi.advanceTimersByTimeAsync(strangerGapMs);
  expect(begun).toEqual([0, 1, 2, 3, 4, 5]);
  await vi.advanceTimersByTimeAsync(strangerGapMs * 60);
  await Promise.all(all);
  expect(begun).toHaveLength(60);
});
