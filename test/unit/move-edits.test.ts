import { describe, expect, it } from 'vitest';
import type { Change } from '../../protocol/changes.ts';
import { abilities, Ledger } from '../../protocol/ledger.ts';
import { moveTakenBack, whyNoMove } from '../../scheduler/hosting/move-edits.ts';
import { whyNoUpgrade } from '../../scheduler/hosting/upgrade-edits.ts';
import { whyNoRestore } from '../../scheduler/hosting/vault-edits.ts';
import { doneSentence } from '../../scheduler/membership-sentence.ts';
import { whyNot } from '../../scheduler/raft/acts.ts';
import { applied, refusedAt } from '../fixtures/applied-changes.ts';
import { foundedMesh } from '../fixtures/founded-mesh.ts';
import { hostedGitlab } from '../fixtures/hosted-gitlab.ts';

const now = 1_800_000_000_000;
const data = 'k3v9q2m4';
const there = { place: { kind: 'image', path: '/home/d/gitlab-copies/k3v9q2m4' }, hostname: '10.0.0.2' } as const;
const back = { place: { kind: 'image', path: '/srv/gitlab' }, hostname: '10.0.0.1' } as const;
const base = { era: 0, epoch: 4, number: 31 };
const wish = { kind: 'move-gitlab', data, epoch: 4, to: 'D', there, because: 'asked on kang' } as const;
const moved = { kind: 'gitlab-moved', data, epoch: 4, base } as const;
const stands = (epoch: number) => ({ kind: 'gitlab-move-stands', data, epoch }) as const;
const ends = (epoch: number, isClosed: boolean) =>
  ({ kind: 'gitlab-move-ends', data, epoch, isClosed, because: 'desktop-1 has no room' }) as const;

function mesh(said: { can?: string[]; url?: string; voters?: string[] } = {}): Ledger {
  const ledger = foundedMesh({ store: 'store-K', wallMs: now });
  const K = { ...ledger.nodes.K!, can: [...abilities] };
  const set = { version: 7, members: ['D', 'E'], last: ['E'], boot: 'b' };
  const standbys = ['D', 'E'].map((node) => ({ node, because: 'asked' }));
  const bases = { 4: { era: 0, epoch: 4, number: 1 } };
  const voters = Object.fromEntries(
    (said.voters ?? ['K', 'D', 'E']).map((node) => [node, { store: `store-${node}`, weight: 2 }]),
  );
  return {
    ...ledger,
    configuration: { voters, next: null } as unknown as Ledger['configuration'],
    nodes: {
      K,
      D: { ...K, name: 'desktop-1', can: said.can ?? K.can },
      E: { ...K, name: 'desktop-2' },
      F: { ...K, name: 'desktop-3' },
    },
    classes: { x: { tags: ['x'], state: 'ready', nonce: 'n', runner: 3, token: 't', lastUsedAt: 0, given: false } },
    gitlab: {
      ...ledger.gitlab,
      ...{ mode: 'hosted', host: 'K', epoch: 4, url: said.url ?? 'http://10.0.0.1:8080', token: 't', instance: 'i' },
      hosted: hostedGitlab({ ...back, port: 8080, copies: { agreed: ['D', 'E', 'F'], standbys, set, bases } }),
    },
  };
}
const apply = (ledger: Ledger, change: Change): Ledger => Ledger.parse(applied(now)(ledger, change));
const refusal = refusedAt(now);
const onTrial = (): Ledger => apply(apply(mesh(), wish), moved);

