import { describe, expect, it } from 'vitest';
import { gitlabTimings } from '../../node/hosting/gitlab-state.ts';
import type { Change } from '../../protocol/changes.ts';
import { Ledger } from '../../protocol/ledger.ts';
import { hostingTimings } from '../../scheduler/hosting/hosting-timings.ts';
import { applied } from '../fixtures/applied-changes.ts';
import { at, data, Leader, mesh, there, withMembers } from './takeover-lab.ts';

const { trialMs, waitMs, renewMs, roundAskMs } = hostingTimings;

/** Its agent lives, and asks for the lease of that epoch: true when one was given. */
function asks(leader: Leader, host: string, epoch: number): boolean {
  leader.feed({ kind: 'heard', from: host, message: { kind: 'lease-ask', nonce: `n-${leader.at}`, epoch, data } });
  leader.contactAt = leader.at + 1;
  leader.tick(2);
  return leader.last!.effects.some((one) => one.kind === 'send' && one.message.kind === 'lease-given');
}

/** It asks each half second for so long; how often it was given a lease in the last second of that. */
function askingFor(leader: Leader, host: string, epoch: number, ms: number): number {
  const end = leader.at + ms;
  let given = 0;
  while (leader.at < end) {
    leader.tick(renewMs - 2);
    const isGiven = asks(leader, host, epoch);
    if (isGiven && leader.at > end - 1000) given += 1;
  }
  return given;
}

/** K was silent: D is to bring it up, in epoch 5, and its agent lives. */
function onTrial(ledger = mesh()): Leader {
  const leader = new Leader(ledger).dies();
  leader.untilAsked();
  return leader.tells('D', at(31)).tells('E', at(30)).tick(1);
}

describe('a new host on trial whose agent lives and whose GitLab never comes (SAFETY H7)', () => {
  it('has the time of two starts, however slow', () => {
    expect(trialMs).toBeGreaterThanOrEqual(2 * gitlabTimings.hardBootMs);
  });

  it('is given no lease any more after that, and the next machine is named', () => {
    const leader = onTrial();
    expect(leader.ledger.gitlab).toMatchObject({ host: 'D', epoch: 5 });
    expect(askingFor(leader, 'D', 5, trialMs - 5000)).toBeGreaterThan(0);
    expect(leader.host).toBe('D');
    expect(askingFor(leader, 'D', 5, 5000 + 2000)).toBe(0);
    leader.untilAsked(waitMs);
    expect(leader.asked().map(({ to }) => to)).toEqual(['E']);
    leader.tells('E', at(31));
    expect(leader.ledger.gitlab).toMatchObject({ host: 'E', epoch: 6 });
    const { move } = leader.ledger.gitlab.hosted!;
    expect(move?.unplanned?.tried).toEqual(['D']);
    expect(move?.because).toContain('desktop-1 has not brought GitLab up in 40 min');
  });

  it('is followed by who was in sync too, from an older round: nobody was served since, and each has every push', () => {
    const leader = onTrial();
    leader.ledger = Ledger.parse(
      applied(0)(leader.ledger, { kind: 'gitlab-move-ends', data, epoch: 5, isClosed: true, because: 'no engine' }),
    );
    leader.untilAsked();
    leader.tells('E', at(30));
    expect(leader.ledger.gitlab).toMatchObject({ host: 'E', epoch: 6 });
    expect(leader.ledger.gitlab.hosted?.copies?.bases[6]).toEqual(at(30));
    // Who was not in sync may lack what was acknowledged.
    const none = onTrial(mesh({ members: ['D'] }));
    none.ledger = Ledger.parse(
      applied(0)(none.ledger, { kind: 'gitlab-move-ends', data, epoch: 5, isClosed: true, because: 'no engine' }),
    );
    none.untilAsked();
    none.tells('E', at(30));
    expect(none.host).toBe('D');
    // And once it has stood, all that counts is of its epoch.
    const stood = onTrial();
    stood.ledger = Ledger.parse(applied(0)(stood.ledger, { kind: 'gitlab-move-stands', data, epoch: 5 }));
    stood.dies('D').untilAsked();
    stood.tells('E', at(30));
    expect(stood.host).toBe('D');
  });

  it('goes on where nobody else could: its engine may come back', () => {
    const alone = onTrial(mesh({ members: ['D'] }));
    expect(alone.host).toBe('D');
    expect(askingFor(alone, 'D', 5, trialMs + 60_000)).toBeGreaterThan(0);
    // Somebody is in sync, and holds no round that it may be started from.
    const leader = onTrial();
    expect(askingFor(leader, 'D', 5, trialMs + waitMs)).toBe(0);
    expect(askingFor(leader, 'D', 5, 6 * roundAskMs + 1000)).toBeGreaterThan(0);
    // Where a person switched it off it is nobody else's either.
    const off = onTrial();
    off.ledger = { ...off.ledger, settings: { ...off.ledger.settings, failover: false } };
    expect(askingFor(off, 'D', 5, trialMs + 60_000)).toBeGreaterThan(0);
  });

  it('of a planned move goes back to where GitLab was', () => {
    const change = (ledger: Ledger, one: Change): Ledger => Ledger.parse(applied(0)(ledger, one));
    const wish = { kind: 'move-gitlab', data, epoch: 4, to: 'D', there: there('D'), because: 'asked' } as const;
    const trial = change(change(mesh(), wish), { kind: 'gitlab-moved', data, epoch: 4, base: at(31) });
    const leader = new Leader(trial);
    expect(askingFor(leader, 'D', 5, trialMs)).toBeGreaterThan(0);
    askingFor(leader, 'D', 5, waitMs + 2000);
    expect(leader.ledger.gitlab).toMatchObject({ host: 'K', epoch: 6 });
    expect(leader.ledger.gitlab.hosted?.moved?.because).toContain('has not brought it up in 40 min');
    // Said to stand afterwards, it is of an epoch that is over.
    expect(() => change(leader.ledger, { kind: 'gitlab-move-stands', data, epoch: 5 })).toThrow('epoch 6');
  });

  it('of a planned move goes to the next machine where an earlier version let the former host be forgotten', () => {
    const wish = { kind: 'move-gitlab', data, epoch: 4, to: 'D', there: there('D'), because: 'asked' } as const;
    const trial = applied(0)(mesh(), wish, { kind: 'gitlab-moved', data, epoch: 4, base: at(31) });
    const { K: _gone, ...nodes } = trial.nodes;
    const copies = trial.gitlab.hosted!.copies!;
    const left = copies.standbys.filter(({ node }) => node !== 'K');
    const forgotten = Ledger.parse(withMembers({ ...trial, nodes }, { copies: { ...copies, standbys: left } }));
    const leader = new Leader(forgotten);
    leader.ledger = Ledger.parse(
      applied(0)(leader.ledger, { kind: 'gitlab-move-ends', data, epoch: 5, isClosed: true, because: 'no room' }),
    );
    expect(leader.host).toBe('D');
    leader.untilAsked();
    leader.tells('E', at(31));
    expect(leader.host).toBe('E');
    // Silent, and not failed: as any host that nobody hears.
    const silent = new Leader(forgotten);
    silent.dies('D').untilAsked();
    silent.tells('E', at(31));
    expect(silent.host).toBe('E');
    // Its agent lives, and says nothing of how it went: as where its host was silent.
    const alive = new Leader(forgotten);
    expect(askingFor(alive, 'D', 5, trialMs + 2000)).toBe(0);
    alive.untilAsked(waitMs);
    alive.tells('E', at(31));
    expect(alive.host).toBe('E');
  });
});
