import { PassThrough } from 'node:stream';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import type { Replica, Round, RoundSource, Sending, Standby } from '../../node/hosting/replica/replica-ports.ts';
import { RoundSender } from '../../node/hosting/replica/round-sender.ts';
import type { SendBook } from '../../node/hosting/replica/send-books.ts';

const name = { era: 0, epoch: 1, number: 7 };
const round: Round = { part: 'hot', name, atMs: 5, wallMs: 6, uuid: 'u-7', parent: null };

/** One round on its way to a standby that tells what the test says. */
let sending: Sending | null;
let ended: number;
let lost: string[];
let problems: string[];
let moved: number;
let sender: RoundSender;

beforeEach(() => {
  vi.useFakeTimers();
  [sending, ended, lost, problems, moved] = [null, 0, [], [], 0];
  const stream = new PassThrough();
  const source: RoundSource = { stream, done: Promise.resolve(), end: () => void ended++ };
  const replica: Partial<Replica> = {
    part: 'hot',
    rounds: () => [round],
    parentsFor: () => [],
    send: () => source,
  };
  const standby: Standby = {
    node: 'B',
    held: async () => [],
    take: (_round, _source, given) => {
      sending = given;
      return new Promise((_, reject) => given.signal.addEventListener('abort', () => reject(given.signal.reason)));
    },
  };
  const book: SendBook = {
    held: () => {},
    parentFor: () => null,
    sent: () => {},
    moved: (bytes) => (moved += bytes),
    acknowledged: () => {},
    lost: (because) => lost.push(because),
    pins: () => [],
  };
  sender = new RoundSender({
    ...{ standby, book, replica: replica as Replica, epoch: { era: 0, epoch: 1 } },
    ...{ isPressed: () => false, onChange: () => {}, onProblem: (words) => problems.push(words) },
  });
  sender.start();
});
afterEach(async () => {
  vi.useRealTimers();
  await sender.stop();
});

it('a standby that lost its power in the midst is given up in seconds, not minutes', async () => {
  await vi.advanceTimersByTimeAsync(1);
  sending!.told(1000);
  await vi.advanceTimersByTimeAsync(14_000);
  expect(lost).toEqual([]);
  await vi.advanceTimersByTimeAsync(2000);
  expect(lost).toEqual(['nothing of round 0-1-7 moved for 15 s']);
  expect(problems).toEqual(['no hot round gets there: nothing of round 0-1-7 moved for 15 s']);
  expect(ended).toBeGreaterThan(0);
  expect(moved).toBe(1000);
});

it('one whose disk takes minutes over what has arrived is waited for while it says so', async () => {
  await vi.advanceTimersByTimeAsync(1);
  for (let at = 0; at < 600; at++) {
    sending!.told(5000);
    await vi.advanceTimersByTimeAsync(500);
  }
  expect(lost).toEqual([]);
});

it('one that says so for a quarter of an hour and has taken nothing more is given up: its disk hangs', async () => {
  await vi.advanceTimersByTimeAsync(1);
  for (let at = 0; at < 1900 && lost.length === 0; at++) {
    // What arrives is no hang, however slow.
    sending!.told(Math.min(5000 + at, 5060));
    await vi.advanceTimersByTimeAsync(500);
  }
  expect(lost).toEqual(['nothing of round 0-1-7 moved for 900 s']);
  expect(ended).toBeGreaterThan(0);
});

it('one of an earlier version, which tells nothing, has the two minutes that it had', async () => {
  await vi.advanceTimersByTimeAsync(119_000);
  expect(lost).toEqual([]);
  await vi.advanceTimersByTimeAsync(2000);
  expect(lost).toEqual(['nothing of round 0-1-7 moved for 120 s']);
});