describe('a planned move in the ledger (SAFETY H7, H10)', () => {
  it('is wished, is the next epoch elsewhere, and stands: what GitLab knows it knows on, at the other address', () => {
    const wished = apply(mesh(), wish);
    expect(wished.gitlab).toMatchObject({ host: 'K', epoch: 4, hosted: { move: { from: 'K', to: 'D', there, back } } });
    expect(apply(wished, wish)).toEqual(wished);
    const trial = apply(wished, moved);
    expect(trial.gitlab).toMatchObject({ host: 'D', epoch: 5, url: 'http://10.0.0.2:8080', token: 't', instance: 'i' });
    expect(trial.gitlab.hosted).toMatchObject({ ...there, move: { base } });
    expect(trial.classes).toEqual(mesh().classes);
    const done = apply(trial, stands(5));
    expect(done.gitlab.hosted).not.toHaveProperty('move');
    expect(done.gitlab.hosted?.moved).toEqual({ from: 'K', to: 'D', isDone: true, because: wish.because, at: now });
    expect(apply(done, stands(5))).toEqual(done);
    expect(refusal(done, ends(5, true))).toContain('GitLab does not go back by itself');
  });

  it('the two change places, and who else was in sync has every push; the epoch begins with the last round', () => {
    const { agreed, standbys, set, bases } = onTrial().gitlab.hosted!.copies!;
    expect(agreed).toEqual(['K', 'E', 'F']);
    expect(standbys.map(({ node }) => node)).toEqual(['K', 'E']);
    expect(set).toEqual({ version: 8, members: ['E'], last: null, boot: null });
    expect(bases).toMatchObject({ 4: { number: 1 }, 5: base });
  });

  it('goes back as one more epoch while it does not stand: with the same round, to the same place and address', () => {
    const { gitlab } = apply(onTrial(), ends(5, true));
    expect(gitlab).toMatchObject({ host: 'K', epoch: 6, url: 'http://10.0.0.1:8080', token: 't' });
    expect(gitlab.hosted).toMatchObject({ ...back, moved: { isDone: false, because: 'desktop-1 has no room' } });
    expect(gitlab.hosted).not.toHaveProperty('move');
    expect(gitlab.hosted?.copies).toMatchObject({ agreed: ['D', 'E', 'F'], bases: { 6: base } });
    expect(gitlab.hosted?.copies?.set).toMatchObject({ members: ['E'], last: null, boot: null });
  });

  it('takes no copies back from where it may go back to, until it stands', () => {
    const back = { kind: 'agree-copies', data, node: 'K', agreed: false, because: 'asked' } as const;
    expect(refusal(onTrial(), back)).toContain('may go back to kang: wait until it stands');
    expect(refusal(onTrial(), { ...back, node: 'E' })).toBe('done');
    expect(apply(apply(onTrial(), stands(5)), back).gitlab.hosted?.copies?.agreed).toEqual(['E', 'F']);
  });

  it('lets nobody forget where it may go back to, until it stands', () => {
    const forget = { kind: 'forget', node: 'kang' } as const;
    expect(refusal(onTrial(), forget)).toContain('goes back there if it does not come up: wait until it stands');
    expect(refusal(onTrial(), { ...forget, node: 'desktop-2' })).toBe('done');
    expect(refusal(apply(onTrial(), stands(5)), forget)).toBe('done');
  });

  it('names who ran it among those that hold copies, and loses nobody that stands by, where all places are taken', () => {
    const trial = onTrial();
    const { copies } = trial.gitlab.hosted!;
    const others = ['F', 'G', 'H', 'I', 'J', 'L', 'M'];
    const full = {
      ...copies!,
      agreed: [...others, 'E'],
      standbys: copies!.standbys.filter(({ node }) => node === 'E'),
    };
    const gitlab = { ...trial.gitlab, hosted: { ...trial.gitlab.hosted!, copies: full } };
    const back = apply({ ...trial, gitlab }, ends(5, true)).gitlab.hosted!.copies!;
    expect(back.standbys.map(({ node }) => node)).toEqual(['D', 'E']);
    expect(back.agreed).toEqual(['D', 'E', 'F', 'G', 'H', 'I', 'J', 'L']);
  });

  it('goes back with nobody in sync who stands by no more: another machine had come in the place of the former host', () => {
    const trial = onTrial();
    const hosted = trial.gitlab.hosted!;
    const standbys = ['F', 'E'].map((node) => ({ node, because: 'asked' }));
    const gitlab = { ...trial.gitlab, hosted: { ...hosted, copies: { ...hosted.copies!, standbys } } };
    const { copies } = apply({ ...trial, gitlab }, ends(5, true)).gitlab.hosted!;
    expect(copies!.standbys.map(({ node }) => node)).toEqual(['D', 'F']);
    expect(copies!.set.members).toEqual([]);
  });

  it('given up before the gate was closed it changes nothing; afterwards the next epoch begins where it was', () => {
    const wished = apply(mesh(), wish);
    expect(apply(wished, ends(4, false)).gitlab).toMatchObject({
      host: 'K',
      epoch: 4,
      hosted: { moved: { isDone: false } },
    });
    const closed = apply(wished, ends(4, true)).gitlab;
    expect(closed).toMatchObject({ host: 'K', epoch: 5, url: 'http://10.0.0.1:8080', hosted: back });
    expect(closed.hosted?.copies?.set).toEqual({ version: 8, members: [], last: null, boot: null });
    // What was on its way meanwhile is of an epoch that is over, or of a move that nobody wants.
    expect(refusal(apply(wished, ends(4, true)), moved)).toContain('of epoch 5');
    expect(refusal(apply(wished, ends(4, false)), moved)).toContain('nobody asked for a move');
  });

  it('after a recovery by force each epoch of a move is above all that the former era may have used', () => {
    const recovery = { by: 'K', at: now, from: { era: mesh().era, stamp: mesh().stamp }, off: [], unseen: [] };
    const wished = apply({ ...mesh(), recovery }, wish);
    expect(apply(wished, ends(4, true)).gitlab).toMatchObject({ host: 'K', epoch: 1004 });
    const trial = apply(wished, moved);
    expect(trial.gitlab).toMatchObject({ host: 'D', epoch: 1004, hosted: { copies: { bases: { 1004: base } } } });
    const gone = { gitlab: { host: 'K', epoch: 2004, hosted: { copies: { bases: { 2004: base } } } } };
    expect(apply(trial, ends(1004, true))).toMatchObject(gone);
    expect(moveTakenBack(data, 1004, 'desktop-1 is away', now).apply(trial)).toMatchObject(gone);
  });

  it('is taken back by the leader in that epoch only, and never once it stands', () => {
    const edit = moveTakenBack(data, 5, 'desktop-1 is away', now);
    expect(edit.apply(onTrial())).toMatchObject({ gitlab: { host: 'K', epoch: 6 } });
    const done = apply(onTrial(), stands(5));
    expect(edit.apply(done)).toBe(done);
    const wished = apply(mesh(), wish);
    expect(edit.apply(wished)).toBe(wished);
  });

  it('keeps an address that is a name of the owner', () => {
    const ledger = apply(apply(mesh({ url: 'https://git.example.org' }), wish), moved);
    expect(ledger.gitlab.url).toBe('https://git.example.org');
  });

  it('is named where its host is drained, on a machine that may ask for it: a drained one votes no more', () => {
    const drain = { kind: 'drain', node: 'K', drained: true } as const;
    const said = (before: Ledger): string => doneSentence(drain, before, apply(before, drain));
    expect(said(mesh())).toContain(
      '; GitLab goes on there: to run it elsewhere, on desktop-1: autogit-node gitlab move desktop-1',
    );
    const { copies, ...hosted } = mesh().gitlab.hosted!;
    const alone = {
      ...mesh(),
      gitlab: { ...mesh().gitlab, hosted: { ...hosted, copies: { ...copies!, set: { ...copies!.set, members: [] } } } },
    };
    expect(said(alone)).toContain('elsewhere, on a machine that votes: autogit-node gitlab copies add NAME');
  });

  it('is refused in words where it could not be done', () => {
    const why = (ledger: Ledger, to = 'D') => whyNoMove(ledger, to);
    expect(why(mesh())).toBeNull();
    expect(why(mesh(), 'K')).toContain('it runs on kang already');
    expect(why(mesh(), 'F')).toBe('desktop-3 holds no copy of it: autogit-node gitlab copies add desktop-3');
    expect(why(mesh({ voters: ['K', 'E'] }))).toContain('desktop-1 does not vote');
    expect(why(mesh({ can: ['hosting', 'copies'] }))).toContain('knows nothing of a GitLab that moves');
    expect(why({ ...mesh(), gitlab: { ...mesh().gitlab, url: null } })).toContain('does not stand yet');
    const wished = apply(mesh(), wish);
    expect(why(wished, 'E')).toContain('it is moving to desktop-1 already');
    expect(whyNoUpgrade(wished)).toContain('moving');
    expect(whyNoRestore(wished)).toContain('moving');
    expect(refusal(wished, { ...moved, base: { ...base, epoch: 3 } })).toContain('is not the last one of epoch 4');
    expect(refusal(wished, stands(4))).toBe('it has not moved yet');
    expect(whyNot(wished, moved, 'D')).toContain('only the host');
  });

  it('a restore gives a wish up, and is refused where it moved to and has not stood', () => {
    const restored = (epoch: number) => ({ kind: 'gitlab-restored', data, epoch, because: 'restored' }) as const;
    expect(apply(apply(mesh(), wish), restored(4)).gitlab.hosted).toMatchObject({ moved: { isDone: false } });
    expect(refusal(onTrial(), restored(5))).toContain('it has just moved here');
  });
});
