import { describe, expect, it } from 'vitest';
import { PoliteSender, RateLimit } from '../../node/hosting/wire/polite-sender.ts';
import { SendWindow, windowLimits } from '../../node/hosting/wire/send-window.ts';

interface Way {
  bytesPerMs: number;
  /** There and back without any queue. */
  wayMs: number;
  /** How much of it others fill at that time. */
  others?: (atMs: number) => { queueMs?: number; share?: number };
  /** What the two programs add by being late. */
  jitter?: (atMs: number) => number;
}

interface Seen {
  /** Of each piece how long it stood in the queue that is its sender's own. */
  queues: { atMs: number; ms: number }[];
  bytesPerMs: (from: number, to: number) => number;
  window: SendWindow;
}

/** A sender that always has more, over a line with one queue. */
function over({ bytesPerMs, wayMs, others = () => ({}), jitter = () => 0 }: Way, ms: number): Seen {
  const window = new SendWindow();
  const queues: Seen['queues'] = [];
  const takenAt: { atMs: number; bytes: number }[] = [];
  const answers: { atMs: number; total: number }[] = [];
  let freeAtMs = 0;
  let total = 0;
  for (let now = 0; now < ms; now += 0.05) {
    while (answers[0] && answers[0].atMs <= now) window.acknowledged(answers.shift()!.total, now);
    for (let bytes = window.pieceBytes; window.hasRoom(bytes); bytes = window.pieceBytes) {
      window.sent(bytes, now);
      const { queueMs = 0, share = 0 } = others(now);
      const begins = Math.max(freeAtMs, now);
      freeAtMs = begins + bytes / (bytesPerMs * (1 - share));
      queues.push({ atMs: now, ms: begins - now });
      total += bytes;
      takenAt.push({ atMs: freeAtMs, bytes });
      answers.push({ atMs: freeAtMs + queueMs + wayMs + jitter(now), total });
    }
  }
  const sum = (from: number, to: number) =>
    takenAt.filter(({ atMs }) => atMs >= from && atMs < to).reduce((all, { bytes }) => all + bytes, 0);
  return { queues, window, bytesPerMs: (from, to) => sum(from, to) / (to - from) };
}

const worst = ({ queues }: Seen, from: number): number =>
  Math.max(...queues.filter(({ atMs }) => atMs >= from).map(({ ms }) => ms));
const megabits = (n: number): number => (n * 1e6) / 8 / 1000;

describe('the window', () => {
  it.each([
    [10, 1],
    [100, 0.3],
    [1000, 0.3],
    [2500, 0.3],
    [1000, 20],
    [100, 40],
  ])('fills %i Mbit/s with a way of %f ms, and lets no queue of its own stand for long', (rate, wayMs) => {
    const seen = over({ bytesPerMs: megabits(rate), wayMs }, 10_000);
    expect(seen.bytesPerMs(2000, 10_000) / megabits(rate)).toBeGreaterThan(0.95);
    // The target, and a few pieces: at 10 Mbit/s the least of 16 KiB are 13 ms.
    expect(worst(seen, 2000)).toBeLessThan(Math.max(14, (2.6 * windowLimits.leastBytes) / megabits(rate)));
  });

  it('gives way to others that fill the queue, and takes what is free again within a second', () => {
    const others = (atMs: number) => (atMs >= 3000 && atMs < 6000 ? { queueMs: 20, share: 0.5 } : {});
    const seen = over({ bytesPerMs: megabits(100), wayMs: 0.3, others }, 9000);
    expect(seen.bytesPerMs(4000, 6000) / megabits(100)).toBeLessThan(0.1);
    expect(seen.bytesPerMs(4000, 6000)).toBeGreaterThan(0);
    expect(seen.bytesPerMs(7000, 9000) / megabits(100)).toBeGreaterThan(0.95);
  });

  it('is not driven down by an end that is late now and then', () => {
    const jitter = (atMs: number): number => (Math.floor(atMs / 10) % 5 === 0 ? 12 : 0.2);
    const seen = over({ bytesPerMs: megabits(1000), wayMs: 0.3, jitter }, 10_000);
    expect(seen.bytesPerMs(2000, 10_000) / megabits(1000)).toBeGreaterThan(0.9);
  });

  it('finds a way that became longer: it is measured anew, without a queue of its own', () => {
    const others = (atMs: number) => (atMs >= 5000 ? { queueMs: 30 } : {});
    const seen = over({ bytesPerMs: megabits(100), wayMs: 0.3, others }, 60_000);
    expect(seen.bytesPerMs(50_000, 60_000) / megabits(100)).toBeGreaterThan(0.95);
    expect(worst(seen, 50_000)).toBeLessThan(10);
  });

  it('does not grow while its sender has less than it may send', () => {
    const window = new SendWindow();
    for (let at = 0; at < 1000; at += 10) {
      if (window.hasRoom(1000)) window.sent(1000, at);
      window.acknowledged(1000 * (at / 10 + 1), at + 0.5);
    }
    expect(window.bytes).toBe(windowLimits.firstBytes);
  });

  it('refuses an answer that cannot be', () => {
    const window = new SendWindow();
    window.sent(100, 0);
    expect(() => window.acknowledged(101, 1)).toThrow('what was not sent');
    window.acknowledged(100, 1);
    expect(() => window.acknowledged(99, 2)).toThrow('what was not sent');
  });
});

describe("the owner's limit", () => {
  it('holds what all senders send together to it, and makes up for a short pause only', () => {
    const limit = new RateLimit(1_000_000);
    let now = 0;
    let sent = 0;
    for (let i = 0; i < 200; i++) {
      now += limit.take(64_000, now);
      sent += 64_000;
    }
    expect(sent / now).toBeGreaterThan(990);
    expect(sent / now).toBeLessThan(1020);
    now += 10_000;
    expect(limit.take(64_000, now)).toBe(0);
    expect(limit.take(64_000, now)).toBeGreaterThan(10);
  });

  it('a sender whose other end says nothing goes by it too, and one that is given up waits no more', async () => {
    const sender = new PoliteSender(new RateLimit(100_000), false);
    const began = performance.now();
    for (let i = 0; i < 3; i++) await sender.ready(10_000, new AbortController().signal);
    expect(performance.now() - began).toBeGreaterThan(100);
    await sender.ready(10_000_000, new AbortController().signal);
    await expect(sender.ready(1, AbortSignal.timeout(20))).rejects.toThrow();
    const waiting = new PoliteSender(new RateLimit(null), true);
    await waiting.ready(60_000, new AbortController().signal);
    await expect(waiting.ready(60_000, AbortSignal.timeout(20))).rejects.toThrow();
  });
});
