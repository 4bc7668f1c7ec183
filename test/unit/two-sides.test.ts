import { describe, expect, it } from 'vitest';
import type { Change } from '../../protocol/changes.ts';
import { type FencedSeen, fencedMost } from '../../protocol/fenced.ts';
import { Ledger } from '../../protocol/ledger.ts';
import { limits } from '../../protocol/limits.ts';
import { hostingDrained } from '../../scheduler/hosting/hosted-edits.ts';
import { beyondBase, type FencedDisk, forksOf, tookBeyond } from '../../scheduler/hosting/sides.ts';
import { applyChange } from '../../scheduler/membership.ts';
import { attentionOf } from '../../scheduler/snapshot-attention.ts';
import { whyNoPush } from '../../scheduler/two-sides.ts';
import { copiesLab } from './copies-lab.ts';
import type { Lab } from './jobs-lab.ts';
import { measured } from './jobs-lab-machines.ts';
import { One, three } from './raft-one.ts';
import { viewOf } from './snapshot-lab.ts';

/*
 * GitLab after a recovery by force (SAFETY H10, L15): kang went on by a person's word with desktop-1's last round of the former era, of
 * epoch 3, and desktop-1 comes over.
 */

const bases = { '3': { era: 0, epoch: 2, number: 9 }, '1003': { era: 0, epoch: 3, number: 40 } };

const recoveredAt = 1_000_000;
/** `epoch`: of GitLab when it was recovered; absent as an earlier version leaves it. */
const recovered = (was: Ledger, epoch?: number, over: Partial<typeof bases> = bases): Ledger => {
  const { hosted } = was.gitlab;
  return Ledger.parse({
    ...was,
    era: { id: 'e', counter: 1 },
    recovery: {
      ...{ by: 'kang', at: recoveredAt, off: ['desktop-1'], unseen: [], from: { era: was.era, stamp: was.stamp } },
      ...(epoch !== undefined && { epoch }),
    },
    gitlab: { ...was.gitlab, epoch: 1003, hosted: { ...hosted!, copies: { ...hosted!.copies!, bases: over } } },
  });
};

/** Where an earlier version recovered: what this one may have begun on another machine. */
const ofSides = { from: 1_000_000, below: limits.counter };

function meshThatMet(epoch: number | undefined = 3): Lab {
  const lab = copiesLab(['desktop-1'], {}, 'http://g');
  lab.committed = recovered(lab.committed, epoch);
  lab.accepted = lab.committed;
  lab.run(5000);
  return lab;
}
const kept = (more: Partial<FencedSeen> = {}): FencedSeen => ({
  ...{ name: 'fenced-3', at: recoveredAt + 60_000, bytes: null },
  ...more,
});
/** What desktop-1 says from now on of what it keeps. */
function says(lab: Lab, fenced: FencedSeen[], unkept?: string[]): void {
  const { data } = lab.committed.gitlab.hosted!;
  const report = { data, newest: null, freeBytes: 0, problem: null, fenced, ...(unkept && { unkept }) };
  lab.feed('desktop-1', { kind: 'standby-seen', report });
  lab.run(5000);
}
const why = (lab: Lab): string | null => whyNoPush(viewOf(lab, 'kang'), lab.committed, 'kang');
const open = (lab: Lab): string[] =>
  (lab.committed.gitlab.hosted?.sides?.open ?? []).map(({ node, name }) => `${node} ${name}`);
const goesOff = (lab: Lab, name: string): void => {
  lab.node(name).up = false;
  lab.node(name).liveness = { state: 'silent', since: lab.at };
};
const sentence =
  'GitLab served on desktop-1 too, beside this mesh, which was recovered by force: no push is taken before somebody has looked at what is in fenced-3 alone';

