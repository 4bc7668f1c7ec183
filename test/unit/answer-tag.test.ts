import { describe, expect, it } from 'vitest';
import { tagOf } from '../../node/local-api/routes.ts';

const status = (changed: object = {}, node: object = {}) => ({
  at: '2026-11-30T05:00:00.000Z',
  ageMs: 120.5,
  leader: { node: 'kang', term: 3, since: '2026-11-30T04:00:00.000Z' },
  nodes: [{ node: 'kang', lastHeardMs: 0, because: null, ...node }],
  ...changed,
});
const tag = tagOf(status());

/** What `wait` and the page's events are told by: whether something changed that is not merely its age. */
describe('the tag of an answer', () => {
  it.each([
    ['at', status({ at: '2026-11-30T05:00:01.000Z' })],
    ['ageMs', status({ ageMs: 1e-7 })],
    ['since', status({ leader: { node: 'kang', term: 3, since: '2026-11-30T04:00:00.010Z' } })],
    ['lastHeardMs', status({}, { lastHeardMs: 400 })],
    ['lastHeardMs of one that was never heard', status({}, { lastHeardMs: null })],
  ])('is the same where only %s is another', (_, aged) => {
    expect(tagOf(aged)).toBe(tag);
  });

  it.each([
    ['another leader', status({ leader: { node: 'nas', term: 3, since: '2026-11-30T04:00:00.000Z' } })],
    ['another sentence', status({}, { because: 'is drained' })],
    ['one that looks like an age', status({}, { because: '"at":"1","since":2' })],
    ['a sentence less', status({ nodes: [] })],
  ])('is another for %s', (_, changed) => {
    expect(tagOf(changed)).not.toBe(tag);
  });

  it('of two sentences that look like ages is not the same', () => {
    const saying = (because: string) => tagOf(status({}, { because }));
    expect(saying('"at":"1",')).not.toBe(saying('"at":"2",'));
    expect(saying('\\"at":"1",')).not.toBe(saying('\\"at":"2",'));
    expect(saying('x","at":"1')).not.toBe(saying('x","at":"2'));
  });
});
