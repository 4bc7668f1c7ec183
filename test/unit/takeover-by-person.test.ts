import { describe, expect, it } from 'vitest';
import type { Change } from '../../protocol/changes.ts';
import { Ledger } from '../../protocol/ledger.ts';
import { applyChange } from '../../scheduler/membership.ts';
import { applied, refusedAt } from '../fixtures/applied-changes.ts';
import { at, data, Leader, mesh, there, withMembers } from './takeover-lab.ts';

const apply = (ledger: Ledger, change: Change): Ledger => Ledger.parse(applied(0)(ledger, change));

/** The leader holds copies itself, and tells its round where it asks itself. */
function tells(leader: Leader): void {
  const found = leader.last?.effects.find((one) => one.kind === 'find-round');
  if (found?.kind !== 'find-round') return;
  const { nonce, epoch } = found;
  const told = { round: at(30), takenAt: 4_000_000, there: there('D'), because: null };
  leader.feed({ kind: 'round-found', to: 'D', told: { kind: 'round-told', nonce, epoch, data, ...told } });
}

describe('a person has GitLab go on at another machine (SAFETY H7, H10)', () => {
  it('starts what it would not by itself where a person says so, once the gate is surely shut, and not while the host is there', () => {
    const start = (to: string | null): Change => ({ kind: 'start-gitlab-at', data, epoch: 4, to, because: 'asked' });
    const alone = mesh({ members: ['E'] });
    alone.settings.failover = false;
    expect(applyChange(alone, start('F'), 0)).toEqual({ refused: 'desktop-3 holds no copy of it' });
    expect(applyChange(alone, start('K'), 0)).toHaveProperty('refused');
    const leader = new Leader(apply(alone, start('D')));
    expect(leader.tick(10).ledger.gitlab.hosted).not.toHaveProperty('failover');
    leader.dies().tick(20_000);
    expect(leader.asked()).toEqual([]);
    leader.ledger = apply(leader.ledger, start('D'));
    leader.tick(100);
    expect(leader.asked().map(({ to }) => to)).toEqual(['D']);
    leader.tells('D', at(12));
    expect(leader.host).toBe('D');
    expect(leader.ledger.gitlab.hosted?.failover).toEqual({ count: 1 });
    expect(leader.ledger.gitlab.hosted?.move?.because).toContain('what was pushed later is on kang alone');
    // One that is in sync lacks no push, whoever named it.
    const member = new Leader(alone).dies();
    member.ledger = apply(member.ledger, start('E'));
    member.untilAsked();
    member.tells('E', at(12));
    expect(member.ledger.gitlab.hosted?.move?.because).toContain('with every push that was acknowledged');
    expect(apply(apply(alone, start('D')), start(null)).gitlab.hosted).not.toHaveProperty('failover');
  });

  it('goes on from a copy of the former era after a recovery by force, where its host and all others were seen switched off', () => {
    const before = mesh({ members: [], last: null });
    const recovered = (off: string[], unseen = ['K', 'E', 'F']): Ledger => ({
      ...before,
      era: { id: 'new', counter: 1 },
      configuration: { voters: { D: { store: 's-D', weight: 2 } }, next: null },
      recovery: { by: 'D', at: 0, from: { era: before.era, stamp: before.stamp }, off, unseen },
    });
    const word: Change = { kind: 'start-gitlab-at', data, epoch: 4, to: 'D', because: 'K burned' };
    expect(refusedAt(0)(recovered(['K', 'F']), word)).toContain('desktop-2 did not come over');
    const silent = (leader: Leader): Leader => leader.dies('E').dies('F').dies('K');
    // By itself nothing is started, however long: not either once all have come over or were forgotten.
    for (const unseen of [['K', 'E', 'F'], []]) {
      const waits = silent(new Leader(recovered([], unseen), 'D'));
      for (let ms = 0; ms < 200_000; ms += 1000) tells(waits.tick(1000));
      expect(waits.host).toBe('K');
    }
    const leader = silent(new Leader(recovered(['K', 'E', 'F']), 'D')).tick(60_000);
    leader.ledger = apply(leader.ledger, word);
    tells(leader.tick(100));
    expect(leader.ledger.gitlab).toMatchObject({ host: 'D', epoch: 1004 });
    expect(leader.ledger.gitlab.hosted?.copies?.bases[1004]).toEqual(at(30));
    expect(leader.ledger.gitlab.hosted?.move?.because).toContain('what was pushed later is on kang alone');
  });

  it("ends an upgrade whose host is gone by a person's word only, and goes on with the image of the data", () => {
    const upgrade = {
      image: 'gitlab/gitlab-ce:18.0.0-ce.0',
      from: '17.11.0',
      rehearse: true,
      since: 0,
      because: 'asked',
    };
    const upgrading = withMembers(mesh(), { upgrade });
    const leader = new Leader(upgrading).dies();
    expect(leader.untilAsked(200_000)).toBe(200_000);
    const word: Change = { kind: 'start-gitlab-at', data, epoch: 4, to: 'E', because: 'K is gone' };
    leader.ledger = apply(leader.ledger, word);
    leader.untilAsked();
    leader.tells('E', at(30));
    const { hosted } = leader.ledger.gitlab;
    expect([leader.host, hosted?.image, hosted?.upgrade]).toEqual(['E', upgrading.gitlab.hosted?.image, undefined]);
    expect(hosted?.upgraded).toMatchObject({ isDone: false, because: expect.stringContaining('was silent') });
  });

  it('waits for its host also where a person clears a flag meanwhile', () => {
    const wanted = { to: 'D', since: 0, because: 'asked' };
    const flagged = withMembers(mesh(), { failover: { count: 3, flag: 'moved too often', wanted } });
    const leader = new Leader(mesh()).dies();
    leader.ledger = apply(flagged, { kind: 'clear-gitlab-flag', data });
    expect(leader.ledger.gitlab.hosted?.failover).toEqual({ count: 0, wanted });
    leader.untilAsked();
    expect(leader.asked().map(({ to }) => to)).toEqual(['D']);
  });

  it('refuses a person in words where the leader would never act on it', () => {
    const asked = (ledger: Ledger): string =>
      refusedAt(0)(ledger, { kind: 'start-gitlab-at', data, epoch: 4, to: 'E', because: 'K is gone' });
    const ending = { since: 0, deleteData: false, now: false, force: false, drained: false };
    const recovery = { by: 'F', at: 0, from: { era: mesh().era, stamp: mesh().stamp }, off: [], unseen: ['K'] };
    expect(asked(mesh())).toBe('done');
    expect(asked(withMembers(mesh(), { ending }))).toBe('GitLab cannot go on at desktop-2: it is being uninstalled');
    expect(asked({ ...mesh(), recovery })).toContain('did not come over since this mesh was recovered');
    expect(asked(mesh({}, { url: null }))).toContain('it has not stood here yet');
    // Where nothing moves by itself a person's word holds all the same.
    expect(asked({ ...mesh(), settings: { ...mesh().settings, failover: false } })).toBe('done');
  });

  it('tries again there, under another epoch and with the same round, where a person says so', () => {
    const leader = new Leader(mesh({ members: ['D'] })).dies();
    leader.untilAsked();
    leader.tells('D', at(30));
    const change = (asked: Change): void => {
      leader.ledger = apply(leader.ledger, asked);
    };
    const again: Change = { kind: 'start-gitlab-at', data, epoch: 5, to: 'D', because: 'there is room now' };
    expect(() => change(again)).toThrow('it goes on there when it is back');
    change({ kind: 'gitlab-move-ends', data, epoch: 5, isClosed: true, because: 'no room' });
    change(again);
    expect(leader.ledger.gitlab).toMatchObject({ host: 'D', epoch: 6 });
    const { move, copies } = leader.ledger.gitlab.hosted!;
    expect([move?.unplanned, copies?.bases['6'], copies?.set.boot]).toEqual([{ tried: [] }, at(30), null]);
    // Also where nobody else holds a copy; not while it is uninstalled.
    change({ kind: 'gitlab-move-ends', data, epoch: 6, isClosed: true, because: 'no room' });
    const alone = withMembers(leader.ledger, { copies: { ...copies!, agreed: [], standbys: [] } });
    const third = { ...again, epoch: 6 };
    expect(applyChange(alone, third, 0)).toMatchObject({ gitlab: { host: 'D', epoch: 7 } });
    // What its host of before held was taken out meanwhile, and is deleted there: it is not named anew.
    const { agreed, standbys } = apply(alone, third).gitlab.hosted!.copies!;
    expect([agreed, standbys]).toEqual([[], []]);
    const ending = { since: 0, deleteData: false, now: false, force: false, drained: false };
    expect(applyChange(withMembers(alone, { ending }), third, 0)).toEqual({ refused: 'GitLab is being uninstalled' });
  });
});
