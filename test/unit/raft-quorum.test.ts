import { describe, expect, it } from 'vitest';
import type { Configuration, Voters } from '../../protocol/ledger.ts';
import {
  hasMajority,
  hasQuorum,
  isVoter,
  quorumContact,
  rankedVoters,
  sameVoters,
} from '../../scheduler/raft/quorum.ts';

/** 'A3 B2' is what SAFETY L4 writes. */
const voters = (text: string): Voters =>
  Object.fromEntries(
    text
      .split(' ')
      .filter((word) => word !== '')
      .map((word) => [word[0]!, { store: `store-${word[0]}`, weight: Number(word[1] ?? 2) }]),
  );
const simple = (text: string): Configuration => ({ voters: voters(text), next: null });
const joint = (old: string, next: string): Configuration => ({ voters: voters(old), next: voters(next) });
const these = (nodes: string) => (node: string) => nodes.includes(node);

describe('a majority by weight', () => {
  it.each([
    ['A2', 'A', true],
    ['A2', '', false],
    ['A3 B2', 'A', true],
    ['A3 B2', 'B', false],
    ['A2 B2 C2', 'A', false],
    ['A2 B2 C2', 'BC', true],
    ['A3 B2 C2 D2', 'AB', true],
    ['A3 B2 C2 D2', 'CD', false],
    ['A3 B2 C2 D2', 'BCD', true],
    ['A2 B2', 'A', false],
    ['A2 B2 C2 D2 E2', 'ABC', true],
    ['A2 B2 C2 D2 E2', 'AB', false],
    ['', 'A', false],
  ])('of %s: %s -> %s', (all, have, expected) => {
    expect(hasMajority(voters(all), these(have))).toBe(expected);
  });

  it('leaves no room for another one: two disjoint sets never both have it', () => {
    for (const all of ['A2', 'A3 B2', 'A2 B2 C2', 'A3 B2 C2 D2', 'A2 B2 C2 D2 E2', 'A3 B2 C2 D2 E2 F2']) {
      const nodes = Object.keys(voters(all));
      for (let bits = 0; bits < 1 << nodes.length; bits += 1) {
        const one = nodes.filter((_, index) => bits & (1 << index)).join('');
        const rest = nodes.filter((_, index) => !(bits & (1 << index))).join('');
        expect(hasMajority(voters(all), these(one)) && hasMajority(voters(all), these(rest))).toBe(false);
      }
    }
  });
});

describe('what SAFETY L4 warns of: the old and the new majority can be disjoint', () => {
  it.each([
    ['A3 B2 C2 D2', 'A2 C2 D2', 'AB', 'CD'],
    ['A3 B2', 'A2 B3', 'A', 'B'],
  ])('%s -> %s: %s and %s', (old, next, oldHave, nextHave) => {
    expect(hasMajority(voters(old), these(oldHave))).toBe(true);
    expect(hasMajority(voters(next), these(nextHave))).toBe(true);
    expect([...oldHave].some((node) => nextHave.includes(node))).toBe(false);
    // In the joint configuration neither is enough.
    expect(hasQuorum(joint(old, next), these(oldHave))).toBe(false);
    expect(hasQuorum(joint(old, next), these(nextHave))).toBe(false);
    expect(hasQuorum(joint(old, next), these(oldHave + nextHave))).toBe(true);
  });

  it('is two majorities, never a sum (SAFETY L2)', () => {
    expect(hasQuorum(joint('A2', 'B2 C2 D2'), these('BCD'))).toBe(false);
    expect(hasQuorum(joint('A2', 'B2 C2 D2'), these('ABC'))).toBe(true);
  });
});

describe('a voter', () => {
  it('is a node with a store', () => {
    expect(isVoter(simple('A2 B2 C2'), 'A', 'store-A')).toBe(true);
    expect(isVoter(simple('A2 B2 C2'), 'A', 'another')).toBe(false);
    expect(isVoter(joint('A2', 'A2 B3'), 'B', 'store-B')).toBe(true);
    expect(hasMajority(voters('A2 B2 C2'), (node, store) => node !== 'C' && store === 'store-A')).toBe(false);
  });
  it('is ranked by weight, then by id', () => {
    expect(rankedVoters(simple('B2 C3 A2 D2'))).toEqual(['C', 'A', 'B', 'D']);
    expect(rankedVoters(joint('A2 B2 C2', 'C3 D2'))).toEqual(['C', 'A', 'B', 'D']);
  });
  it('compares with weight and store', () => {
    expect(sameVoters(voters('A3 B2'), voters('B2 A3'))).toBe(true);
    expect(sameVoters(voters('A3 B2'), voters('A2 B3'))).toBe(false);
    expect(sameVoters(voters('A3 B2'), voters('A3 B2 C2'))).toBe(false);
  });
});

describe('the contact of a quorum', () => {
  const at = (times: Record<string, number>) => (node: string) => times[node] ?? Number.NEGATIVE_INFINITY;
  it.each([
    ['A2 B2 C2', { A: 30, B: 20, C: 10 }, 20],
    ['A3 B2', { A: 30, B: 10 }, 30],
    ['A2 B2 C2', { A: 30 }, Number.NEGATIVE_INFINITY],
    ['A3 B2 C2 D2', { A: 40, B: 5, C: 20, D: 10 }, 20],
  ])('of %s with %o', (all, times, expected) => {
    expect(quorumContact(simple(all), at(times as Record<string, number>))).toBe(expected);
  });
  it('is the older of both halves', () => {
    expect(quorumContact(joint('A2', 'B2'), at({ A: 30, B: 10 }))).toBe(10);
  });
});
