import { describe, expect, it } from 'vitest';
import { abilities, type Ledger } from '../../protocol/ledger.ts';
import { vaultOf, whyNoRestore } from '../../scheduler/hosting/vault-edits.ts';
import { doneSentence } from '../../scheduler/membership-sentence.ts';
import { whyNot } from '../../scheduler/raft/acts.ts';
import { vaultView } from '../../scheduler/snapshot-vault.ts';
import type { ViewInput } from '../../scheduler/snapshot-view.ts';
import { applied, refusedAt } from '../fixtures/applied-changes.ts';
import { foundedMesh } from '../fixtures/founded-mesh.ts';
import { hostedGitlab } from '../fixtures/hosted-gitlab.ts';

const now = 1_800_000_000_000;
const vault = {
  target: '/mnt/backup',
  repository: '7f0e2902889beb10',
  secret: 'sealed',
  everyMs: 86_400_000,
  keep: { daily: 7, weekly: 4, monthly: 6 },
};
const set = { kind: 'set-vault', vault, because: 'asked on kang' } as const;
const of = { data: 'k3v9q2m4', epoch: 4 };
const because = 'GitLab was restored as of yesterday';
const restored = { kind: 'gitlab-restored', ...of, because } as const;

function mesh(can: string[] = [...abilities]): Ledger {
  const ledger = foundedMesh({ store: 'store-K', wallMs: now });
  const { K } = ledger.nodes;
  const set = { version: 7, members: ['D'], last: ['D'], boot: 'b' };
  const copies = { agreed: ['D'], standbys: [{ node: 'D', because: 'asked' }], set, bases: {} };
  return {
    ...ledger,
    nodes: { K: { ...K!, can }, D: { ...K!, name: 'desktop-1' } },
    classes: { x: { tags: ['x'], state: 'ready', nonce: 'n', runner: 3, token: 't', lastUsedAt: 0, given: false } },
    gitlab: {
      ...ledger.gitlab,
      ...{ mode: 'hosted', host: 'K', epoch: 4, url: 'http://g', token: 'sealed-token', instance: 'i' },
      hosted: hostedGitlab({ copies }),
    },
  };
}
const apply = applied(now);
const refusal = refusedAt(now);

