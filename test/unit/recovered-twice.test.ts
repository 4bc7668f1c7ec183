import { describe, expect, it } from 'vitest';
import { isAheadOf } from '../../node/hosting/other-services.ts';
import { fencedEpoch } from '../../protocol/fenced.ts';
import { Ledger } from '../../protocol/ledger.ts';
import { limits } from '../../protocol/limits.ts';
import { compareRounds } from '../../protocol/round-name.ts';
import { epochAfter, epochFollowing, epochsUnheard, isEpochAfter } from '../../scheduler/hosting/epochs.ts';
import { forksOf, goesOnWithout, isBeside, leavingSides, sidesOfLeft } from '../../scheduler/hosting/sides.ts';
import { eraCounterAfter } from '../../scheduler/raft/recovery.ts';
import { whyNoPush } from '../../scheduler/two-sides.ts';
import { copiesLab } from './copies-lab.ts';
import type { Lab } from './jobs-lab.ts';
import { One, three } from './raft-one.ts';
import { viewOf } from './snapshot-lab.ts';

/*
 * A person says `recover --force` on two machines that do not see each other (SAFETY H10, L15), and GitLab goes on on both. Here kang is on
 * side 2, which has the higher era in the end, and desktop-1 was on side 1.
 */

const bases = { '3': { era: 0, epoch: 2, number: 9 } };
const nextOfKang = 1_000_002;

const recovered = (was: Ledger, over: Partial<Ledger['recovery'] & object> = {}): NonNullable<Ledger['recovery']> => ({
  ...{ by: 'kang', at: 1, off: ['desktop-1'], unseen: [], from: { era: was.era, stamp: was.stamp } },
  ...{ epoch: 3, side: 2, ...over },
});

/** `begun`: GitLab goes on in that epoch, made of the last round of before; else at its host as it was. */
function mesh(begun: number | null, over: Partial<Ledger['recovery'] & object> = {}): Lab {
  const lab = copiesLab(['desktop-1'], {}, 'http://g');
  const { gitlab, ...was } = lab.committed;
  const all = begun === null ? bases : { ...bases, [begun]: { era: 0, epoch: 3, number: 40 } };
  const hosted = { ...gitlab.hosted!, copies: { ...gitlab.hosted!.copies!, bases: all } };
  lab.committed = Ledger.parse({
    ...was,
    ...{ era: { id: 'of-kang', counter: 2 }, recovery: recovered(lab.committed, over) },
    gitlab: { ...gitlab, epoch: begun ?? 3, hosted },
  });
  lab.accepted = lab.committed;
  lab.run(5000);
  return lab;
}

function says(lab: Lab, names: string[]): string[] {
  const { data } = lab.committed.gitlab.hosted!;
  const fenced = names.map((name) => ({ name, at: 1, bytes: null, took: 'more' as const }));
  lab.feed('desktop-1', { kind: 'standby-seen', report: { data, newest: null, freeBytes: 0, problem: null, fenced } });
  lab.run(5000);
  return (lab.committed.gitlab.hosted?.sides?.open ?? []).map(({ name }) => name);
}

