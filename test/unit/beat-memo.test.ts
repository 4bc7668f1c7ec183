import { describe, expect, it } from 'vitest';
import { BeatMemo } from '../../node/network/beat-memo.ts';
import { decode, encode } from '../../protocol/codec.ts';
import { limits } from '../../protocol/limits.ts';
import { Envelope, type PeerMessage } from '../../protocol/messages.ts';

const era = { id: 'era-0', counter: 0 };
const stamp = { term: 4, version: 8 };
const ack = (round: number, store = 's1'): PeerMessage => ({ kind: 'ack', term: 4, round, stamp, store });
const append = (round: number): PeerMessage => ({
  kind: 'append',
  term: 4,
  round,
  stamp,
  committed: stamp,
  ledger: null,
});
const frame = (message: PeerMessage): Uint8Array => encode({ v: 1, era, message }, limits.frameBytes);
const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString();
const decoded = (bytes: Uint8Array): Envelope => decode(Envelope, bytes, limits.frameBytes);
function knowing(message: PeerMessage): BeatMemo {
  const memo = new BeatMemo();
  memo.keep(frame(message), decoded(frame(message)));
  return memo;
}

describe('a beat', () => {
  it.each([ack, append])('is known by the one before it, and says what decoding it says', (beat) => {
    const memo = knowing(beat(9));
    for (const round of [10, 0, 9, 123_456_789_012_345]) {
      const padded = Buffer.concat([Buffer.from('xx'), frame(beat(round)), Buffer.from('yy')]);
      const bytes = padded.subarray(2, padded.length - 2);
      expect(memo.read(bytes)).toEqual(decoded(frame(beat(round))));
    }
  });
  it('is decoded when anything but the round differs', () => {
    const memo = knowing(ack(9));
    const other = [ack(10, 's2'), { ...ack(10), stamp: null } as PeerMessage, append(10)];
    for (const message of other) expect(memo.read(frame(message))).toBeNull();
    expect(memo.read(encode({ v: 1, era: { ...era, counter: 1 }, message: ack(10) }, limits.frameBytes))).toBeNull();
  });
  it.each(['01', '', '-1', '1.5', '1e3', '"7"', ' 7', '1234567890123456', '7,"round":8'])(
    'whose round is written %o is decoded, and judged there',
    (round) => {
      const bytes = Buffer.from(text(frame(ack(9))).replace('"round":9', `"round":${round}`));
      expect(knowing(ack(9)).read(bytes)).toBeNull();
    },
  );
  it('is remembered only when its round stands in one place', () => {
    const twice = Buffer.from(text(frame(ack(9))).replace('"v":1', '"v":1,"newer":{"round":5}'));
    const memo = new BeatMemo();
    memo.keep(twice, decoded(twice));
    expect(memo.read(twice)).toBeNull();
  });
});
