import { describe, expect, it } from 'vitest';
import { Change } from '../../protocol/changes.ts';
import type { HostedCopies } from '../../protocol/ledger-gitlab.ts';
import { type RoundName, roundText } from '../../protocol/round-name.ts';
import { CopyRules } from '../../scheduler/hosting/copies/copy-rules.ts';
import { StandbyRules } from '../../scheduler/hosting/copies/standby-rules.ts';
import { brought, inTime, round, taken } from '../fixtures/copy-rounds.ts';

const of = { data: 'k3v9q2m4', epoch: 1 };

function copies(
  members: string[],
  version = 1,
  over: Partial<HostedCopies['set']> = {},
  standbys = ['B', 'C'],
): HostedCopies {
  return {
    agreed: ['B', 'C'],
    standbys: standbys.map((node) => ({ node, because: 'chosen' })),
    set: { version, members, last: null, boot: 'boot-one', ...over },
    bases: { 1: round(1) },
  };
}
/** As an earlier version lists them. */
const named = (...names: RoundName[]) => names.map((name) => ({ name, uuid: null }));
const rulesOf = (boot = 'boot-one'): CopyRules => new CopyRules({ self: 'A', era: 1, epoch: 1, boot, data: of.data });
function begun(set: HostedCopies): CopyRules {
  const rules = rulesOf();
  rules.ledger(set, 0);
  return rules;
}
const changesAt = (rules: CopyRules, at: number): Change[] =>
  rules.due(at).changes.map((change) => Change.parse(change));

