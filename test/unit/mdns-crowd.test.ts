import { describe, expect, it } from 'vitest';
import { MdnsCrowd } from '../../node/network/mdns-crowd.ts';

const heardBy = (count: number, at: number): MdnsCrowd => {
  const crowd = new MdnsCrowd();
  for (let i = 0; i < count; i += 1) crowd.heard(`agent-${i}`, at);
  return crowd;
};

describe('mDNS in a crowd', () => {
  it('of seven others changes nothing: everybody asks, and answers within 20 ms', () => {
    const few = heardBy(7, 1000);
    few.asked(1000);
    expect(few.isAskedFor(10_000, 1001)).toBe(false);
    expect(few.hasAnsweredSince(0)).toBe(false);
    expect(few.answerGapMs(1001)).toBe(20);
  });

  it('of more: one asks for all, until it has not asked for as long', () => {
    const many = heardBy(29, 1000);
    expect(many.isAskedFor(10_000, 1001)).toBe(false);
    many.asked(2000);
    expect(many.isAskedFor(10_000, 11_999)).toBe(true);
    expect(many.isAskedFor(10_000, 12_000)).toBe(false);
  });

  it('of more: what was answered in this burst counts, not what was heard before it', () => {
    const many = heardBy(29, 1000);
    expect(many.hasAnsweredSince(1000)).toBe(true);
    expect(many.hasAnsweredSince(1001)).toBe(false);
  });

  it('the answers of all together stay as many, however many they are', () => {
    for (const count of [8, 16, 29, 60]) {
      const perSecond = (count * 1000) / heardBy(count, 1000).answerGapMs(1000);
      expect(perSecond).toBeLessThanOrEqual(20);
    }
  });

  it('one agent that answers often is one, and who was not heard for a minute is forgotten', () => {
    const crowd = heardBy(7, 1000);
    for (let i = 0; i < 50; i += 1) crowd.heard('agent-1', 2000 + i);
    expect(crowd.answerGapMs(2050)).toBe(20);
    const many = heardBy(29, 1000);
    expect(many.answerGapMs(61_000)).toBe(29 * 50);
    expect(many.answerGapMs(61_001)).toBe(20);
  });

  it('a liar with many names costs no more than 64 of them', () => {
    const crowd = heardBy(10_000, 1000);
    expect(crowd.answerGapMs(1000)).toBe(64 * 50);
  });
});