describe('what took pushes beside a mesh that was recovered by force keeps it from taking more', () => {
  it('until somebody has looked, by the word of the machine that keeps it', () => {
    const lab = meshThatMet();
    expect(why(lab)).toBe(null);
    says(lab, [kept({ took: 'more' })]);
    expect(open(lab)).toEqual(['desktop-1 fenced-3']);
    expect(why(lab)).toBe(`${sentence}: autogit-node gitlab diff fenced-3`);
    const line = () =>
      attentionOf(viewOf(lab, 'kang'), [], { state: 'ok', sentence: '' } as never).find(
        ({ code }) => code === 'gitlab-two-sides',
      );
    expect(line()).toEqual({
      ...{ code: 'gitlab-two-sides', severity: 'fail' },
      sentence: `${sentence}; issues, merge requests and jobs go on`,
      fix: 'autogit-node gitlab diff fenced-3',
    });
    // Whoever does not host takes none anyhow; and an agent without a ledger knows of nothing.
    expect(whyNoPush(viewOf(lab, 'desktop-1'), lab.committed, 'desktop-1')).toBe(null);
    expect(whyNoPush(viewOf(lab, 'kang'), null, 'kang')).toBe(null);
    says(lab, [kept({ took: 'more', looked: true })]);
    expect([open(lab), why(lab), line()]).toEqual([[], null, undefined]);
    expect(lab.committed.gitlab.hosted).not.toHaveProperty('sides');
  });

  it('also when its agent starts anew while the former host is off', () => {
    const lab = meshThatMet();
    says(lab, [kept({ took: 'more' })]);
    goesOff(lab, 'desktop-1');
    lab.boot('kang', measured(), 'boot-again');
    lab.run(10_000);
    expect(lab.node('kang').jobs.reports['desktop-1']).toBe(undefined);
    expect(why(lab)).toContain('no push is taken');
    const lines = attentionOf(viewOf(lab, 'kang'), [], { state: 'ok', sentence: '' } as never);
    expect(lines).toContainEqual(
      expect.objectContaining({
        code: 'gitlab-two-sides',
        fix: 'start desktop-1, and look at it then; where it never comes back: autogit-node forget desktop-1',
      }),
    );
  });

  it('also when the former host comes back and says nothing of it, as it holds no copies any more', () => {
    const lab = meshThatMet();
    says(lab, [kept({ took: 'more' })]);
    lab.feed('desktop-1', { kind: 'standby-seen', report: null });
    lab.run(10_000);
    expect(why(lab)).toContain('no push is taken');
  });

  it('also where the clock of the former host is behind, or its time is not known', () => {
    for (const at of [0, recoveredAt - 86_400_000]) {
      const lab = meshThatMet();
      says(lab, [kept({ at, took: 'more' })]);
      expect(why(lab)).toContain('no push is taken');
    }
  });

  it('also when the mesh is recovered by force once more', () => {
    const one = new One(three()).feed({ kind: 'ticked' }, 60_000);
    const lab = meshThatMet();
    says(lab, [kept({ took: 'more' })]);
    const { gitlab, recovery, era } = lab.committed;
    const nodes = { ...three().nodes, 'desktop-1': lab.committed.nodes['desktop-1'] };
    const accepted = { ...three(), recovery, era, gitlab, nodes };
    Object.assign(one.state.raft, { accepted: Ledger.parse(accepted) });
    one
      .feed({ kind: 'recovery-asked', id: 'r', era: 'fresh', seenOff: ['a', 'c'] })
      .disk()
      .disk();
    const after = one.state.raft.accepted;
    // It is the second of four machines, and the first era was the first one's.
    expect([after.era.counter, after.recovery]).toEqual([4, expect.objectContaining({ epoch: 1003, side: 2 })]);
    expect(after.gitlab.hosted?.sides).toEqual({
      open: [expect.objectContaining({ node: 'desktop-1', name: 'fenced-3' })],
      forks: [{ from: 3, below: 1003 }],
    });
    // Whoever led on in the first of them may have gone on with GitLab, too.
    expect(forksOf(after)).toEqual([
      { from: 3, below: 1003 },
      { from: 1004, below: limits.counter, side: 2 },
    ]);
  });

  it('and whoever comes over after the second one, too; what was served between is this mesh`s own', () => {
    const lab = meshThatMet();
    const { hosted } = lab.committed.gitlab;
    const more = { ...bases, '2003': { era: 1, epoch: 1003, number: 70 }, '3003': { era: 2, epoch: 2003, number: 4 } };
    const ledger: Ledger = {
      ...lab.committed,
      era: { id: 'f', counter: 2 },
      recovery: { ...lab.committed.recovery!, epoch: 2003 },
      gitlab: {
        ...{ ...lab.committed.gitlab, epoch: 3003 },
        hosted: {
          ...{ ...hosted!, copies: { ...hosted!.copies!, bases: more } },
          sides: { open: [], forks: [{ from: 3, below: 1003 }] },
        },
      },
    };
    lab.committed = Ledger.parse(ledger);
    lab.accepted = lab.committed;
    says(lab, [kept({ took: 'more' }), kept({ name: 'fenced-1003', took: 'more' }), kept({ name: 'fenced-2003' })]);
    expect(open(lab)).toEqual(['desktop-1 fenced-3']);
    // It went on at its host, in the same epoch: whatever the former era began after that is beside.
    says(lab, [kept({ name: 'fenced-2004', took: 'more' })]);
    expect(open(lab)).toEqual(['desktop-1 fenced-3', 'desktop-1 fenced-2004']);
  });

  it('also where GitLab went on at its host, and has not moved since', () => {
    const lab = meshThatMet();
    const { hosted } = lab.committed.gitlab;
    const copies = { ...hosted!.copies!, bases: { '3': bases['3'] } };
    lab.committed = Ledger.parse({
      ...lab.committed,
      gitlab: { ...lab.committed.gitlab, epoch: 3, hosted: { ...hosted, copies } },
    });
    lab.accepted = lab.committed;
    says(lab, [kept({ name: 'fenced-3', took: 'more' })]);
    expect(open(lab)).toEqual([]);
    says(lab, [kept({ name: 'fenced-4' })]);
    expect(open(lab)).toEqual(['desktop-1 fenced-4']);
    expect(why(lab)).toContain('no push is taken');
  });

  describe('also where it is uninstalled and its data are deployed again', () => {
    const ends = (ledger: Ledger, deleteData: boolean): Ledger => {
      const { data } = ledger.gitlab.hosted!;
      const wanted = applied(ledger, { kind: 'uninstall-gitlab', deleteData });
      const drained = hostingDrained(data, 'test').apply(wanted) as Ledger;
      return applied(drained, { kind: 'gitlab-ended', data, epoch: ledger.gitlab.epoch });
    };
    const again = (ledger: Ledger, was: Ledger, data = was.gitlab.hosted!.data): Ledger => {
      const { copies: _copies, sides: _sides, ending: _ending, since: _since, because, ...hosted } = was.gitlab.hosted!;
      return applied(ledger, { kind: 'deploy-gitlab', host: 'kang', hosted: { ...hosted, data }, because } as Change);
    };
    const applied = (ledger: Ledger, change: Change): Ledger => {
      const after = applyChange(ledger, change, 1);
      if ('refused' in after) throw new Error(String(after.refused));
      return Ledger.parse(JSON.parse(JSON.stringify(after)));
    };
    const met = (): { lab: Lab; was: Ledger } => {
      const lab = meshThatMet();
      says(lab, [kept({ took: 'more' })]);
      return { lab, was: lab.committed };
    };

    it('what was not looked at stays so, and who comes over only then is waited for', () => {
      const { lab, was } = met();
      const gone = ends(was, false);
      expect(gone.gitlab).not.toHaveProperty('hosted');
      lab.committed = again(gone, was);
      lab.accepted = lab.committed;
      expect(open(lab)).toEqual(['desktop-1 fenced-3']);
      expect(whyNoPush(viewOf(lab, 'kang'), lab.committed, 'kang')).toContain('no push is taken');
      // Uninstalled before desktop-1 had come over: it is known which epochs may have been served there.
      const early = meshThatMet();
      early.committed = again(ends(early.committed, false), early.committed);
      early.accepted = early.committed;
      says(early, [kept({ took: 'more' })]);
      expect(open(early)).toEqual(['desktop-1 fenced-3']);
      // What is served from then on is this mesh's own, also once it has moved.
      const { hosted, epoch } = early.committed.gitlab;
      const moved = { '3003': { era: 1, epoch, number: 8 } };
      const copies = { ...was.gitlab.hosted!.copies!, bases: moved };
      expect(
        forksOf({ ...early.committed, gitlab: { ...was.gitlab, epoch: 3003, hosted: { ...hosted!, copies } } }),
      ).toEqual([{ from: 3, below: 1003 }, ofSides]);
      // Uninstalled twice it is no less.
      const twice = again(ends(early.committed, false), was);
      expect(twice.gitlab.hosted?.sides).toEqual(early.committed.gitlab.hosted?.sides);
    });

    it('other data have nothing to do with it, and data that are deleted hold up nobody', () => {
      const { was } = met();
      const other = again(ends(was, false), was, 'another-gitlab');
      expect(other.gitlab.hosted).not.toHaveProperty('sides');
      // Those of before are still what they were.
      expect(again(ends(other, false), was).gitlab.hosted?.sides?.open).toHaveLength(1);
      expect(ends(was, true).gitlab).not.toHaveProperty('leftSides');
      expect(again(ends(was, true), was).gitlab.hosted).not.toHaveProperty('sides');
    });

    it('a machine that is removed gives up what it has, also meanwhile', () => {
      const { was } = met();
      const without = applied(ends(was, false), { kind: 'forget', node: 'desktop-1' });
      expect(again(without, was).gitlab.hosted?.sides).toEqual({ open: [], forks: [{ from: 3, below: 1003 }] });
    });
  });

  it('where nobody can say how far it served, and of an earlier version', () => {
    const lab = meshThatMet();
    says(lab, [kept()]);
    expect(why(lab)).toMatch(
      /^GitLab may have served on desktop-1 too, beside this mesh, which was recovered by force: /,
    );
  });

  it('as long as it is not deleted by a person, or its machine removed', () => {
    const lab = meshThatMet();
    says(lab, [kept({ took: 'more' }), kept({ name: 'fenced-4', took: 'more' })]);
    says(lab, [kept({ took: 'more' })], ['fenced-4']);
    expect(open(lab)).toEqual(['desktop-1 fenced-3']);
    const gone = applyChange(lab.committed, { kind: 'forget', node: 'desktop-1' }, 0) as Ledger;
    expect(gone.gitlab.hosted).not.toHaveProperty('sides');
    expect(whyNoPush(viewOf(lab, 'kang'), gone, 'kang')).toBe(null);
    // A leader of an earlier version removes it, and keeps what it does not know.
    const { 'desktop-1': _gone, ...nodes } = lab.committed.nodes;
    expect(whyNoPush(viewOf(lab, 'kang'), { ...lab.committed, nodes }, 'kang')).toBe(null);
  });
});