describe('a push (SAFETY H10)', () => {
  it('is answered when every member has a round that began after it asked, and not by the number of another epoch', () => {
    const rules = begun(copies(['B', 'C']));
    rules.ask(1);
    taken(rules, 2, 100);
    rules.acknowledged('B', round(2), 200);
    rules.acknowledged('C', round(2, 0), 200);
    rules.acknowledged('C', round(9, 1, 0), 200);
    rules.acknowledged('C', round(9, 2), 200);
    rules.held('C', named(round(9, 1, 2)));
    expect(rules.due(200).release).toEqual([]);
    rules.acknowledged('C', round(2), 300);
    expect(rules.due(300).release).toEqual([{ id: 1, isAlone: false }]);
    expect(rules.due(300).release).toEqual([]);
  });

  it('that only an agent of before knew of throws no member out that has just been reached', () => {
    const rules = begun(copies(['B']));
    rules.ask(1, true);
    taken(rules, 2, 100);
    expect(rules.due(3000)).toMatchObject({ release: [], changes: [] });
    rules.acknowledged('B', round(2), 3100);
    expect(rules.due(3100).release).toEqual([{ id: 1, isAlone: false }]);
    rules.ask(2);
    taken(rules, 3, 4000);
    expect(changesAt(rules, 6500)).toMatchObject([{ kind: 'copies-leave', nodes: ['B'] }]);
  });

  it('goes on without a member that says more than a sentence of the mesh may hold', () => {
    const rules = begun(copies(['B']));
    rules.ask(1);
    taken(rules, 2, 100);
    rules.lost('B', 200, 'x'.repeat(1000), 'refused');
    expect(changesAt(rules, 6500)).toMatchObject([{ kind: 'copies-leave', nodes: ['B'] }]);
  });

  it('is not served by what a member holds of a time from which the host itself fell back', () => {
    const rules = begun(copies(['B']));
    taken(rules, 5, 50);
    rules.ask(1);
    taken(rules, 6, 100);
    rules.held('B', named(round(5), round(9), round(10 ** 12)));
    expect(rules.due(200).release).toEqual([]);
    expect(rules.numberHeld).toBe(9);
  });

  it('is not served by a round of that time whose name the host used again before it heard of it', () => {
    const rules = begun(copies(['B']));
    taken(rules, 5, 50);
    rules.ask(1);
    taken(rules, 6, 100);
    const own = [5, 6].map((number) => ({ name: round(number), uuid: `new-${number}` }));
    const listed = [5, 6, 7].map((number) => ({
      name: round(number),
      uuid: number === 5 ? 'new-5' : `lost-${number}`,
    }));
    rules.held('B', listed, own);
    expect(rules.due(200).release).toEqual([]);
    expect(rules.parentFor('B', [round(5), round(6)])).toEqual(round(5));
    expect(rules.numberHeld).toBe(7);
    expect(rules.isOvertaken).toBe(true);
    taken(rules, 8, 250);
    expect(rules.isOvertaken).toBe(false);
    // An earlier version tells no more than names.
    rules.held('B', named(round(6)), own);
    expect(rules.due(300).release).toEqual([{ id: 1, isAlone: false }]);
  });

  it('is answered by nobody before the ledger is known and has the boot of this agent', () => {
    const rules = rulesOf('boot-two');
    rules.ask(1);
    taken(rules, 2, 100);
    expect(rules.due(100)).toEqual({ release: [], changes: [], wakeAt: Number.POSITIVE_INFINITY });
    rules.ledger(copies([], 7), 100);
    expect(rules.due(100)).toEqual({
      release: [],
      changes: [{ kind: 'copies-begin', ...of, from: 7, boot: 'boot-two', base: null }],
      wakeAt: 1100,
    });
    expect(changesAt(rules, 600)).toEqual([]);
    expect(changesAt(rules, 1100)).toMatchObject([{ kind: 'copies-begin' }]);
    rules.ledger(copies([], 8, { boot: 'boot-two' }), 1200);
    expect(rules.due(1200)).toMatchObject({ release: [{ id: 1, isAlone: true }], changes: [] });
  });

  it('names the base of the epoch with the first word of all, the same one each time, and keeps it', () => {
    const rules = rulesOf('boot-two');
    rules.ledger({ ...copies([]), bases: {} }, 0);
    expect(changesAt(rules, 0)).toEqual([]);
    taken(rules, 1, 100);
    expect(changesAt(rules, 200)).toMatchObject([{ base: round(1) }]);
    taken(rules, 2, 5000);
    expect(changesAt(rules, 5100)).toMatchObject([{ base: round(1) }]);
    expect(rules.pins()).toEqual([round(1)]);
  });

  it('waits for nothing where nobody was asked to hold copies', () => {
    const rules = rulesOf();
    rules.ask(1);
    rules.ledger(null, 0);
    expect(rules.due(0)).toEqual({
      release: [{ id: 1, isAlone: true }],
      changes: [],
      wakeAt: Number.POSITIVE_INFINITY,
    });
  });

  it('goes on without a member that lacks its round for 2 s only when its removal is committed', () => {
    const rules = begun(copies(['B', 'C']));
    inTime(rules, 'B', 1, 1);
    brought(rules, 'C', 1, 5200);
    rules.ask(1);
    taken(rules, 2, 10_000);
    brought(rules, 'B', 2, 10_200);
    rules.lost('C', 10_100, 'connection refused');
    expect(rules.due(10_200)).toEqual({ release: [], changes: [], wakeAt: 12_000 });
    expect(rules.due(12_000)).toMatchObject({
      release: [],
      changes: [
        {
          kind: 'copies-leave',
          ...of,
          from: 1,
          nodes: ['C'],
          because: 'lacks a round that a push waits for: connection refused',
        },
      ],
    });
    expect(rules.due(60_000).release).toEqual([]); // a time-out proves nothing
    rules.ledger(copies(['B'], 2), 60_000);
    rules.ledger(copies(['B', 'C'], 1), 60_000); // of before, and told late
    expect(rules.due(60_000).release).toEqual([{ id: 1, isAlone: false }]);
  });
});

