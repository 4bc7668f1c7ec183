import { describe, expect, it } from 'vitest';
import { LedgerMemo } from '../../node/network/ledger-memo.ts';
import { decode, encode, jsonOf } from '../../protocol/codec.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import { limits } from '../../protocol/limits.ts';
import { Envelope, encodeEnvelope } from '../../protocol/messages.ts';
import { three } from './raft-one.ts';

const frame = (ledger: unknown): Uint8Array => {
  const stamp = { term: 4, version: 8 };
  const message = { kind: 'append', term: 4, round: 1, stamp, committed: stamp, ledger };
  return encode({ v: 1, era: { id: 'era-0', counter: 0 }, message }, limits.frameBytes);
};
const decoded = (bytes: Uint8Array): Envelope => decode(Envelope, bytes, limits.frameBytes);
const ledgerOf = ({ message }: Envelope): Ledger => (message as { ledger: Ledger }).ledger;
const requests = (from: number, to: number): Ledger['requests'] =>
  Array.from({ length: to - from }, (_, index) => ({ id: `q${from + index}`, because: 'done' }));

describe('a ledger on a link', () => {
  it('says what decoding it alone says, whatever changed since the one before', () => {
    const base = three();
    const { tally: _, ...without } = base;
    const story: unknown[] = [
      base,
      { ...base, requests: requests(0, 3) },
      { ...base, requests: requests(1, 9) },
      { ...base, requests: requests(20, 30), newer: { a: [1, { b: 2 }] } },
      { ...base, requests: [...requests(25, 30), { ...requests(30, 31)[0], extra: 1 }], newer: { a: [1, { b: 3 }] } },
      {
        ...base,
        requests: requests(28, 29),
        nodes: { ...base.nodes, D: { ...base.nodes.A, name: 'd', more: 'kept' } },
      },
      { ...base, requests: [], acts: [{ kind: 'forget', at: 1, sentence: 's' }] },
      { ...base, configuration: { ...base.configuration, next: base.configuration.voters } },
      { ...base, settings: { ...base.settings, graceMs: 77 } },
    ];
    const memo = new LedgerMemo();
    for (const ledger of story) expect(memo.decode(frame(ledger))).toEqual(decoded(frame(ledger)));
    expect(() => memo.decode(frame(without))).toThrow(/tally/);
    expect(memo.decode(frame(null))).toEqual(decoded(frame(null)));
  });
  it('is the same object where it says the same, so nobody looks at it again', () => {
    const memo = new LedgerMemo();
    const first = ledgerOf(memo.decode(frame({ ...three(), requests: requests(0, 64) })));
    const next = ledgerOf(
      memo.decode(frame({ ...three(), requests: requests(1, 65), stamp: { term: 4, version: 9 } })),
    );
    expect(next.stamp).toEqual({ term: 4, version: 9 });
    expect(next.nodes).toBe(first.nodes);
    expect(next.configuration).toBe(first.configuration);
    expect(next.requests[0]).toBe(first.requests[1]);
    expect(first.requests).toEqual(requests(0, 64));
  });
  it.each([
    ['a new request', (one: Ledger) => ({ ...one, requests: [...one.requests, { id: '', because: 'no id' }] })],
    ['too many requests', (one: Ledger) => ({ ...one, requests: [...one.requests, ...requests(100, 200)] })],
    ['a part', (one: Ledger) => ({ ...one, pairUntil: -1 })],
    ['a part that is gone', (one: Ledger) => ({ ...one, runs: undefined })],
    ['something else', () => [1, 2]],
  ])('is refused with the same words when %s is bad, and the good one is known still', (_, broken) => {
    const good = { ...three(), requests: requests(0, 10) };
    const memo = new LedgerMemo();
    memo.decode(frame(good));
    const bad = frame(broken(good));
    const words = (read: () => unknown): string => {
      try {
        read();
        return 'taken';
      } catch (error) {
        return (error as Error).message;
      }
    };
    expect(words(() => memo.decode(bad))).toBe(words(() => decoded(bad)));
    expect(words(() => memo.decode(bad))).not.toBe('taken');
    expect(memo.decode(frame(good))).toEqual(decoded(frame(good)));
  });
});

describe('a ledger that goes to many', () => {
  const envelope = (ledger: Ledger | null, away?: string[]): Envelope => {
    const stamp = { term: 4, version: 8 };
    const append = { kind: 'append', term: 4, round: 1, stamp, committed: stamp, ledger } as const;
    return { v: 1, era: { id: 'era-0', counter: 0 }, message: away ? { ...append, away } : append };
  };
  it('is made a text once, for all followers and the disk', () => {
    let made = 0;
    const ledger = { ...three(), newer: 'kept' };
    Object.defineProperty(ledger, 'toJSON', {
      value: () => {
        made += 1;
        return { ...ledger };
      },
    });
    const frames = [encodeEnvelope(envelope(ledger)), encodeEnvelope(envelope(ledger, ['D']))];
    expect(JSON.parse(jsonOf(ledger))).toEqual({ ...ledger });
    expect(made).toBe(1);
    expect(frames.map(decoded)).toEqual([envelope({ ...ledger }), envelope({ ...ledger }, ['D'])]);
  });
  it('is refused when it is too long, and other messages say what they say', () => {
    const long = { ...three(), newer: 'x'.repeat(limits.frameBytes) };
    expect(() => encodeEnvelope(envelope(long))).toThrow(/over the limit/);
    expect(decoded(encodeEnvelope(envelope(null)))).toEqual(envelope(null));
  });
});
