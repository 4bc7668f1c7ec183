import { describe, expect, it } from 'vitest';
import type { Change } from '../../protocol/changes.ts';
import { abilities, Ledger } from '../../protocol/ledger.ts';
import { type HostedCopies, HostedGitlab } from '../../protocol/ledger-gitlab.ts';
import { limits } from '../../protocol/limits.ts';
import { withStandbys } from '../../scheduler/hosting/copies-set.ts';
import { hostingDrained, hostingOf } from '../../scheduler/hosting/hosted-edits.ts';
import { doneSentence } from '../../scheduler/membership-sentence.ts';
import { whyNot, withAct } from '../../scheduler/raft/acts.ts';
import { applied, refusedAt } from '../fixtures/applied-changes.ts';
import { foundedMesh } from '../fixtures/founded-mesh.ts';
import { hostedGitlab } from '../fixtures/hosted-gitlab.ts';
import { One } from './raft-one.ts';

const now = 1_800_000_000_000;
const { since: _since, because: _because, ...hosted } = hostedGitlab();
const { data } = hosted;
const base = { era: 0, epoch: 1, number: 7 };

/** kang votes; desktop-1, desktop-2 and laptop are members. */
function mesh(): Ledger {
  const ledger = foundedMesh({ store: 'store-K', wallMs: now });
  const node = (name: string) => ({ ...ledger.nodes.K!, name, can: [...abilities] });
  return { ...ledger, nodes: { K: node('kang'), B: node('desktop-1'), C: node('desktop-2'), L: node('laptop') } };
}
const deploy = (agreed?: string[]): Change => ({
  kind: 'deploy-gitlab',
  host: 'K',
  hosted,
  ...(agreed ? { agreed } : {}),
  because: 'asked',
});
const agree = (node: string, agreed = true): Change => ({
  kind: 'agree-copies',
  data,
  node,
  agreed,
  because: 'said by ann on kang',
});
const begin = (from: number, over: object = {}): Change => ({
  kind: 'copies-begin',
  data,
  epoch: 1,
  from,
  boot: 'agent-1',
  base: null,
  ...over,
});
const enter = (node: string, from: number): Change => ({ kind: 'copy-enters', data, epoch: 1, from, node });
const leave = (nodes: string[], from: number): Change => ({
  kind: 'copies-leave',
  data,
  epoch: 1,
  from,
  nodes,
  because: 'it did not answer for 2 s',
});

const apply = applied(now + 5);
const refusal = refusedAt(now);
const copiesOf = (ledger: Ledger): HostedCopies => {
  const copies = hostingOf(ledger)?.copies;
  if (!copies) throw new Error('nobody was asked to hold copies');
  return copies;
};
const setOf = (ledger: Ledger): HostedCopies['set'] => copiesOf(ledger).set;
const standingBy = (ledger: Ledger, ...nodes: string[]): Ledger => {
  const gitlab = ledger.gitlab;
  const standbys = nodes.map((node) => ({ node, because: 'it is well' }));
  const copies = withStandbys(copiesOf(ledger), standbys);
  return { ...ledger, gitlab: { ...gitlab, hosted: { ...gitlab.hosted!, copies } } };
};
/** Deployed, B and C stand by, the host's agent has begun: version 1. */
const begun = (): Ledger => apply(standingBy(apply(mesh(), deploy(['B', 'C'])), 'B', 'C'), begin(0, { base }));
/** Both are in sync: version 3. */
const inSync = (): Ledger => apply(begun(), enter('B', 1), enter('C', 2));