describe('a push that takes long to arrive', () => {
  const MiB = 1 << 20;
  function arriving(perSecond: number, seconds: number, over = begun(copies(['B']))): CopyRules {
    inTime(over, 'B', 1, 1);
    over.ask(1);
    taken(over, 2, 10_000);
    over.sent('B', round(2), round(1));
    for (let at = 10_100; at < 10_000 + seconds * 1000; at += 100) {
      over.moved('B', (perSecond * MiB) / 10, at);
      expect(changesAt(over, at)).toEqual([]);
    }
    return over;
  }

  it('throws nobody out while it arrives, nor while its disk takes it in; it waits for the round, and for nothing less', () => {
    const rules = arriving(11, 30);
    for (let at = 40_000; at < 48_000; at += 500) {
      rules.moved('B', 0, at);
      expect(rules.due(at)).toMatchObject({ release: [], changes: [] });
    }
    rules.acknowledged('B', round(2), 48_000);
    expect(rules.due(48_000)).toMatchObject({ release: [{ id: 1 }], changes: [] });
  });

  it('does when nothing is heard of it for 2 s, and when it comes slower than any line that is worth waiting for', () => {
    const rules = arriving(11, 30);
    expect(rules.due(30_000 + 9900)).toMatchObject({ changes: [], wakeAt: 41_900 });
    expect(changesAt(rules, 41_899)).toEqual([]);
    expect(changesAt(rules, 41_900)).toMatchObject([{ kind: 'copies-leave', nodes: ['B'] }]);
    const slow = begun(copies(['B']));
    inTime(slow, 'B', 1, 1);
    slow.ask(1);
    taken(slow, 2, 10_000);
    for (let at = 10_100; at < 13_000; at += 100) slow.moved('B', 100_000, at);
    expect(changesAt(slow, 13_000)).toMatchObject([{ kind: 'copies-leave' }]);
  });

  it('that is small is held up no longer than ever by who only says that it lives', () => {
    const rules = begun(copies(['B']));
    inTime(rules, 'B', 1, 1);
    rules.ask(1);
    taken(rules, 2, 10_000);
    for (let at = 10_100; at < 12_000; at += 100) rules.moved('B', 0, at);
    expect(changesAt(rules, 12_000)).toMatchObject([{ kind: 'copies-leave' }]);
  });
});

