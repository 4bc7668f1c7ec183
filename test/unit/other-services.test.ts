import { describe, expect, it } from 'vitest';
import { isAheadOf } from '../../node/hosting/other-services.ts';
import { keyOf } from '../../node/hosting/service-container.ts';
import type { Ledger } from '../../protocol/ledger.ts';

describe('a GitLab of a later epoch than this machine knows (SAFETY H8)', () => {
  const ledger = (epoch: number, recovery?: object) =>
    ({ mesh: { id: 'm' }, gitlab: { epoch }, recovery, era: { counter: 2 } }) as unknown as Ledger;
  const mine = { epoch: 3, side: 2 };

  it.each([
    ['of the ledger', 3, ledger(3), false],
    ['of before', 2, ledger(3), false],
    ['later: this ledger is behind', 4, ledger(3), true],
    ['of the era before a recovery by force, which gave it up', 4, ledger(3, {}), false],
    ['begun since that recovery, by an earlier version: this ledger is behind', 1003, ledger(3, {}), true],
    ['begun since that recovery: this ledger is behind', 1_000_002, ledger(3, mine), true],
    ['begun in another recovery of the same mesh', 1_000_003, ledger(3, mine), false],
    ['later in it', 1_002_003, ledger(3, mine), false],
  ])('%s', (_what, epoch, known, isAhead) => {
    expect(isAheadOf({ epoch, mesh: 'm' }, known)).toBe(isAhead);
    expect(isAheadOf({ epoch, mesh: 'another' }, known)).toBe(false);
  });
});

describe('a container is a GitLab of the mesh by its labels', () => {
  const gitlab = { 'autogit.gitlab': 'd', 'autogit.mesh': 'm', 'autogit.host': 'K', 'autogit.epoch': '3' };

  it.each<[string, Record<string, string>, boolean]>([
    ['ours', gitlab, true],
    ['another program of that name', { ...gitlab, 'autogit.epoch': 'three' }, false],
    // A container has those of its image, which a job names.
    ["a job's, whose image says so", { ...gitlab, 'autogit.run': 'r1', 'autogit.node': 'kang' }, false],
  ])('%s', (_, labels, isOne) => {
    expect(keyOf(labels, ['/autogit-gitlab-d'])).toEqual(isOne ? { data: 'd', mesh: 'm', host: 'K', epoch: 3 } : null);
  });
});