describe('who may hold copies of a hosted GitLab, in the ledger', () => {
  it('is named as it is deployed; nobody is in sync then, and nobody gets rounds', () => {
    const { copies } = apply(mesh(), deploy(['B', 'C', 'B'])).gitlab.hosted!;
    expect(copies).toEqual({
      agreed: ['B', 'C'],
      standbys: [],
      set: { version: 0, members: [], last: null, boot: null },
      bases: {},
    });
    for (const alone of [deploy(), deploy([])]) expect(apply(mesh(), alone).gitlab.hosted).not.toHaveProperty('copies');
  });

  it.each([
    ['the host itself', ['B', 'K'], 'kang runs GitLab itself: name another machine for copies of it'],
    ['a stranger', ['X'], 'X is no machine of this mesh'],
  ])('is refused for %s', (_, agreed, because) => {
    expect(refusal(mesh(), deploy(agreed))).toBe(because);
    expect(refusal(apply(mesh(), deploy()), agree(agreed.at(-1)!))).toBe(because);
  });

  it('is refused while a voter, the host or that machine runs a version that knows nothing of it', () => {
    const older = (node: string): Ledger => {
      const ledger = mesh();
      const entry = { ...ledger.nodes[node]!, can: ['envelopes', 'disconnect', 'hosting'] };
      return { ...ledger, nodes: { ...ledger.nodes, [node]: entry } };
    };
    const because = /^(kang|desktop-1) runs an earlier version, which knows nothing of copies .*: upgrade it first$/;
    for (const node of ['K', 'B']) {
      expect(refusal(older(node), deploy(['B']))).toMatch(because);
      expect(refusal(apply(older(node), deploy()), agree('B'))).toMatch(because);
    }
    // A host that does not vote has to know all the same.
    expect(refusal(older('L'), { ...deploy(['B']), host: 'L' } as Change)).toMatch(/^laptop runs an earlier version/);
    // Who neither votes nor holds any need not know.
    expect(refusal(older('C'), deploy(['B']))).toBe('done');
  });

  it('is a voter`s act that everybody sees, and no word about a GitLab that is gone', () => {
    const up = apply(mesh(), deploy());
    expect(whyNot(up, agree('B'), 'B')).toContain('does not vote');
    expect(whyNot(up, agree('B'), 'K')).toBeNull();
    const after = apply(up, agree('B'));
    expect(withAct(up, after, agree('B'), 'K', now).acts?.at(-1)?.sentence).toBe(
      'desktop-1 may hold copies of all of GitLab, as was asked on kang',
    );
    expect(apply(after, agree('B'))).toBe(after);
    expect(refusal(mesh(), agree('B'))).toBe('this mesh hosts no GitLab');
    expect(refusal(up, { ...agree('B'), data: 'another1' } as Change)).toContain('the mesh hosts another by now');
    const ending = apply(up, { kind: 'uninstall-gitlab', deleteData: false });
    expect(refusal(ending, agree('B'))).toContain('GitLab is being uninstalled');
  });

  it('is one of few', () => {
    const many = mesh();
    for (let i = 0; i < limits.agreedCopies; i += 1) many.nodes[`N${i}`] = { ...many.nodes.B!, name: `n${i}` };
    const full = apply(many, deploy(), ...[...Array(limits.agreedCopies).keys()].map((i) => agree(`N${i}`)));
    expect(refusal(full, agree('B'))).toBe('8 machines may hold copies already: take one of them out first');
    expect(refusal(apply(full, agree('N3', false)), agree('B'))).toBe('done');
  });

  it('taken back, the machine gets no rounds and is in sync no more, in the same edit', () => {
    const after = apply(inSync(), agree('B', false));
    expect(copiesOf(after)).toMatchObject({ agreed: ['C'], standbys: [{ node: 'C' }] });
    expect(setOf(after)).toMatchObject({ version: 4, members: ['C'], last: null });
    // The version goes on when all of them are gone, or what is on its way could fit again.
    const alone = apply(after, agree('C', false));
    expect(setOf(alone)).toMatchObject({ version: 5, members: [], last: ['C'] });
    expect(setOf(apply(alone, agree('B'))).version).toBe(5);
  });

  it('one that is forgotten leaves all three at once, and the answer names what it knows', () => {
    const before = inSync();
    const forget: Change = { kind: 'forget', node: 'desktop-1' };
    const after = apply(before, forget);
    expect(copiesOf(after)).toMatchObject({ agreed: ['C'], standbys: [{ node: 'C' }], set: { members: ['C'] } });
    expect(setOf(after).version).toBe(4);
    expect(doneSentence(forget, before, after)).toContain(
      "it may hold all of GitLab as of its last copy: change root's and the admins' passwords, access tokens, runner tokens, CI variables and deploy keys",
    );
    const other: Change = { kind: 'forget', node: 'laptop' };
    expect(doneSentence(other, before, apply(before, other))).not.toContain('GitLab');
    expect(copiesOf(apply(before, other))).toEqual(copiesOf(before));
  });

  it('an uninstalled GitLab leaves nothing of them in the ledger', () => {
    const ending = hostingDrained(data, 'settled').apply(
      apply(inSync(), { kind: 'uninstall-gitlab', deleteData: false }),
    ) as Ledger;
    const gone = apply(ending, { kind: 'gitlab-ended', data, epoch: 1 });
    expect(JSON.stringify(gone)).not.toContain('standbys');
    expect(Ledger.parse(JSON.parse(JSON.stringify(inSync())))).toEqual(inSync());
  });
});