describe('backups of GitLab in the ledger (a restore: SAFETY H7)', () => {
  it('where they go is set, sealed anew and taken back; it outlives the GitLab that was backed up', () => {
    const one = apply(mesh(), set);
    expect(one.gitlab.vault).toEqual({ ...vault, since: now, because: 'asked on kang' });
    const anew = apply(one, { kind: 'reseal', vault: { was: 'sealed', now: 'sealed for others' } });
    expect(anew.gitlab.vault?.secret).toBe('sealed for others');
    expect(apply(anew, { kind: 'reseal', vault: { was: 'sealed', now: 'late' } })).toBe(anew);
    expect(apply(anew, { ...set, vault: null }).gitlab).not.toHaveProperty('vault');
    expect(apply(mesh(), { ...set, vault: null })).toEqual(mesh());
  });

  it('who forgets a machine hears that it may know the key', () => {
    const forget = { kind: 'forget', node: 'D' } as const;
    const named = apply(mesh(), set);
    expect(doneSentence(forget, named, apply(named, forget))).toContain('the key of the backups in /mnt/backup');
    expect(doneSentence(forget, mesh(), apply(mesh(), forget))).not.toContain('key of the backups');
  });

  it('on another machine: not while it, the host, or a voter would take it for a folder; who forgets it hears that no more are made', () => {
    const kept = { ...set, vault: { ...vault, target: 'node:desktop-1', keeper: 'D' } };
    const able = mesh();
    able.nodes.D = { ...able.nodes.D!, can: [...abilities] };
    expect(apply(able, kept).gitlab.vault?.keeper).toBe('D');
    expect(refusal(mesh(), { ...kept, vault: { ...kept.vault, keeper: 'gone' } })).toContain('not in the mesh');
    const before = abilities.filter((one) => one !== 'keep-vault');
    for (const [K, D] of [
      [before, abilities],
      [abilities, before],
    ] as const) {
      const older = mesh([...K]);
      older.nodes.D = { ...older.nodes.D!, can: [...D] };
      expect(refusal(older, kept)).toContain('earlier version');
      expect(refusal(older, set)).toBe('done');
    }
    const named = apply(able, kept);
    const forget = { kind: 'forget', node: 'D' } as const;
    expect(doneSentence(forget, named, apply(named, forget))).toContain('none is made until you name another place');
    expect(doneSentence(forget, mesh(), apply(mesh(), forget))).not.toContain('name another place');
    // It is called by the name that it has now, as long as it has one.
    const { D, ...others } = named.nodes;
    const renamed = { ...named, nodes: { ...others, D: { ...D!, name: 'attic' } } };
    const unheard = { jobs: { reports: {} } } as unknown as ViewInput;
    const target = (ledger: Ledger) => [vaultOf(ledger)?.target, vaultView(unheard, ledger).vault?.target];
    expect([named, renamed, { ...named, nodes: others }].map(target)).toEqual(
      ['node:desktop-1', 'node:attic', 'node:desktop-1'].map((name) => [name, name]),
    );
    expect(doneSentence(forget, renamed, apply(renamed, forget))).toContain('the key of the backups in node:attic');
  });

  it('not while a voter runs a version that knows nothing of it', () => {
    const older = mesh(['envelopes', 'disconnect', 'hosting']);
    for (const change of [set, restored]) expect(refusal(older, change)).toContain('earlier version');
  });

  it('a restore is a new epoch: nobody is in sync, no address, no runners; said twice it is one', () => {
    const after = apply(mesh(), restored);
    expect(after.gitlab).toMatchObject({ mode: 'hosted', host: 'K', epoch: 5, url: null, token: null, instance: null });
    expect(after.classes).toEqual({});
    const { copies } = after.gitlab.hosted!;
    expect(copies?.set).toEqual({ version: 8, members: [], last: null, boot: null });
    expect([copies?.agreed, copies?.standbys.length]).toEqual([['D'], 1]);
    expect(apply(after, restored)).toBe(after);
  });

  it('after a recovery by force its epoch is above all that the former era may have used, and said twice it is one', () => {
    const recovery = { by: 'K', at: now, from: { era: mesh().era, stamp: mesh().stamp }, off: [], unseen: [] };
    const after = apply({ ...mesh(), recovery }, { ...restored, marksAnew: true });
    expect(after.gitlab).toMatchObject({ epoch: 1004, url: null });
    expect(apply(after, { ...restored, marksAnew: true })).toBe(after);
    // On one of several sides, and by a host of an earlier version there, which has marked them for another number.
    const side = { ...mesh(), recovery: { ...recovery, epoch: 4, side: 2 } };
    const counted = { ...restored, marksAnew: true, countsSides: true };
    const ofSide = apply(side, counted);
    expect([ofSide.gitlab.epoch, apply(side, { ...restored, marksAnew: true }).gitlab.epoch]).toEqual([
      1_000_002, 1004,
    ]);
    expect(apply(ofSide, counted)).toBe(ofSide);
    // Counted before the recovery, and asked again after it.
    const before = { ...apply(mesh(), { ...restored, marksAnew: true }), recovery };
    expect(before.gitlab.epoch).toBe(5);
    expect(apply(before, { ...restored, marksAnew: true })).toBe(before);
    // A host of an earlier version has marked them for the next number, and would not find them under another.
    expect(apply({ ...mesh(), recovery }, restored).gitlab.epoch).toBe(5);
  });

  it('is said by the host alone, of its own epoch, and of none that is to end', () => {
    expect(whyNot(mesh(), restored, 'D')).toContain('only the host');
    expect(whyNot(mesh(), restored, 'K')).toBeNull();
    expect(refusal(mesh(), { ...restored, epoch: 2 })).toContain('epoch 4');
    expect(refusal(mesh(), { ...restored, data: 'other-data' })).toContain('other-data');
    const ending = { since: 1, deleteData: false, now: false, force: false, drained: true };
    const goes = mesh();
    goes.gitlab.hosted = hostedGitlab({ ending });
    expect(refusal(goes, restored)).toContain('uninstalled');
  });

  it('begins the next epoch also of one that is to be uninstalled since: the gate of this one is shut, and jobs and runners wait for it', () => {
    const ending = { since: 1, deleteData: false, now: false, force: false, drained: false };
    const goes = mesh();
    goes.gitlab.hosted = hostedGitlab({ ending });
    expect(apply(goes, restored).gitlab).toMatchObject({ epoch: 5, hosted: { ending } });
    expect(whyNoRestore(goes)).toContain('uninstalled');
  });
});
