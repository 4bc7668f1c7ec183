import { expect, it } from 'vitest';
import { copiesSeen } from '../../node/hosting/replica/copies-seen.ts';
import { fullProblem, standbyIsFull } from '../../node/hosting/replica/replica-problem.ts';
import { isFull, pressureAt } from '../../node/hosting/replica/round-room.ts';

const name = (number: number) => ({ era: 0, epoch: 1, number });
type Seen = Parameters<typeof copiesSeen>[0];
const standby = (node: string, number: number, takenAt: number) => ({
  ...{ node, round: name(number), takenAt, state: 'in-sync' as const, because: 'every answered push is on its disk' },
});
const rules: Seen = {
  ...{ newest: name(9), arePushesSafe: true, safeUntil: 90_000, mayStart: ['B'] },
  standbys: [standby('B', 9, 90_000)],
};
const host = {
  ...{ bootMs: 100_000, wallMs: 1_000_000, problem: null, idleMs: Number.NEGATIVE_INFINITY, usedBytes: 5000 },
  bulkUntil: (_node: string): number | null => 95_000,
  progressOf: (_node: string): number | null => null,
};

it('says by the wall clock until when all is safe: the worse of both parts', () => {
  expect(copiesSeen(rules, host)).toMatchObject({ arePushesSafe: true, safeUntil: 990_000 });
  expect(copiesSeen(rules, host).standbys[0]?.takenAt).toBe(990_000);
  expect(copiesSeen(rules, { ...host, bulkUntil: () => 80_000 }).safeUntil).toBe(980_000);
  expect(copiesSeen(rules, { ...host, bulkUntil: () => null })).toMatchObject({ arePushesSafe: true, safeUntil: null });
});

it('knows that nothing was written since: safe is until the last look, but only for who has the newest round', () => {
  const idle = { ...host, idleMs: 99_000, bulkUntil: () => 99_000 };
  expect(copiesSeen(rules, idle).safeUntil).toBe(999_000);
  const behind = {
    ...rules,
    safeUntil: 70_000,
    mayStart: ['B', 'C'],
    standbys: [standby('B', 9, 90_000), standby('C', 7, 70_000)],
  };
  expect(copiesSeen(behind, idle).safeUntil).toBe(970_000);
});

it('claims no more for who left an empty set last, or is to enter, than for a member', () => {
  const away = { ...standby('B', 7, 70_000), state: 'away' as const };
  const empty = { ...rules, arePushesSafe: false, safeUntil: 70_000, standbys: [away] };
  const idle = { ...host, idleMs: 99_000, bulkUntil: () => 99_000 };
  expect(copiesSeen(empty, idle).safeUntil).toBe(970_000);
  expect(copiesSeen(empty, { ...idle, bulkUntil: () => 60_000 }).safeUntil).toBe(960_000);
});

it('calls nothing safe that is not all in a round', () => {
  const problem = 'nested is a subvolume of its own';
  expect(copiesSeen(rules, { ...host, problem })).toMatchObject({ arePushesSafe: false, safeUntil: null, problem });
});

it('says how far a whole copy is, never more than all', () => {
  expect(copiesSeen(rules, { ...host, progressOf: () => 4000 }).standbys[0]?.progress).toEqual({
    ...{ doneBytes: 4000, totalBytes: 5000 },
  });
  expect(copiesSeen(rules, { ...host, progressOf: () => 6000 }).standbys[0]?.progress?.totalBytes).toBe(6000);
});

it('gives up history for room one step at a time, and takes nothing more where little is left', () => {
  const free = (share: number) => ({ freeBytes: share * 1000, totalBytes: 1000 });
  expect([0, 1, 2, 3].map((before) => pressureAt(free(0.05), before as 0))).toEqual([1, 2, 3, 3]);
  expect(pressureAt(free(0.2), 3)).toBe(0);
  expect([isFull(free(0.02)), isFull(free(0.05))]).toEqual([true, false]);
  expect(standbyIsFull(fullProblem('no room for another round', 'make room').message)).toBe(true);
  expect(standbyIsFull('its disk is read-only')).toBe(false);
});
