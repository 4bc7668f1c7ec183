import { expect, it } from 'vitest';
import { Turns } from '../../node/hosting/wire/turns.ts';

const never = new AbortController().signal;
/** Resolved without a timer in between: whatever the machine's load, that is no wait. */
const isAtOnce = (ready: Promise<void>): Promise<boolean> =>
  Promise.race([ready.then(() => true), new Promise<boolean>((resolve) => setImmediate(() => resolve(false)))]);

it('a whole copy waits at its next chunk while a push is under way, and goes on behind it', async () => {
  const turns = new Turns();
  const [copy, push] = [turns.begin('copy'), turns.begin('push')];
  expect(await isAtOnce(push.ready(never))).toBe(true);
  const copied = copy.ready(never);
  expect(await isAtOnce(copied)).toBe(false);
  push.end();
  await copied;
  expect(await isAtOnce(copy.ready(never))).toBe(true);
});

it('what is as urgent, or less, keeps nobody waiting', async () => {
  const turns = new Turns();
  const round = turns.begin('round');
  for (const other of ['round', 'bulk', 'copy'] as const) turns.begin(other);
  expect(await isAtOnce(round.ready(never))).toBe(true);
});

it('one that stands still keeps nobody waiting for ever, and who is given up waits no more', async () => {
  const turns = new Turns();
  const bulk = turns.begin('bulk');
  turns.begin('push');
  const began = performance.now();
  await bulk.ready(never);
  expect(performance.now() - began).toBeGreaterThan(900);
  const given = new AbortController();
  const waits = bulk.ready(given.signal);
  expect(await isAtOnce(waits)).toBe(false);
  given.abort();
  expect(await isAtOnce(waits)).toBe(true);
});