describe('nothing is kept from being pushed', () => {
  it('by a host that died, and took nothing beyond the round with which the mesh went on; nor before that is compared', () => {
    for (const took of ['none', 'looking'] as const) {
      const lab = meshThatMet();
      says(lab, [kept({ took })]);
      expect([open(lab), why(lab)]).toEqual([[], null]);
    }
  });

  it('by what was served before the recovery, or in this era', () => {
    const lab = meshThatMet();
    says(lab, [kept({ name: 'fenced-2', took: 'more' }), kept({ name: 'fenced-1003', took: 'more' })]);
    expect(open(lab)).toEqual([]);
  });

  it('in a mesh that was never recovered, or where GitLab went on at its host', () => {
    const lab = copiesLab(['desktop-1'], { bases }, 'http://g');
    says(lab, [kept({ took: 'more' })]);
    expect(open(lab)).toEqual([]);
    expect(forksOf(recovered(lab.committed, 3, { '3': bases['3'] } as never))).toEqual([ofSides]);
  });
});

it('where an earlier version recovered, what begins far above a round of the former era tells which epochs are of two sides', () => {
  const lab = meshThatMet();
  expect(forksOf(recovered(lab.committed))).toEqual([{ from: 3, below: 1003 }, ofSides]);
  expect(forksOf(recovered(lab.committed, undefined, { '3': bases['3'] } as never))).toEqual([ofSides]);
});

