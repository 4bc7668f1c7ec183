import { expect, it } from 'vitest';
import { Turns } from '../../node/hosting/wire/turns.ts';

const never = new AbortController().signal;
const took = async (ready: (signal: AbortSignal) => Promise<void>, signal = never): Promise<number> => {
  const began = performance.now();
  await ready(signal);
  return performance.now() - began;
};

it('a whole copy waits at its next chunk while a push is under way, and goes on behind it', async () => {
  const turns = new Turns();
  const [copy, push] = [turns.begin('copy'), turns.begin('push')];
  setTimeout(push.end, 100);
  expect(await took(push.ready)).toBeLessThan(50);
  expect(await took(copy.ready)).toBeGreaterThan(80);
  expect(await took(copy.ready)).toBeLessThan(50);
});

it('what is as urgent, or less, keeps nobody waiting', async () => {
  const turns = new Turns();
  const round = turns.begin('round');
  for (const other of ['round', 'bulk', 'copy'] as const) turns.begin(other);
  expect(await took(round.ready)).toBeLessThan(50);
});

it('one that stands still keeps nobody waiting for long, and who is given up waits no more', async () => {
  const turns = new Turns();
  const bulk = turns.begin('bulk');
  turns.begin('push');
  const waited = await took(bulk.ready);
  expect([waited > 900, waited < 2000]).toEqual([true, true]);
  expect(await took(bulk.ready, AbortSignal.timeout(50))).toBeLessThan(500);
});
