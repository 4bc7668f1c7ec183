import { describe, expect, it } from 'vitest';
import type { Ledger } from '../../protocol/ledger.ts';
import { type Presence, planVoters } from '../../scheduler/raft/voter-plan.ts';
import { foundedMesh } from '../fixtures/founded-mesh.ts';
import { hostedGitlab } from '../fixtures/hosted-gitlab.ts';

interface Case {
  says: string;
  /** Voters now, as in SAFETY: 'A3 B2'. */
  now: string;
  nodes: string;
  left?: string;
  drained?: string;
  forgotten?: string;
  host?: string;
  /** Silent for this long, ms. */
  silent?: Record<string, number>;
  newStore?: string;
  expected: string | null;
}

const cases: Case[] = [
  { says: 'a founder stays alone', now: 'A2', nodes: 'A', expected: 'A2' },
  { says: 'the second makes the longest approved the tie-breaker', now: 'A2', nodes: 'AB', expected: 'A3 B2' },
  { says: 'the tie-breaker is the host, if it votes', now: 'A2', nodes: 'AB', host: 'B', expected: 'A2 B3' },
  { says: 'the tie-break does not move without need', now: 'A2 B3', nodes: 'AB', expected: 'A2 B3' },
  { says: 'the tie-break moves away from one that leaves', now: 'A2 B3', nodes: 'AB', left: 'B', expected: 'A3 B2' },
  { says: 'three need none', now: 'A3 B2', nodes: 'ABC', expected: 'A2 B2 C2' },
  { says: 'all that wait come at once', now: 'A2', nodes: 'ABCD', expected: 'A3 B2 C2 D2' },
  { says: 'seven at most', now: 'A2', nodes: 'ABCDEFGHI', expected: 'A2 B2 C2 D2 E2 F2 G2' },
  { says: 'who is drained does not vote', now: 'A2', nodes: 'ABC', drained: 'B', expected: 'A3 C2' },
  { says: 'who left goes', now: 'A2 B2 C2', nodes: 'ABC', left: 'C', expected: 'A3 B2' },
  { says: 'of two nobody goes, but the tie-break does', now: 'A3 B2', nodes: 'AB', left: 'A', expected: 'A2 B3' },
  { says: 'who is silent for 59 s stays', now: 'A2 B2 C2', nodes: 'ABC', silent: { C: 59_000 }, expected: 'A2 B2 C2' },
  { says: 'who is silent for 60 s goes', now: 'A2 B2 C2', nodes: 'ABC', silent: { C: 60_000 }, expected: 'A3 B2' },
  { says: 'never below two by silence', now: 'A3 B2', nodes: 'AB', silent: { B: 9e9 }, expected: 'A3 B2' },
  {
    says: 'of four with two silent, two stay, and one that is here breaks ties',
    now: 'A3 B2 C2 D2',
    nodes: 'ABCD',
    silent: { C: 70_000, D: 80_000 },
    expected: 'A3 B2',
  },
  {
    says: 'a silent host breaks no ties',
    now: 'A3 B2 C2 D2',
    nodes: 'ABCD',
    host: 'A',
    silent: { A: 70_000, D: 10 },
    expected: 'B2 C2 D2',
  },
  { says: 'the forgotten one goes, even of two', now: 'A3 B2', nodes: 'A', expected: 'A2' },
  { says: 'a node that is not here is not taken', now: 'A2', nodes: 'AB', silent: { B: 5000 }, expected: 'A2' },
  {
    says: 'a new store takes the place of the old one',
    now: 'A2 B2 C2',
    nodes: 'ABC',
    newStore: 'C',
    expected: 'A2 B2 C2*',
  },
  {
    says: 'no change that the nodes here could not carry',
    now: 'A2 B2 C2',
    nodes: 'ABC',
    silent: { B: 2000, C: 2000 },
    expected: null,
  },
];

