import { createSecretKey, randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import {
  type Datagram,
  DatagramWay,
  datagramBytes,
  decodeDatagram,
  encodeDatagram,
  maxNumber,
} from '../../node/network/beat-datagrams.ts';

const newKey = () => createSecretKey(randomBytes(32));
const key = newKey();
const datagram: Datagram = { kind: 'beat', number: 7, heard: 6, frames: 12, round: 4711 };

describe('a datagram', () => {
  it.each([
    datagram,
    { kind: 'ask', number: 1, heard: 0, frames: 0, round: 0 },
    { kind: 'answer', number: maxNumber, heard: maxNumber, frames: maxNumber, round: maxNumber },
  ] satisfies Datagram[])('says what was put into it: %o', (one) => {
    const bytes = encodeDatagram(one, key);
    expect(bytes).toHaveLength(datagramBytes);
    expect(decodeDatagram(bytes, key)).toEqual(one);
  });
  it('is nothing when any bit of it, its length or the key is another', () => {
    const bytes = encodeDatagram(datagram, key);
    for (let bit = 0; bit < datagramBytes * 8; bit++) {
      const other = Buffer.from(bytes);
      other[bit >> 3] = (other[bit >> 3] as number) ^ (1 << (bit & 7));
      expect(decodeDatagram(other, key), `bit ${bit}`).toBeNull();
    }
    expect(decodeDatagram(bytes, newKey())).toBeNull();
    for (const length of [0, 1, datagramBytes - 1]) expect(decodeDatagram(bytes.subarray(0, length), key)).toBeNull();
    expect(decodeDatagram(Buffer.concat([bytes, bytes]), key)).toBeNull();
  });
});

describe('a way of datagrams', () => {
  /** What one side sends arrives at the other. */
  const pass = (from: DatagramWay, to: DatagramWay): boolean => to.hear(from.next());

  it('is good once one came through each way, and while all but the newest are heard', () => {
    const [a, b] = [new DatagramWay(), new DatagramWay()];
    expect([a.isGood, b.isGood]).toEqual([false, false]);
    pass(a, b);
    expect([a.isGood, b.isGood]).toEqual([false, false]);
    pass(b, a);
    expect([a.isGood, b.isGood]).toEqual([true, false]);
    pass(a, b);
    expect([a.isGood, b.isGood]).toEqual([true, true]);
    pass(b, a);
    // Two in a row are lost.
    a.next();
    expect(a.isGood).toBe(true);
    a.next();
    expect(a.isGood).toBe(false);
    pass(a, b);
    expect(a.isGood).toBe(false);
    pass(b, a);
    expect(a.isGood).toBe(true);
  });
  it('counts nothing that came twice, late, or that was never sent', () => {
    const [a, b] = [new DatagramWay(), new DatagramWay()];
    const [first, second] = [a.next(), a.next()];
    expect(b.hear(second)).toBe(true);
    expect(b.hear(second)).toBe(false);
    expect(b.hear(first)).toBe(false);
    expect(a.hear({ number: 1, heard: 3 })).toBe(true);
    expect(a.isGood).toBe(false);
    expect(a.hear({ number: 2, heard: 2 })).toBe(true);
    expect(a.isGood).toBe(true);
  });
  it('is tried twice as rarely each time, every 10 s at least, and at once after it was good', () => {
    const way = new DatagramWay();
    const tries = (from: number, to: number): number[] => {
      const at: number[] = [];
      for (let now = from; now < to; now += 100) if (way.isToBeTried(now)) at.push(now);
      return at;
    };
    expect(tries(0, 1600)).toEqual([0, 100, 300, 700, 1500]);
    const late = tries(1600, 100_000);
    expect(late.slice(1).every((at, index) => at - (late[index] as number) <= 10_000)).toBe(true);
    expect(late.length).toBeLessThan(14);
    way.hear({ number: 1, heard: way.next().number });
    expect(way.isToBeTried(100_000)).toBe(false);
    way.refused();
    expect(way.isGood).toBe(false);
    expect(tries(100_000, 100_200)).toEqual([100_000, 100_100]);
  });
});