describe('the in-sync set of a hosted GitLab, in the ledger (SAFETY H10)', () => {
  it('is begun by the host`s agent, entered one by one, and each change raises its version', () => {
    expect(setOf(begun())).toEqual({ version: 1, members: [], last: null, boot: 'agent-1' });
    expect(setOf(inSync())).toEqual({ version: 3, members: ['B', 'C'], last: null, boot: 'agent-1' });
    expect(copiesOf(inSync()).bases).toEqual({ 1: base });
    const out = apply(inSync(), leave(['B'], 3));
    expect(setOf(out)).toMatchObject({ version: 4, members: ['C'], last: null });
    expect(apply(inSync(), enter('B', 3))).toEqual(inSync());
  });

  it('an entry that the host takes back cannot come late', () => {
    const taken = apply(begun(), leave(['B'], 1));
    expect(setOf(taken)).toMatchObject({ version: 2, members: [], last: null });
    expect(refusal(taken, enter('B', 1))).toContain('version 2 by now');
  });

  it('remembers who left it last, until somebody else empties it', () => {
    const oneByOne = apply(inSync(), leave(['B'], 3), leave(['C'], 4));
    expect(setOf(oneByOne)).toMatchObject({ version: 5, members: [], last: ['C'] });
    expect(setOf(apply(inSync(), leave(['B', 'C'], 3))).last).toEqual(['B', 'C']);
    const again = apply(oneByOne, enter('B', 5));
    expect(setOf(again)).toMatchObject({ members: ['B'], last: ['C'] });
    expect(setOf(apply(again, leave(['B'], 6))).last).toEqual(['B']);
    // Also when its machine is taken out altogether: then nobody is started by itself.
    expect(setOf(apply(oneByOne, agree('C', false))).last).toEqual(['C']);
  });

  it.each([
    ['copies-begin', begin(2)],
    ['copy-enters', enter('C', 2)],
    ['copies-leave', leave(['B'], 2)],
  ])('%s from another version is refused: what it was decided by is no more', (_, change) => {
    expect(refusal(inSync(), change)).toBe('the in-sync set is of version 3 by now, and this was decided by 2');
    const later = { ...change, from: 4 } as Change;
    expect(refusal(inSync(), later)).toContain('decided by 4');
  });

  it.each([
    ['copies-begin', begin(3)],
    ['copy-enters', enter('C', 3)],
    ['copies-leave', leave(['B'], 3)],
  ])('%s is the word of the host, of this epoch and these data, alone', (_, change) => {
    for (const other of ['B', 'L']) expect(whyNot(inSync(), change, other)).toContain('only the host');
    expect(whyNot(inSync(), change, 'K')).toBeNull();
    expect(refusal(inSync(), { ...change, epoch: 2 } as Change)).toContain('this is said of epoch 2');
    expect(refusal(inSync(), { ...change, data: 'another1' } as Change)).toContain('(another1)');
    expect(refusal(apply(mesh(), deploy()), { ...change, from: 0 } as Change)).toContain('no machine was named');
  });

  it('an agent that starts again keeps the set, and kills what the former one had sent', () => {
    const again = apply(begun(), begin(1, { boot: 'agent-2' }));
    expect(setOf(again)).toMatchObject({ version: 2, boot: 'agent-2' });
    // The former agent's entry, decided by version 1, comes late.
    expect(refusal(again, enter('B', 1))).toContain('version 2 by now');
    expect(setOf(apply(inSync(), begin(3, { boot: 'agent-2' }))).members).toEqual(['B', 'C']);
  });

  it('nobody enters before the host has begun, nor who does not stand by', () => {
    const asked = standingBy(apply(mesh(), deploy(['B', 'C'])), 'B');
    expect(refusal(asked, enter('B', 0))).toContain('has not begun');
    expect(refusal(apply(asked, begin(0)), enter('C', 1))).toBe('desktop-2 does not stand by: the leader chose others');
  });

  it('who stands by no more and is chosen again is not let in by an entry of before', () => {
    const out = standingBy(standingBy(begun(), 'C'), 'B', 'C');
    expect(setOf(out).version).toBe(2);
    expect(refusal(out, enter('B', 1))).toContain('version 2 by now');
    // One more stands by: that alone makes nothing that is on its way wrong.
    expect(setOf(standingBy(standingBy(begun(), 'B', 'C'), 'B', 'C')).version).toBe(1);
  });

  it('each epoch has one base: the first that was named, and none of the future', () => {
    const later = { ...base, number: 900 };
    expect(copiesOf(apply(begun(), begin(1, { base: later }))).bases).toEqual({ 1: base });
    const unnamed = apply(standingBy(apply(mesh(), deploy(['B'])), 'B'), begin(0));
    expect(copiesOf(unnamed).bases).toEqual({});
    expect(copiesOf(apply(unnamed, begin(1, { base }))).bases).toEqual({ 1: base });
    expect(refusal(unnamed, begin(1, { base: { ...base, epoch: 2 } }))).toContain('is no base of epoch 1');
    expect(refusal(unnamed, begin(1, { base: { ...base, era: 1 } }))).toContain('in era 1');
  });

  it('the ledger keeps the newest bases only', () => {
    const start = begun();
    const bases = Object.fromEntries([...Array(limits.bases).keys()].map((i) => [String(100 + i), base]));
    const copies = { ...copiesOf(start), bases };
    const { gitlab } = start;
    const long = { ...start, gitlab: { ...gitlab, epoch: 900, hosted: { ...gitlab.hosted!, copies } } };
    const after = copiesOf(apply(long, { ...begin(1, { base }), epoch: 900 } as Change));
    expect(Object.keys(after.bases)).toHaveLength(limits.bases);
    expect(Object.hasOwn(after.bases, '900')).toBe(true);
    expect(Object.hasOwn(after.bases, '100')).toBe(false);
    expect(HostedGitlab.safeParse({ ...hostedGitlab(), copies: after }).success).toBe(true);
  });
});