describe('a mesh that was recovered by force on several machines', () => {
  /** As the machine of that name recovers it. */
  function recoverOn(self: string, epoch: number): Ledger {
    const base = three();
    const gitlab = {
      ...base.gitlab,
      mode: 'hosted' as const,
      host: 'C',
      epoch,
      hosted: mesh(null).committed.gitlab.hosted!,
    };
    const one = new One({ ...base, gitlab });
    Object.assign(one.state, { identity: { ...one.state.identity, node: self } });
    const off = ['a', 'b', 'c'].filter((name) => name !== self.toLowerCase());
    one.feed({ kind: 'ticked' }, 60_000).feed({ kind: 'recovery-asked', id: 'r', era: `of-${self}`, seenOff: off });
    return one.state.raft.accepted;
  }

  it('has another era on each, and no two ever begin the same epoch of GitLab', () => {
    for (const epoch of [1, 2, 3, 998, 1003, 77_001, 1_000_002, 3_000_002]) {
      const sides = ['A', 'B', 'C'].map((node) => recoverOn(node, epoch));
      expect(new Set(sides.map(({ era }) => era.counter)).size).toBe(3);
      const begun = sides.map((ledger) => {
        const epochs: number[] = [];
        for (let at = epochAfter(ledger); epochs.length < 40; at = epochFollowing(at, ledger)) epochs.push(at);
        return epochs;
      });
      expect(new Set(begun.flat()).size).toBe(3 * 40);
      for (const epochs of begun) {
        // Above all that the era of before may have used, in its steps, and each above the one before.
        expect(epochs[0]).toBeGreaterThan(epoch + 500 * epochsUnheard);
        expect([...epochs].sort((a, b) => a - b)).toEqual(epochs);
      }
    }
  });

  it('sorts the rounds of the side that goes on above all of another one, so they are the newest', () => {
    const [low, high] = ['A', 'B'].map((node) => recoverOn(node, 3)) as [Ledger, Ledger];
    const of = ({ era }: Ledger, epoch: number) => ({ era: era.counter, epoch, number: 1 });
    const later = epochFollowing(epochAfter(low), low);
    expect(compareRounds(of(high, 3), of(low, later))).toBeGreaterThan(0);
  });

  it('knows what was served on the other side, whichever epochs it had, from what is its own', () => {
    const own = epochFollowing(nextOfKang, mesh(nextOfKang).committed);
    const forks = forksOf(mesh(nextOfKang).committed);
    const beside = (epoch: number): boolean => isBeside(forks, epoch);
    expect([2, 3, 4, 1003, 1_000_001, 1_001_001, 9_000_001].map(beside)).toEqual([false, ...Array(6).fill(true)]);
    expect([nextOfKang, own, own + 5000].map(beside)).toEqual([false, false, false]);
    // Where GitLab went on at its host, the epoch of then is its own.
    const stayed = forksOf(mesh(null).committed);
    expect([3, 4, 1_000_001, nextOfKang].map((epoch) => isBeside(stayed, epoch))).toEqual([false, true, true, false]);
    // A second recovery on another side ends that: what the first one began after it is beside, too.
    const first = mesh(nextOfKang).committed;
    const one = new One(three());
    Object.assign(one.state.raft, {
      accepted: { ...three(), era: first.era, gitlab: { ...first.gitlab, host: 'C' }, recovery: first.recovery },
    });
    one.feed({ kind: 'ticked' }, 60_000).feed({ kind: 'recovery-asked', id: 's', era: 'third', seenOff: ['a', 'c'] });
    const { gitlab, ...third } = one.state.raft.accepted;
    expect(gitlab.hosted?.sides?.forks).toEqual([{ from: 3, below: nextOfKang + 1, side: 2 }]);
    expect(gitlab.hosted?.sides?.forks.length).toBeLessThan(limits.counter);
    // Another one than in the era before, though it were the same machine.
    expect(third.recovery).toMatchObject({ epoch: nextOfKang, side: 66 });
    const after = forksOf({ ...third, gitlab });
    expect([4, nextOfKang, own, 2_000_066].map((epoch) => isBeside(after, epoch))).toEqual([true, false, true, false]);
  });

  it.each([
    ['GitLab stayed at its host', null],
    ['GitLab began anew', nextOfKang],
  ] as const)('takes no push once the other side has come over, before somebody has looked: %s', (_what, begun) => {
    const lab = mesh(begun);
    expect(says(lab, ['fenced-1000001'])).toEqual(['fenced-1000001']);
    expect(whyNoPush(viewOf(lab, 'kang'), lab.committed, 'kang')).toContain('gitlab diff fenced-1000001');
    const own = mesh(begun);
    expect(says(own, [`fenced-${nextOfKang}`, `fenced-${nextOfKang + epochsUnheard}`])).toEqual([]);
  });

  it('keeps what was served beside out of the way, unless these may be the newest data: its own host is still off', () => {
    const { committed } = mesh(null);
    const hostIs = (host: string, unseen: string[]): Ledger => ({
      ...{ ...committed, recovery: recovered(committed, { unseen }) },
      gitlab: { ...committed.gitlab, host },
    });
    const epoch = fencedEpoch('fenced-1000001');
    expect(goesOnWithout(committed, epoch)).toBe(true);
    expect(goesOnWithout(hostIs('desktop-2', ['desktop-2']), epoch)).toBe(false);
    expect(goesOnWithout(hostIs('desktop-2', []), epoch)).toBe(true);
    expect(goesOnWithout(committed, nextOfKang)).toBe(false);
    expect(goesOnWithout(null, epoch)).toBe(false);
  });

  it('takes what an earlier version counted for what follows, too', () => {
    const { committed } = mesh(null);
    expect([4, 1003, nextOfKang].map((epoch) => isEpochAfter(epoch, 3, committed))).toEqual([true, true, true]);
    expect([3, 5, 2003, 1_000_001].map((epoch) => isEpochAfter(epoch, 3, committed))).toEqual(Array(4).fill(false));
    expect(isEpochAfter(nextOfKang, 3, null)).toBe(false);
  });
});