describe('the in-sync set (SAFETY H10)', () => {
  it('an idle member stays in it; one whose oldest lacking round is older than interval and 1 s leaves', () => {
    const rules = begun(copies(['B']));
    inTime(rules, 'B', 1, 1);
    expect(rules.due(3_600_000)).toEqual({ release: [], changes: [], wakeAt: Number.POSITIVE_INFINITY });
    taken(rules, 2, 3_600_000);
    taken(rules, 3, 3_605_000);
    expect(changesAt(rules, 3_606_000)).toEqual([]);
    expect(changesAt(rules, 3_606_001)).toMatchObject([{ kind: 'copies-leave', nodes: ['B'] }]);
  });

  it('one that lacks what the agent of before took last has the usual time from now on', () => {
    const rules = rulesOf();
    rules.durable(round(1), -60_000);
    rules.durable(round(2), -55_000); // taken as that agent ended, and brought to nobody
    rules.ledger(copies(['B']), 0);
    rules.held('B', named(round(1)));
    expect(changesAt(rules, 500)).toEqual([]);
    expect(changesAt(rules, 6001)).toMatchObject([{ kind: 'copies-leave', nodes: ['B'] }]);
  });

  it('one that has lost what it acknowledged leaves at once', () => {
    const rules = begun(copies(['B']));
    inTime(rules, 'B', 1, 3);
    rules.held('B', named(round(1)));
    expect(changesAt(rules, 15_300)).toMatchObject([
      { kind: 'copies-leave', nodes: ['B'], because: 'has not got any more what it acknowledged' },
    ]);
  });

  it('a newcomer is waited for from the decision on, counts as nobody, and is proposed when it has the newest round let go', () => {
    const rules = begun(copies([]));
    inTime(rules, 'B', 1, 11);
    expect(rules.due(55_300).changes).toEqual([]);
    taken(rules, 12, 60_000);
    brought(rules, 'B', 12, 60_100);
    rules.ask(1);
    taken(rules, 13, 60_600);
    // Decided in this very look: what began before it asked may not be answered without it.
    expect(rules.due(60_600)).toMatchObject({ release: [], changes: [{ kind: 'copy-enters', from: 1, node: 'B' }] });
    expect(rules.due(61_500).release).toEqual([]);
    brought(rules, 'B', 13, 61_600);
    expect(rules.due(61_600).release).toEqual([{ id: 1, isAlone: true }]);
    rules.ledger(copies(['B'], 2), 61_700);
    rules.ask(2);
    taken(rules, 14, 62_000);
    brought(rules, 'B', 14, 62_100);
    expect(rules.due(62_100)).toMatchObject({ release: [{ id: 2, isAlone: false }], changes: [] });
  });

  it('is not proposed behind a round with which a push was let go, nor by what an agent of before let go', () => {
    const rules = begun(copies([]));
    inTime(rules, 'B', 1, 11);
    taken(rules, 12, 60_000);
    rules.ask(1);
    taken(rules, 13, 60_100);
    expect(rules.due(60_100).release).toEqual([{ id: 1, isAlone: true }]);
    brought(rules, 'B', 12, 60_200);
    expect(changesAt(rules, 60_200)).toEqual([]);
    brought(rules, 'B', 13, 60_300);
    expect(changesAt(rules, 60_300)).toMatchObject([{ kind: 'copy-enters', node: 'B' }]);

    const next = begun(copies([]));
    for (let number = 1; number <= 12; number++) {
      next.durable(round(number), number * 5000); // taken by the agent of before
      brought(next, 'B', number, number * 5000 + 100);
    }
    expect(changesAt(next, 60_100)).toEqual([]);
    taken(next, 13, 65_000);
    brought(next, 'B', 13, 65_100);
    expect(changesAt(next, 65_100)).toMatchObject([{ kind: 'copy-enters', node: 'B' }]);
  });

  it('a newcomer that was asked for and falls silent is taken back by a change, never by time', () => {
    const rules = begun(copies([]));
    inTime(rules, 'B', 1, 12);
    rules.ask(1);
    taken(rules, 13, 61_000);
    expect(rules.due(62_900).release).toEqual([]);
    expect(rules.due(63_000)).toMatchObject({
      release: [],
      changes: [{ kind: 'copies-leave', from: 1, nodes: ['B'] }],
    });
    expect(rules.due(99_000).release).toEqual([]);
    rules.ledger(copies([], 2), 99_000);
    expect(rules.due(99_000).release).toEqual([{ id: 1, isAlone: true }]);
  });

  it('out three times within an hour is behind, and says when pushes wait for it again', () => {
    const rules = begun(copies(['B']));
    for (const [version, members] of [
      [2, []],
      [3, ['B']],
      [4, []],
      [5, ['B']],
      [6, []],
    ] as [number, string[]][])
      rules.ledger(copies(members, version), version * 1000);
    inTime(rules, 'B', 10, 20);
    expect(changesAt(rules, 150_000)).toEqual([]);
    expect(rules.seen(150_000).standbys[0]).toMatchObject({
      state: 'behind',
      because: 'it fell out of sync 3 times within an hour: pushes wait for it again in 58 min at the earliest',
    });
    expect(rules.due(150_000).wakeAt).toBe(3_602_000);
    expect(changesAt(rules, 3_602_000)).toMatchObject([{ kind: 'copy-enters', node: 'B' }]);
  });
});