describe('a leader of an earlier version', () => {
  /** Which of these are sent to desktop-1, which leads and can only that. */
  function sentTo(can: string[], changes: Change[]): Change['kind'][] {
    const ledger = mesh();
    const voters = { K: { store: 'store-K', weight: 2 }, B: { store: 'store-B', weight: 3 } };
    const nodes = { ...ledger.nodes, B: { ...ledger.nodes.B!, can } };
    const one = new One({ ...ledger, nodes, configuration: { voters, next: null } }, 'K');
    const { stamp } = one.state.raft.accepted;
    one.hear('B', { kind: 'append', term: 1, round: 1, stamp, committed: stamp, ledger: null });
    one.feed({ kind: 'requested', requests: changes.map((change, index) => ({ id: `q${index}`, change })) });
    return one.effects.flatMap((effect) =>
      effect.kind === 'send' && effect.message.kind === 'change' && effect.message.id.startsWith('q')
        ? [effect.message.change.kind]
        : [],
    );
  }
  const all = [agree('C'), begin(0), enter('C', 0), leave(['C'], 0), deploy(['C'])];

  it('is asked for nothing of copies: it would choke on the words, or deploy without whom a person named', () => {
    expect(sentTo(['hosting'], all)).toEqual([]);
    expect(sentTo(['hosting'], [deploy(), deploy([])])).toEqual(['deploy-gitlab', 'deploy-gitlab']);
    expect(sentTo([...abilities], all)).toEqual(all.map(({ kind }) => kind));
  });
});