it('more than a ledger has room for are not written down, and are in force all the same', () => {
  const lab = meshThatMet();
  const many = Array.from({ length: fencedMost }, (_, index) => kept({ name: `fenced-${index + 3}`, took: 'more' }));
  says(lab, many);
  says(lab, [...many.slice(1), kept({ name: 'fenced-900', took: 'more' })]);
  expect(open(lab)).toHaveLength(fencedMost);
  expect(() => Ledger.parse(lab.committed)).not.toThrow();
});

it('how far a host served is told by its own disk: rounds, and its own clock', () => {
  const base = { era: 0, epoch: 3, number: 40 };
  const disk: FencedDisk = { base, baseAt: 500_000, newest: { ...base, number: 41 }, writtenAt: 504_000 };
  const took = (over: Partial<FencedDisk>) => tookBeyond(3, { ...disk, ...over });
  expect(took({})).toBe('none');
  expect(took({ writtenAt: 500_000 + beyondBase.ms + 1 })).toBe('more');
  // Its clock was set back meanwhile: it took rounds all the same.
  expect(took({ writtenAt: 1, newest: { ...base, number: 40 + beyondBase.rounds + 1 } })).toBe('more');
  expect(took({ baseAt: null, newest: { ...base, number: 60 } })).toBe('more');
  expect(took({ baseAt: null })).toBe(null);
  expect(took({ writtenAt: 0 })).toBe(null);
  expect(took({ base: null })).toBe(null);
  // The former era had gone on to another epoch, which began with that round or a later one.
  expect(tookBeyond(4, disk)).toBe('more');
  expect(tookBeyond(2, disk)).toBe(null);
  // A round of another epoch says nothing of this one.
  expect(took({ newest: { era: 1, epoch: 1003, number: 900 } })).toBe('none');
});
