import { EventEmitter } from 'node:events';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { probeAddress } from '../../node/network/probe-listener.ts';

/** Connects of the probe, in order; what becomes of each is the test's to say. */
const asked: FakeSocket[] = [];

class FakeSocket extends EventEmitter {
  isDestroyed = false;
  destroy(): void {
    this.isDestroyed = true;
  }
}

vi.mock('node:net', async (original) => ({
  ...(await original<typeof import('node:net')>()),
  connect: () => {
    const socket = new FakeSocket();
    asked.push(socket);
    return socket;
  },
}));

beforeEach(() => {
  asked.length = 0;
  vi.useFakeTimers();
});
afterEach(() => void vi.useRealTimers());

const at = { host: '10.77.0.9', port: 7118 };
const error = (code: string): Error => Object.assign(new Error(code), { code });

test('what the first connect is answered counts at once, and nothing is asked again', async () => {
  const probing = probeAddress(at, 150);
  asked[0]?.emit('error', error('ECONNREFUSED'));
  expect((await probing).result).toBe('refused');
  vi.advanceTimersByTime(1000);
  expect(asked).toHaveLength(1);
});

test('a lost SYN is no silence: the second or the third connect is answered', async () => {
  const probing = probeAddress(at, 150);
  vi.advanceTimersByTime(51);
  expect(asked).toHaveLength(2);
  vi.advanceTimersByTime(50);
  expect(asked).toHaveLength(3);
  asked[2]?.emit('connect');
  expect((await probing).result).toBe('accepted');
  expect(asked.every(({ isDestroyed }) => isDestroyed)).toBe(true);
});

test('silent is who answered none of them in the whole time', async () => {
  const probing = probeAddress(at, 150);
  await vi.advanceTimersByTimeAsync(151);
  expect((await probing).result).toBe('silent');
  expect(asked).toHaveLength(3);
});

test('an answer that came in the last moment wins over the end of the time', async () => {
  const probing = probeAddress(at, 150);
  vi.advanceTimersToNextTimer();
  vi.advanceTimersToNextTimer();
  vi.advanceTimersToNextTimer();
  asked[1]?.emit('connect');
  expect((await probing).result).toBe('accepted');
});