describe('the meter and the pins', () => {
  it('goes by the worst machine that may be started, from when its round was taken', () => {
    const rules = begun(copies(['B', 'C']));
    for (const [number, at] of [
      [1, 5000],
      [2, 10_000],
      [3, 15_000],
    ] as const)
      taken(rules, number, at);
    brought(rules, 'B', 3, 15_900);
    expect(rules.seen(16_000)).toMatchObject({ newest: round(3), arePushesSafe: true, safeUntil: null });
    brought(rules, 'C', 1, 15_900);
    expect(rules.seen(16_000)).toMatchObject({ safeUntil: 5000 });
    rules.ledger(copies([], 2, { last: ['C'] }), 16_000);
    expect(rules.seen(16_000)).toMatchObject({ arePushesSafe: false, safeUntil: 5000, mayStart: ['C'] });
  });

  it('a pin moves by the handshake or by the acknowledgement of the round in flight, never by a late one', () => {
    const rules = begun(copies(['B']));
    for (const number of [1, 2, 3, 4]) taken(rules, number, number * 5000);
    rules.held('B', named(round(1), round(2)));
    expect(rules.parentFor('B', [round(1), round(2), round(3)])).toEqual(round(2));
    rules.sent('B', round(3), round(2));
    expect(rules.pinned()).toEqual({ B: round(2) });
    expect(rules.pins()).toEqual([round(1), round(2), round(3)]);
    rules.sent('B', round(4), round(2));
    rules.acknowledged('B', round(3), 20_500); // of an exchange of before: the host may have thinned it
    expect(rules.pinned()).toEqual({ B: round(2) });
    rules.acknowledged('B', round(4), 20_600);
    expect(rules.pinned()).toEqual({ B: round(4) });
    expect(
      new CopyRules({ self: 'A', era: 1, epoch: 1, boot: 'x', data: of.data, pins: rules.pinned() }).pins(),
    ).toEqual([round(4)]);
  });

  it('a standby takes rounds of the ledger alone, in order, on a parent that it has, and keeps what was named to it', () => {
    const rules = new StandbyRules();
    const ledger = { host: 'A', era: 1, epoch: 2 };
    const held = [round(9, 1), round(3, 2)].map((name) => ({ name, uuid: roundText(name) }));
    const why = (number: number, epoch = 2, from = 'A', parent: RoundName | null = null): string | null =>
      rules.whyNot(from, { name: round(number, epoch), parent, uuid: roundText(round(number, epoch)) }, ledger, held);
    expect(why(4)).toBeNull();
    expect(why(3)).toBeNull(); // acknowledged again
    expect(why(4, 2, 'A', round(9, 1))).toBeNull();
    expect(why(2)).toBe('round 1-2-3 is here, and 1-2-2 is older');
    expect(why(4, 1)).toBe("round 1-1-4 is not of the ledger's epoch, 1-2");
    expect(why(4, 2, 'D')).toBe('rounds are taken from the host of the ledger alone');
    expect(why(4, 2, 'A', round(8, 1))).toBe('its parent 1-1-8 is not whole on this disk');
    expect(rules.whyNot('A', { name: round(3, 2), parent: null, uuid: 'of another' }, ledger, held)).toBe(
      'another round is here under the name 1-2-3',
    );
    rules.named({ name: round(5, 2), parent: round(3, 2) }, [round(1, 2)]);
    rules.named({ name: round(4, 2), parent: round(9, 1) }, []);
    expect(rules.pins([], round(9, 1), 2)).toEqual([round(3, 2), round(9, 1), round(1, 2)]);
    // The leader was told of it: until the ledger is past that epoch it stays.
    rules.promise(2, round(7, 2));
    expect(rules.pins([], null, 2)).toContainEqual(round(7, 2));
    expect(rules.pins([], null, 3)).not.toContainEqual(round(7, 2));
    expect(new StandbyRules().pins([{ name: round(4, 2), parent: round(3, 2) }], null, 2)).toEqual([round(3, 2)]);
  });
});