function ledgerOf(one: Case): Ledger {
  const ledger = foundedMesh({ node: 'A', name: 'a', store: 'store-A', wallMs: 1 });
  const base = ledger.nodes.A!;
  ledger.nodes = {};
  for (const [index, node] of [...one.nodes].entries())
    ledger.nodes[node] = {
      ...base,
      name: node.toLowerCase(),
      approvedAt: index,
      store: one.newStore === node ? 'new-store' : `store-${node}`,
      left: one.left?.includes(node) ?? false,
      drained: one.drained?.includes(node) ?? false,
    };
  ledger.configuration = {
    voters: Object.fromEntries(
      one.now.split(' ').map((word) => [word[0]!, { store: `store-${word[0]}`, weight: Number(word[1]) }]),
    ),
    next: null,
  };
  ledger.gitlab = { ...ledger.gitlab, host: one.host ?? null };
  return ledger;
}

describe('who votes (SAFETY L4, L13, L14)', () => {
  it.each(cases)('$says', (one) => {
    const ledger = ledgerOf(one);
    const presence = (node: string): Presence => ({
      currentOn: ledger.nodes[node]?.store ?? null,
      silentMs: one.silent?.[node] ?? 0,
    });
    const plan = planVoters(ledger, presence);
    const shown =
      plan &&
      Object.entries(plan.voters)
        .sort(([a], [b]) => (a < b ? -1 : 1))
        .map(([node, { weight, store }]) => `${node}${weight}${store === 'new-store' ? '*' : ''}`)
        .join(' ');
    expect(shown).toBe(one.expected);
  });

  it('says why, with names', () => {
    const one: Case = { says: '', now: 'A2 B2 C2', nodes: 'ABCD', left: 'B', silent: { C: 61_000 }, expected: null };
    const ledger = ledgerOf(one);
    const plan = planVoters(ledger, (node) => ({
      currentOn: ledger.nodes[node]?.store ?? null,
      silentMs: one.silent?.[node] ?? 0,
    }));
    expect(plan?.because).toBe('d is here, b left, c has been silent for 61 s');
  });

  it('takes none of an earlier version while GitLab is on trial at a new host: as leader it would take it back to one that is dead', () => {
    const voters = (can: string[], unplanned: object | undefined): string[] => {
      const ledger = ledgerOf({ says: '', now: 'A2', nodes: 'AB', expected: null });
      const there = { place: { kind: 'image', path: '/srv/gitlab' } as const, hostname: '10.0.0.2' };
      const move = {
        from: 'C',
        to: 'A',
        there,
        back: there,
        since: 0,
        because: 'C is silent',
        ...(unplanned && { unplanned }),
      };
      const hosted = hostedGitlab({ move: move as never });
      const gitlab = { ...ledger.gitlab, mode: 'hosted' as const, host: 'A', epoch: 2, hosted };
      const nodes: Ledger['nodes'] = { ...ledger.nodes, B: { ...ledger.nodes.B!, can } };
      const plan = planVoters({ ...ledger, nodes, gitlab }, (node) => ({
        currentOn: nodes[node]?.store ?? null,
        silentMs: 0,
      }));
      return Object.keys(plan?.voters ?? {});
    };
    expect(voters(['hosting', 'copies', 'move'], {})).toEqual(['A']);
    expect(voters(['hosting', 'copies', 'move', 'failover'], {})).toEqual(['A', 'B']);
    expect(voters(['hosting', 'copies', 'move'], undefined)).toEqual(['A', 'B']);
    expect(voters(['hosting', 'copies'], undefined)).toEqual(['A']);
  });

  it('does not take a node before it has the ledger of this term', () => {
    const ledger = ledgerOf({ says: '', now: 'A2', nodes: 'AB', expected: null });
    const plan = planVoters(ledger, (node) => ({ currentOn: node === 'A' ? 'store-A' : null, silentMs: 0 }));
    expect(Object.keys(plan?.voters ?? {})).toEqual(['A']);
  });
});
