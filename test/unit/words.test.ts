import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { words, wordsOf } from '../../protocol/word-list.ts';

/** Letters to change, add or take away to get from one word to the other. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++)
      next.push(Math.min(row[j]! + 1, next[j - 1]! + 1, row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1)));
    row = next;
  }
  return row[b.length]!;
}

describe('words', () => {
  it('there is one short word for every byte', () => {
    expect(words).toHaveLength(256);
    expect(new Set(words).size).toBe(256);
    for (const word of words) expect(word).toMatch(/^[a-z]{3,7}$/);
  });

  it('no two are easily taken for each other', () => {
    const close: string[] = [];
    for (const [i, a] of words.entries())
      for (const b of words.slice(i + 1))
        if (distance(a, b) < 3 || a.slice(0, 4) === b.slice(0, 4)) close.push(`${a} ${b}`);
    expect(close).toEqual([]);
  });

  it('names bytes', () => {
    expect(wordsOf(Uint8Array.of(0, 255))).toBe(`${words[0]}-${words[255]}`);
    expect(wordsOf(Uint8Array.of(1, 2, 3, 4)).split('-')).toHaveLength(4);
  });

  it('the list is part of the protocol: it never changes', () => {
    expect(createHash('sha256').update(words.join(' ')).digest('hex')).toBe(
      '534cfaacf1cbe848a91ad5078f1297fbe23f886a758ee252e25afaf2bb018648',
    );
  });
});