/** Recovered by an earlier version, which knows no sides: its next epoch is 1003, and those that follow are as far apart. */
describe('a mesh that was recovered by force by an earlier version', () => {
  const before = { side: undefined };
  const beside = (ledger: Ledger, epoch: number): boolean => isBeside(forksOf(ledger), epoch);

  it('is of a lower era than what this version begins on any machine, so that its rules are the ones of both', () => {
    for (const node of ['A', 'B', 'C']) {
      const one = new One(three());
      expect(eraCounterAfter(one.state.raft, node)).toBeGreaterThan(three().era.counter + 1);
    }
  });

  it.each([
    ['GitLab stayed at its host', null],
    ['GitLab began anew', 1003],
  ] as const)('knows what this version began beside, whatever its machine: %s', (_what, begun) => {
    const { committed } = mesh(begun, before);
    expect([nextOfKang, 1_000_001, 1_001_001, 2_000_066].map((epoch) => beside(committed, epoch))).toEqual(
      Array(4).fill(true),
    );
    // It gives that up, and sets it aside: it is not behind.
    expect(isAheadOf({ epoch: 1_000_001, mesh: committed.mesh.id }, committed)).toBe(false);
    expect(goesOnWithout(committed, 1_000_001)).toBe(true);
    const lab = mesh(begun, before);
    expect(says(lab, ['fenced-1000001'])).toEqual(['fenced-1000001']);
    expect(whyNoPush(viewOf(lab, 'kang'), lab.committed, 'kang')).toContain('gitlab diff fenced-1000001');
  });

  it('is upgraded machine by machine: what it serves is its own whichever version counts, and what was beside stays so', () => {
    const own = mesh(1003, before);
    let { committed: ledger } = own;
    for (let moves = 0; moves < 40; moves++) {
      const { epoch } = ledger.gitlab;
      const next = epochAfter(ledger);
      // As the version of before counts.
      expect(next).toBe(epoch + epochsUnheard);
      const copies = ledger.gitlab.hosted!.copies!;
      const moved = { ...copies.bases, [next]: { era: ledger.era.counter, epoch, number: 1 } };
      const hosted = { ...ledger.gitlab.hosted!, copies: { ...copies, bases: moved } };
      ledger = { ...ledger, gitlab: { ...ledger.gitlab, epoch: next, hosted } };
      expect([epoch, next].map((one) => beside(ledger, one))).toEqual([false, false]);
      expect(isAheadOf({ epoch: next + epochsUnheard, mesh: ledger.mesh.id }, ledger)).toBe(true);
    }
    expect([3, 4, 1002].map((epoch) => beside(ledger, epoch))).toEqual([true, true, true]);
    expect(says(own, ['fenced-3', 'fenced-1003'])).toEqual(['fenced-3']);
  });

  /** By this version, on B. */
  function recoveredAgain(was: Ledger): Ledger {
    const one = new One(three());
    const { era, gitlab, recovery } = was;
    Object.assign(one.state.raft, { accepted: { ...three(), era, gitlab: { ...gitlab, host: 'C' }, recovery } });
    one.feed({ kind: 'ticked' }, 60_000).feed({ kind: 'recovery-asked', id: 's', era: 'next', seenOff: ['a', 'c'] });
    return one.state.raft.accepted;
  }

  it('and recovered again by this one: its own epochs are none of what it knew of before', () => {
    for (const begun of [null, 1003]) {
      const ledger = recoveredAgain(mesh(begun, before).committed);
      const [own, later] = [epochAfter(ledger), epochFollowing(epochAfter(ledger), ledger)];
      expect([own, later].map((epoch) => beside(ledger, epoch))).toEqual([false, false]);
      expect([1_000_001, 1_000_003].map((epoch) => beside(ledger, epoch))).toEqual([true, true]);
    }
  });

  it('nor where GitLab was uninstalled meanwhile, its data kept and deployed again', () => {
    for (const recovery of [before, {}]) {
      const { committed: was } = mesh(null, recovery);
      const left = { ...was.gitlab, hosted: undefined, mode: 'none' as const, host: null, ...leavingSides(was) };
      const ledger = recoveredAgain(Ledger.parse(JSON.parse(JSON.stringify({ ...was, gitlab: left }))));
      const epoch = epochAfter(ledger);
      const { copies: _none, ...hosted } = was.gitlab.hosted!;
      const again = { ...hosted, ...sidesOfLeft(ledger.gitlab, hosted.data) };
      const deployed = {
        ...ledger,
        gitlab: { ...ledger.gitlab, mode: 'hosted' as const, host: 'B', epoch, hosted: again },
      };
      const moved = { ...deployed, gitlab: { ...deployed.gitlab, epoch: epochAfter(deployed) } };
      expect([epoch, moved.gitlab.epoch].map((one) => beside(moved, one))).toEqual([false, false]);
    }
  });
});
