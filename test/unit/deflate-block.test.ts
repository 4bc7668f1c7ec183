import { createHash } from 'node:crypto';
import { inflateRawSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { deflated, wayOf } from '../../node/runs/cache/deflate-block.ts';

/** Bytes that are no pattern, and always the same. */
function noise(bytes: number): Buffer {
  const parts: Buffer[] = [];
  for (let count = 0; count * 32 < bytes; count++) parts.push(createHash('sha256').update(`${count}`).digest());
  return Buffer.concat(parts).subarray(0, bytes);
}
const letters = (bytes: number): Buffer => Buffer.from(noise(bytes).toString('base64')).subarray(0, bytes);
const digits = (bytes: number): Buffer => Buffer.from(noise(bytes).toString('hex')).subarray(0, bytes);
const text = (bytes: number): Buffer =>
  Buffer.from(Array.from({ length: bytes / 8 }, (_, line) => `  const value${line} = read(${line * 7});`).join('\n'));

describe('a block of a cache is packed', () => {
  it.each([
    ['by repeats where there are any', text(1 << 20), 'repeats'],
    ['by its symbols alone where nothing comes twice', digits(1 << 20), 'symbols'],
    ['not at all where that would save a quarter alone', letters(1 << 20), 'none'],
    ['not at all where a search for repeats would save little', Buffer.concat([text(1 << 15), noise(7 << 17)]), 'none'],
    ['not at all where it is packed already', noise(1 << 20), 'none'],
    ['by repeats, one byte again and again', Buffer.alloc(1 << 20, 65), 'repeats'],
    ['by repeats, noise that comes again and again', Buffer.concat(Array(256).fill(noise(4096))), 'repeats'],
  ] as const)('%s', (_, bytes, way) => {
    expect(wayOf(bytes)).toBe(way);
  });

  it.each([0, 1, 100, 16_384, 16_385, 1 << 20])('and comes back as it was, %i bytes of it', (length) => {
    for (const bytes of [text(1 << 20), digits(1 << 20), noise(1 << 20), Buffer.alloc(1 << 20)])
      for (const effort of ['least', 0, 1, 9] as const) {
        const plain = bytes.subarray(0, length);
        const packed = deflated(plain, effort);
        if (packed !== null) expect(inflateRawSync(packed).equals(plain)).toBe(true);
        else expect(effort).toBe('least');
      }
  });

  it('as small as a search for repeats would make it, or nearly', () => {
    const mixed = Buffer.concat([digits(300_000), text(300_000), noise(100_000), digits(300_000)]);
    for (const bytes of [mixed, digits(1 << 20), text(1 << 20)]) {
      const [least, one] = [deflated(bytes, 'least'), deflated(bytes, 1)] as [Buffer, Buffer];
      expect(least.length).toBeLessThan(one.length * 1.3);
    }
  });
});
