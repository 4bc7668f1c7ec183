import { expect, it } from 'vitest';
import type { HostedCopies } from '../../protocol/ledger-gitlab.ts';
import { CopyRules } from '../../scheduler/hosting/copies/copy-rules.ts';
import { brought, inTime, round, taken } from '../fixtures/copy-rounds.ts';

const copies = (members: string[], version = 1): HostedCopies => ({
  agreed: ['B'],
  standbys: [{ node: 'B', because: 'chosen' }],
  set: { version, members, last: null, boot: 'boot-one' },
  bases: { 1: round(1) },
});

it.each([true, false])(
  'one that a push waited for too long is waited for again after 12 rounds in time only; a member: %s',
  (isMember) => {
    const rules = new CopyRules({ self: 'A', era: 1, epoch: 1, boot: 'boot-one', data: 'd' });
    rules.ledger(copies(isMember ? ['B'] : []), 0);
    inTime(rules, 'B', 1, 12);
    rules.ask(1);
    taken(rules, 13, 61_000);
    expect(rules.due(62_900).release).toEqual([]);
    expect(rules.due(63_000).changes).toMatchObject([{ kind: 'copies-leave', nodes: ['B'] }]);
    rules.ledger(copies([], 2), 63_100);
    expect(rules.due(63_100).release).toEqual([{ id: 1, isAlone: true }]);
    // It lacks nothing yet that is older than a round, and its connection still stands.
    rules.ask(2);
    taken(rules, 14, 63_600);
    expect(rules.due(63_600)).toMatchObject({ release: [{ id: 2, isAlone: true }], changes: [] });
    brought(rules, 'B', 14, 64_000);
    inTime(rules, 'B', 15, 11);
    expect(rules.due(125_300).changes).toEqual([]);
    taken(rules, 26, 130_000);
    brought(rules, 'B', 26, 130_100);
    expect(rules.due(130_100).changes).toMatchObject([{ kind: 'copy-enters', node: 'B' }]);
  },
);
