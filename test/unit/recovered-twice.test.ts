import { describe, expect, it } from 'vitest';
import { fencedEpoch } from '../../protocol/fenced.ts';
import { Ledger } from '../../protocol/ledger.ts';
import { limits } from '../../protocol/limits.ts';
import { compareRounds } from '../../protocol/round-name.ts';
import { epochAfter, epochFollowing, epochsUnheard, isEpochAfter } from '../../scheduler/hosting/epochs.ts';
import { forksOf, goesOnWithout, isBeside } from '../../scheduler/hosting/sides.ts';
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
function mesh(begun: number | null): Lab {
  const lab = copiesLab(['desktop-1'], {}, 'http://g');
  const { gitlab, ...was } = lab.committed;
  const all = begun === null ? bases : { ...bases, [begun]: { era: 0, epoch: 3, number: 40 } };
  const hosted = { ...gitlab.hosted!, copies: { ...gitlab.hosted!.copies!, bases: all } };
  lab.committed = Ledger.parse({
    ...was,
    ...{ era: { id: 'of-kang', counter: 2 }, recovery: recovered(lab.committed) },
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
