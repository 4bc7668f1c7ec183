import { describe, expect, it } from 'vitest';
import { StatusSnapshot } from '../../protocol/status.ts';
import { besideTimings, besideWaitMs, whyEndBeside, whyNotThat } from '../../scheduler/hosting/beside-rules.ts';
import { snapshot } from '../../scheduler/snapshot.ts';
import { round, Standby } from './beside-lab.ts';

const second = 1000;

/** SAFETY H7, H10: it is used only where the ledger has exactly that. */
describe('a boot beside the grace', () => {
  it('begins after 5 s of silence, on the machine that the leader will name: the one that says it has the newest round', () => {
    const one = new Standby();
    expect([one.turn(0), one.turn(4900), one.turn(5000), one.turn(44_000)]).toEqual([undefined, undefined, null, null]);
    one.self = 'desktop-2';
    expect(one.turn(5000)).toBeUndefined();
    one.newest['desktop-2'] = 8;
    expect(one.turn(5000)).toBeNull();
    one.newest['desktop-2'] = null;
    expect(one.turn(5000)).toBeUndefined();
    const drained = { ...one.ledger.nodes['desktop-1']!, drained: true };
    one.ledger = { ...one.ledger, nodes: { ...one.ledger.nodes, 'desktop-1': drained } };
    expect(one.turn(5000)).toBeNull();
    one.self = 'laptop';
    expect(one.turn(5000)).toBeUndefined();
    one.away = [];
    expect(one.turn(5000)).toBeUndefined();
  });

  it('does not begin where nothing would come of it: switched off, flagged, too often, cut off, nobody leads, long over', () => {
    const now = (change: (one: Standby) => void, silentMs = 6000): string | null | undefined => {
      const one = new Standby();
      change(one);
      return one.turn(silentMs);
    };
    const nothing = () => undefined;
    expect(now(nothing)).toBeNull();
    expect(
      now((one) => (one.ledger = { ...one.ledger, settings: { ...one.ledger.settings, failover: false } })),
    ).toBeUndefined();
    expect(now((one) => one.gitlab({ failover: { count: 3, flag: 'too often' } }))).toBeUndefined();
    expect(now((one) => one.gitlab({ failover: { count: 3 } }))).toBeUndefined();
    expect(now((one) => one.gitlab({ ending: { deleteData: false, since: 1, because: 'x' } }))).toBeUndefined();
    expect(now((one) => (one.away = ['kang', 'desktop-2', 'laptop']))).toBeUndefined();
    expect(now((one) => (one.leader = null))).toBeUndefined();
    expect(now((one) => (one.leader = 'kang'))).toBeUndefined();
    expect(now(nothing, 45 * second + besideTimings.lateMs)).toBeUndefined();
  });

  it('waits while its host has announced that it would be back, until a boot would be ready in time', () => {
    const one = new Standby();
    const kang = { ...one.ledger.nodes.kang!, left: true, backMs: 600_000 };
    one.ledger = { ...one.ledger, nodes: { ...one.ledger.nodes, kang } };
    expect([one.turn(60_000), one.turn(299_000), one.turn(301_000)]).toEqual([undefined, undefined, null]);
  });

  it('leaves a machine to its owner, unless he said otherwise, and says why', () => {
    const one = new Standby();
    one.measured = { owner: 'playing' };
    expect([one.turn(6000), one.turn(6000, 'always')]).toEqual(['the owner of this machine is playing', null]);
    one.measured = {};
    // The leader names the other one before it, whose boot it is then.
    one.paused = ['desktop-1'];
    expect([one.turn(6000), one.turn(6000, 'always')]).toEqual([undefined, undefined]);
    one.self = 'desktop-2';
    expect(one.turn(6000)).toBeNull();
    one.paused = ['desktop-1', 'desktop-2'];
    one.self = 'desktop-1';
    expect([one.turn(6000), one.turn(6000, 'always')]).toEqual(['its owner has paused it', null]);
    one.paused = [];
    one.measured = {};
    expect(one.turn(6000, 'never')).toContain('its owner wants no GitLab booted on it');
  });

  it('is not begun again at once while a host comes and goes', () => {
    expect([0, 1, 2, 3, 8, 9, 1000].map((vain) => besideWaitMs(vain) / second)).toEqual([
      0, 15, 30, 60, 1800, 1800, 1800,
    ]);
  });

  it('ends when its host is back, its owner plays, nothing moves any more, or a newer round has come', () => {
    const end = (change: (one: Standby) => unknown, newest = 7, silentMs = 20_000) => {
      const one = new Standby();
      const beside = one.booted();
      change(one);
      return whyEndBeside(one.now(silentMs), 'auto', beside, round(newest));
    };
    const nothing = () => undefined;
    expect(end(nothing)).toBeNull();
    // An election is no reason to throw a boot away.
    expect(end((one) => (one.leader = null))).toBeNull();
    expect(end((one) => (one.away = []))).toEqual({ because: 'kang is back', isVain: true });
    expect(end((one) => (one.measured = { owner: 'playing' }))?.because).toBe('the owner of this machine is playing');
    expect(end((one) => one.gitlab({ failover: { count: 0, flag: 'look' } }))?.because).toBe('look');
    expect(end(nothing, 8)).toEqual({ because: 'round 0-1-8 has come since', isVain: false });
    expect(end(nothing, 7, 46_000 + besideTimings.lateMs)?.because).toContain('nobody takes GitLab over');
    // The ledger has it go on here: whatever its former host, or its owner, does now.
    const isBack = (one: Standby) => {
      one.takenOver();
      one.away = [];
    };
    expect(end(isBack)).toBeNull();
  });

  it('is used only in the epoch that the ledger has, by the machine that it names, of that very round, and as it is now', () => {
    const why = (change: (one: Standby) => unknown, self = 'desktop-1') => {
      const one = new Standby();
      const beside = one.booted();
      change(one);
      return whyNotThat(beside, one.ledger, self);
    };
    expect(why((one) => one.takenOver())).toBeNull();
    // The epoch is not committed: kang's it is.
    expect(why(() => undefined)).toBe('GitLab does not go on here');
    expect(why((one) => one.takenOver('desktop-2'))).toBe('GitLab does not go on here');
    expect(why((one) => one.takenOver('desktop-1', 8))).toBe('GitLab goes on with round 0-1-8, and this was of 0-1-7');
    expect(why((one) => one.takenOver('desktop-1', 6))).toBe('GitLab goes on with round 0-1-6, and this was of 0-1-7');
    const later = (one: Standby) => {
      one.takenOver();
      one.ledger = { ...one.ledger, gitlab: { ...one.ledger.gitlab, epoch: 3 } };
    };
    expect(why(later)).toBe('GitLab goes on in epoch 3, and this was for 2');
    expect(why((one) => one.takenOver().gitlab({ image: 'gitlab/gitlab-ce:19.4.0-ce.0' }))).toContain('other settings');
    expect(why((one) => one.takenOver().gitlab({ hostname: '10.0.0.8' }))).toContain('other settings');
    expect(why((one) => one.takenOver().gitlab({ data: 'another1' }))).toBe('GitLab does not go on here');
  });

  it('stands in status, with since when and of which round; or why there is none', () => {
    const one = new Standby();
    const said = (): string => {
      const view = { ...one.now(20_000), self: 'laptop', wallMs: 1_000_000 };
      return StatusSnapshot.parse(snapshot(view)).gitlab.hosted?.because ?? '';
    };
    expect(said()).toMatch(/unless it is back$/);
    // Both would boot nothing: only of the one that goes on it matters.
    one.beside = { round: null, since: null, isUp: false, waits: 'its owner plays' };
    expect(said().match(/not beforehand/g)).toHaveLength(1);
    one.newest['desktop-2'] = null;
    one.beside = { round: round(7), since: 988_000, isUp: false, waits: null };
    expect(said()).toMatch(/unless it is back; desktop-1 boots it since 12 s, without network, of round 1\.7$/);
    one.beside = { round: round(7), since: 988_000, isUp: true, waits: null };
    expect(said()).toMatch(/; desktop-1 has it booted already, without network, of round 1\.7$/);
    one.beside = { round: null, since: null, isUp: false, waits: 'the owner of this machine is playing' };
    expect(said()).toMatch(/; desktop-1 boots it then, and not beforehand: the owner of this machine is playing$/);
    // What a machine said that is away itself means nothing any more.
    one.away = ['kang', 'desktop-1'];
    expect(said()).not.toContain('desktop-1 boots it');
  });
});
