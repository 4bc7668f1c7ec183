import { describe, expect, it } from 'vitest';
import type { Change } from '../../protocol/changes.ts';
import { abilities, Ledger } from '../../protocol/ledger.ts';
import { whyNoRestore } from '../../scheduler/hosting/vault-edits.ts';
import { applyChange } from '../../scheduler/membership.ts';
import { doneSentence } from '../../scheduler/membership-sentence.ts';
import { applied, refusedAt } from '../fixtures/applied-changes.ts';
import { foundedMesh } from '../fixtures/founded-mesh.ts';
import { hostedGitlab } from '../fixtures/hosted-gitlab.ts';

const now = 1_800_000_000_000;
const image = 'gitlab/gitlab-ce:19.5.3-ce.0';
const was = 'gitlab/gitlab-ce:19.4.1-ce.0';
const of = { data: 'k3v9q2m4', epoch: 4 };
const wish = {
  kind: 'upgrade-gitlab',
  ...of,
  image,
  from: '19.4.1',
  rehearse: true,
  because: 'asked on kang',
} as const;
const next = (epoch: number, to: string) =>
  ({ kind: 'gitlab-upgraded', data: of.data, epoch, image: to, because: `it becomes ${to}` }) as const;
const over = (epoch: number, isDone: boolean) =>
  ({ kind: 'gitlab-upgrade-ended', data: of.data, epoch, isDone, because: 'how it ended' }) as const;

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
      hosted: hostedGitlab({ copies, image: was }),
    },
  };
}
const apply = (ledger: Ledger, change: Change): Ledger => Ledger.parse(applied(now)(ledger, change));
const refusal = refusedAt(now);

describe('an upgrade of GitLab in the ledger (SAFETY H7)', () => {
  it('is wished, is a new epoch of the same data, and ends: what GitLab knows it knows on', () => {
    const wished = apply(mesh(), wish);
    expect(wished.gitlab).toMatchObject({ epoch: 4, hosted: { image: was, upgrade: { image, from: '19.4.1' } } });
    const begun = apply(wished, next(4, image));
    expect(begun.gitlab).toMatchObject({ epoch: 5, url: 'http://g', token: 'sealed-token', instance: 'i' });
    expect(begun.gitlab.hosted).toMatchObject({ image, upgrade: { image } });
    expect(begun.classes).toEqual(mesh().classes);
    const done = apply(begun, over(5, true));
    expect(done.gitlab.hosted).not.toHaveProperty('upgrade');
    expect(done.gitlab.hosted?.upgraded).toEqual({
      image,
      from: '19.4.1',
      isDone: true,
      because: 'how it ended',
      at: now,
    });
    expect(apply(done, { ...wish, epoch: 5, image: 'gitlab/gitlab-ce:19.6.0-ce.0' }).gitlab.hosted).not.toHaveProperty(
      'upgraded',
    );
  });

  it('after a recovery by force each epoch of it is above all that the former era may have used, and said twice it is one', () => {
    const recovery = { by: 'K', at: now, from: { era: mesh().era, stamp: mesh().stamp }, off: [], unseen: [] };
    const wished = apply({ ...mesh(), recovery }, wish);
    const up = { ...next(4, image), marksAnew: true };
    const after = applied(now)(wished, up);
    expect(after.gitlab).toMatchObject({ epoch: 1004, hosted: { image } });
    expect(applied(now)(after, up)).toBe(after);
    expect(apply(after, { ...next(1004, was), marksAnew: true }).gitlab).toMatchObject({ epoch: 2004 });
    expect(apply(wished, next(4, image)).gitlab.epoch).toBe(5);
  });

  it('who was in sync is not: its rounds are of data that the other version has not made', () => {
    const { set } = apply(apply(mesh(), wish), next(4, image)).gitlab.hosted!.copies!;
    expect(set).toEqual({ version: 8, members: [], last: null, boot: null });
  });

  it('that did not come up goes back to the image of before, one epoch more', () => {
    const back = apply(apply(apply(mesh(), wish), next(4, image)), next(5, was));
    expect(back.gitlab).toMatchObject({ epoch: 6, hosted: { image: was, upgrade: { image } } });
    expect(apply(back, over(6, false)).gitlab.hosted?.upgraded?.isDone).toBe(false);
  });

  it('each word of it said twice is one, and one of another epoch, data or GitLab is void', () => {
    const wished = apply(mesh(), wish);
    expect(applyChange(wished, wish, now + 5)).toBe(wished);
    const begun = apply(wished, next(4, image));
    expect(applyChange(begun, next(4, image), now)).toBe(begun);
    // A person asks once more while it is under way, going by the epoch of before.
    expect(applyChange(begun, wish, now)).toBe(begun);
    expect(refusal(begun, next(4, was))).toContain('is said of epoch 4');
    expect(refusal(mesh(), { ...wish, epoch: 3 })).toContain('is said of epoch 3');
    expect(refusal(mesh(), { ...wish, data: 'data-else' })).toContain('is said of epoch 4 (data-else)');
    const done = apply(begun, over(5, true));
    expect(applyChange(done, over(5, true), now)).toBe(done);
    expect(refusal(done, over(4, false))).toContain('is said of epoch 4');
    expect(doneSentence(wish, wished, wished)).toBe(`GitLab is to become ${image} already`);
  });

  it('is refused while another one is under way, while it is uninstalled, and to the image that runs', () => {
    const wished = apply(mesh(), wish);
    expect(refusal(wished, { ...wish, image: 'gitlab/gitlab-ce:19.6.0-ce.0' })).toContain(`upgraded to ${image}`);
    expect(refusal(mesh(), { ...wish, image: was })).toBe(`${was} runs already`);
    const ending = apply(mesh(), { kind: 'uninstall-gitlab', epoch: 4, deleteData: false });
    expect(refusal(ending, wish)).toBe('it is being uninstalled');
  });

  it('is refused in words while a voter or its host runs a version that knows nothing of it', () => {
    const older = abilities.filter((one) => one !== 'upgrade');
    expect(refusal(mesh(older), wish)).toMatch(/runs? an earlier version, which knows nothing of an upgrade of GitLab/);
    const hostIsOlder: Ledger = {
      ...mesh(),
      nodes: { ...mesh().nodes, H: { ...mesh().nodes.K!, name: 'host', can: older } },
    };
    expect(refusal({ ...hostIsOlder, gitlab: { ...hostIsOlder.gitlab, host: 'H' } }, wish)).toContain(
      'host runs an earlier version',
    );
  });

  it('no restore brings another image along where a voter would not hear of it, and begin the epoch with the one of now', () => {
    const older = mesh(abilities.filter((one) => one !== 'upgrade'));
    expect([whyNoRestore(older), whyNoRestore(older, was), whyNoRestore(mesh(), was)]).toEqual([
      ...[null, expect.stringContaining('runs an earlier version, which cannot bring back'), null],
    ]);
  });

  it('a restore ends the wish, in words; data of before an upgrade bring their image with them', () => {
    const wished = apply(mesh(), wish);
    const restored = { kind: 'gitlab-restored', ...of, because: 'restored as of then' } as const;
    const after = apply(wished, restored).gitlab;
    expect(after.hosted?.upgraded).toMatchObject({ isDone: false, because: 'it was given up: restored as of then' });
    expect(after.hosted?.image).toBe(was);
    const begun = apply(apply(wished, next(4, image)), over(5, true));
    // Another one of a later epoch is refused, and this one's is one.
    expect(apply(begun, { ...restored, epoch: 5, image: was }).gitlab).toMatchObject({
      epoch: 6,
      url: null,
      hosted: { image: was },
    });
  });
});
