import { expect, test } from 'vitest';
import { beatsOf, type Chunk } from '../bench/beats.ts';

const line = '10.77.0.1:7117-10.77.0.2:40000';
const sent = (at: number, until: number, bytes: number): Chunk => ({ at, isSent: true, line, until, bytes });
const read = (at: number, until: number, bytes: number): Chunk => ({ at, isSent: false, line, until, bytes });

test('a heartbeat is heard when the stream has come to its end, however its bytes were cut', () => {
  const leader = [sent(0, 200, 200), sent(100, 400, 200), sent(150, 1400, 1000), sent(200, 1601, 201)];
  // The second beat comes with what was said after it, the third in two pieces.
  const follower = [read(1, 200, 200), read(153, 1400, 1200), read(204, 1500, 100), read(260, 1601, 101)];
  const { count, worstMs, wayMs } = beatsOf(leader, [follower]);
  expect({ count, worstMs, wayMs }).toEqual({ count: 2, worstMs: 52, wayMs: 53 });
});

test('what was not heard in the look does not count, nor another line', () => {
  const leader = [sent(0, 200, 200), sent(100, 400, 200), { ...sent(100, 200, 200), line: 'elsewhere' }];
  expect(beatsOf(leader, [[read(1, 200, 200)]])).toMatchObject({ count: 0, lateMs: Number.NaN, wayMs: 1 });
});

test('where heartbeats are datagrams only those are looked at, and one that is lost is late', () => {
  const udp = (chunk: Chunk): Chunk => ({ ...chunk, line: `udp ${line}`, bytes: 41 });
  const leader = [0, 100, 200].flatMap((at, index) => [
    udp(sent(at, index + 1, 41)),
    sent(at, 4500 * (index + 1), 4500),
  ]);
  const follower = [udp(read(1, 1, 41)), read(40, 4500, 4500), udp(read(205, 3, 41)), read(290, 13_500, 9000)];
  const { count, worstMs } = beatsOf(leader, [follower]);
  expect({ count, worstMs }).toEqual({ count: 2, worstMs: 104 });
});
