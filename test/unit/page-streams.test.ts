import { describe, expect, it } from 'vitest';
import { EventReader } from '../../node/page/view/event-stream.ts';
import { newsOf, nothingYet, withNews } from '../../node/page/view/page-state.ts';
import { leaseTimings, mayConnect, readLease } from '../../node/page/view/tab-lease.ts';
import { traceParts } from '../../node/page/view/trace-text.ts';
import { house, jobs, now, timeline, trace, usage } from '../browser/sample-house.ts';

describe('server-sent events', () => {
  it('are whole, however they are cut into pieces', () => {
    const text = ': ping\n\nevent: status\ndata: {"a":\ndata: 1}\n\nretry: 1000\n\ndata: x\r\n\r\nevent: half\ndata: y';
    const expected = [
      { event: 'status', data: '{"a":\n1}' },
      { event: 'message', data: 'x' },
    ];
    for (const size of [1, 2, 3, 7, text.length]) {
      const reader = new EventReader();
      const pieces = text.match(new RegExp(`[\\s\\S]{1,${size}}`, 'g')) as string[];
      expect(
        pieces.flatMap((piece) => reader.read(piece)),
        `pieces of ${size}`,
      ).toEqual(expected);
    }
  });

  it('one without end ends the reading', () => {
    const reader = new EventReader();
    const megabyte = 'x'.repeat(1 << 20);
    expect(() => {
      for (let piece = 0; piece < 10; piece += 1) reader.read(megabyte);
    }).toThrow('without end');
  });
});

describe('the one connection of a browser', () => {
  it('is of the tab whose lease it is, until that is over', () => {
    const lease = { tab: 'a', until: now + leaseTimings.holdMs };
    expect(mayConnect(null, 'b', now)).toBe(true);
    expect(mayConnect(lease, 'a', now)).toBe(true);
    expect(mayConnect(lease, 'b', now)).toBe(false);
    expect(mayConnect(lease, 'b', now + leaseTimings.holdMs)).toBe(true);
  });

  it('a lease of a clock that was set back since holds nobody up', () => {
    expect(mayConnect({ tab: 'a', until: now + 3_600_000 }, 'b', now)).toBe(true);
  });

  it('whatever else stands there is none', () => {
    for (const text of [null, '', '{', '[]', '{"tab":1,"until":2}', 'null']) expect(readLease(text)).toBeNull();
    expect(readLease('{"tab":"a","until":2}')).toEqual({ tab: 'a', until: 2 });
  });

  it('a tab that opens later is told all that is known', () => {
    let state = withNews(nothingYet, { kind: 'status', status: house(), atMs: now });
    state = withNews(state, { kind: 'jobs', rows: jobs() });
    state = withNews(state, { kind: 'timeline', events: timeline() });
    state = withNews(state, { kind: 'usage', usage: usage() });
    state = withNews(state, { kind: 'lost', atMs: now + 5 });
    expect(newsOf(state).reduce(withNews, nothingYet)).toEqual(state);
  });
});

describe('a trace', () => {
  it('is text with the colours of a terminal, without what moves its cursor, and without marks of sections', () => {
    const parts = traceParts(trace);
    const text = parts.map((part) => part.text).join('');
    expect(text).toMatch(/^Running with autogit-node.*\n\$ python train\.py --epochs 40\nepoch 1 of 40/);
    expect(text).not.toMatch(/section|\[0K/);
    expect(parts.find((part) => part.text.startsWith('$'))).toMatchObject({ colour: 'green', isBold: true });
    expect(parts.at(-1)).toMatchObject({ colour: null, isBold: false });
  });

  it('shows of a line that is written over how it ended', () => {
    const text = traceParts('10 %\r50 %\r\u001b[32m100 %\u001b[0m\nnext\r\n')
      .map((part) => part.text)
      .join('');
    expect(text).toBe('100 %\nnext\n');
  });

  it('keeps its end, whole lines of it, and nothing that turns or hides text', () => {
    const long = `${'first line\n'.repeat(40_000)}last\u202e\u0007\u0000 line`;
    const text = traceParts(long)
      .map((part) => part.text)
      .join('');
    expect(text.length).toBeLessThanOrEqual(200_000);
    expect(text.startsWith('first line\n')).toBe(true);
    expect(text.endsWith('last line')).toBe(true);
  });
});
