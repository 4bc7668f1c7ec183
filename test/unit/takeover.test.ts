import { describe, expect, it } from 'vitest';
import type { Change } from '../../protocol/changes.ts';
import { Ledger } from '../../protocol/ledger.ts';
import type { PeerMessage } from '../../protocol/messages.ts';
import { failoversMost, graceOf, successorsOf, whyNoFailover } from '../../scheduler/hosting/failover-rules.ts';
import { hostedUrl, hostingOf } from '../../scheduler/hosting/hosted-edits.ts';
import { hostingTimings } from '../../scheduler/hosting/hosting-timings.ts';
import { emptyHosting } from '../../scheduler/hosting/step-hosting.ts';
import { isRefusal } from '../../scheduler/ledger-edit.ts';
import { applyChange } from '../../scheduler/membership.ts';
import type { PartContext } from '../../scheduler/part.ts';
import { applied } from '../fixtures/applied-changes.ts';
import { at, base, data, Leader, mesh, there, withMembers } from './takeover-lab.ts';

const { waitMs, roundAskMs, ratherMs, silentSaidMs, settledMs } = hostingTimings;
describe('whoever may go on by itself (SAFETY H10)', () => {
  const of = (ledger: Ledger) => successorsOf(hostingOf(ledger)!);
  it('is a member of the in-sync set; with nobody in it who left last; with nobody ever, who holds the base', () => {
    expect(of(mesh({ members: ['E'] }))).toEqual({ kind: 'in-sync', nodes: ['E'] });
    expect(of(mesh({ members: [], last: ['E'] }))).toEqual({ kind: 'left-last', nodes: ['E'] });
    expect(of(mesh({ members: [], last: null }))).toEqual({ kind: 'base', nodes: ['D', 'E'] });
    expect(of(mesh({ members: [], last: ['F'] }))).toEqual({ kind: 'left-last', nodes: [] });
  });

  it('after 45 s in sync, else 120 s; longer where its host was not heard since the power came back (two minutes after the others it is early enough), or announced a hold', () => {
    const grace = (ledger: Ledger, wasHeard = true) => graceOf(ledger, hostingOf(ledger)!, of(ledger), wasHeard);
    const [inSync, none] = [mesh(), mesh({ members: [], last: ['D'] })];
    expect([grace(inSync), grace(none)]).toEqual([45_000, 120_000]);
    expect([grace(inSync, false), grace(none, false)]).toEqual([150_000, 150_000]);
    const slow = { ...inSync, nodes: { ...inSync.nodes, K: { ...inSync.nodes.K!, bootMs: 150_000 } } };
    expect([grace(slow), grace(slow, false)]).toEqual([45_000, 330_000]);
    const reboots = { ...inSync, nodes: { ...inSync.nodes, K: { ...inSync.nodes.K!, left: true, backMs: 90_000 } } };
    expect(grace(reboots)).toBe(90_000);
    const set = { ...inSync, settings: { ...inSync.settings, graceMs: 5000 } };
    expect(grace(set)).toBe(5000);
    expect(grace({ ...set, settings: { ...set.settings, inSyncGraceMs: 0 } })).toBe(0);
  });

  it('is nobody, in words, where moving would not be safe or nobody wants it', () => {
    const why = (ledger: Ledger) => whyNoFailover(ledger, hostingOf(ledger)!);
    expect(why(mesh())).toBeNull();
    expect(why({ ...mesh(), settings: { ...mesh().settings, failover: false } })).toContain('settings failover on');
    expect(why(mesh({}, { url: null }))).toBe('it has not stood here yet');
    const ending = { since: 0, deleteData: false, now: false, force: false, drained: false };
    expect(why(withMembers(mesh(), { ending }))).toBe('it is being uninstalled');
    const upgrade = { image: 'gitlab/gitlab-ce:19.5.0-ce.0', from: '19.4.1', since: 0, rehearse: true, because: 'b' };
    expect(why(withMembers(mesh(), { upgrade } as never))).toContain('being upgraded');
    expect(why(withMembers(mesh(), { failover: { count: 3, flag: 'look first' } }))).toBe('look first');
    const older = mesh();
    older.nodes.E = { ...older.nodes.E!, can: ['hosting', 'copies', 'move'] };
    expect(why(older)).toContain('knows nothing of a GitLab that moves by itself');
    const unseen = { by: 'F', at: 0, from: { era: mesh().era, stamp: mesh().stamp }, off: [], unseen: ['E'] };
    expect(why({ ...mesh(), recovery: unseen })).toContain('desktop-2 did not come over');
    const trial = { from: 'D', to: 'K', there: there('K'), back: there('D'), since: 0, because: 'asked' };
    expect(why(withMembers(mesh(), { move: trial }))).toContain('it is moving to kang');
  });
});

describe('the leader (SAFETY H7, H10)', () => {
  it('asks who is in sync once the grace is over, and names the newest round that it is told', () => {
    const leader = new Leader(mesh()).dies();
    const asked = leader.untilAsked();
    expect(asked).toBe(45_000);
    expect(leader.asked().map(({ to }) => to)).toEqual(['D', 'E']);
    leader.tells('D', at(30));
    expect(leader.host).toBe('K');
    leader.tells('E', at(31));
    const { gitlab, acts } = leader.ledger;
    expect(gitlab).toMatchObject({ host: 'E', epoch: 5, url: 'http://E.lab:8080', token: 't', instance: 'i' });
    expect(gitlab.hosted).toMatchObject({
      ...there('E'),
      move: { from: 'K', to: 'E', base: at(31), unplanned: { tried: [] } },
      copies: { bases: { 5: at(31) }, set: { version: 8, members: ['D'], last: null, boot: null } },
      failover: { count: 1 },
    });
    expect(gitlab.hosted?.copies?.standbys.map(({ node }) => node)).toEqual(['K', 'D']);
    expect(acts?.at(-1)?.sentence).toBe(
      'kang is silent for 45 s: desktop-2 goes on with every push that was acknowledged, and all else but at most the last 0 s',
    );
    expect(leader.tick(1).events()).toEqual(['gitlab-moved']);
  });

  it('names who has nothing against it before who would rather not, whose round is newer; the latter where nobody else says so', () => {
    const pulls = { rather: "GitLab's image has to be pulled first" };
    const leader = new Leader(mesh()).dies();
    leader.untilAsked();
    leader.tells('D', at(31), pulls).tells('E', at(30));
    expect(leader.host).toBe('E');
    // Nobody else can: at once.
    const alone = new Leader(mesh()).dies();
    alone.untilAsked();
    alone.tells('E', null, { because: 'port 8080 is taken' }).tells('D', at(31), pulls);
    expect(alone.host).toBe('D');
    // Who is there and has not answered, asked again and again, may look yet; nobody says meanwhile that nobody can.
    const slow = new Leader(mesh()).dies();
    slow.untilAsked();
    const from = slow.at;
    const events: string[] = [];
    while (slow.host === 'K' && slow.at - from < 20_000) {
      slow.tells('D', at(31), pulls);
      for (let ms = 0; slow.host === 'K' && ms < roundAskMs; ms += 100) events.push(...slow.tick(100).events());
    }
    expect(slow.host).toBe('D');
    expect(slow.at - from).toBeGreaterThanOrEqual(ratherMs);
    expect(slow.at - from).toBeLessThan(ratherMs + 2 * roundAskMs);
    expect(events).not.toContain('gitlab-takeover-waits');
  });

  it('asks nobody else, however long: who is in sync and away is waited for', () => {
    const leader = new Leader(mesh({ members: ['E'] })).dies();
    leader.silent.set('E', leader.at);
    expect(leader.untilAsked()).toBe(45_000);
    expect(leader.asked().map(({ to }) => to)).toEqual(['E']);
    for (let ms = 0; ms < 600_000; ms += 1000) leader.tick(1000);
    expect(leader.host).toBe('K');
    // Whoever was not asked is not heard.
    leader.tells('D', at(40));
    expect(leader.host).toBe('K');
    leader.tells('E', at(31));
    expect(leader.host).toBe('E');
  });

  it('takes no round but one of this epoch, or that with which it began', () => {
    const leader = new Leader(mesh({ members: [], last: null })).dies();
    expect(leader.untilAsked()).toBe(120_000);
    leader.tells('D', at(90, 3)).tells('E', { ...at(40), era: 3 });
    expect(leader.tick(roundAskMs).host).toBe('K');
    leader.tells('D', null, { because: 'no room' }).tells('E', base);
    expect(leader.host).toBe('E');
  });

  it('waits until every lease is out that it, or a leader before it, may have given, and proposes only if it gave none since', () => {
    const ledger = mesh();
    ledger.settings.inSyncGraceMs = 0;
    const leader = new Leader(ledger);
    expect(leader.dies().untilAsked()).toBe(waitMs);
    const giving = new Leader(ledger).tick(60_000);
    giving.feed({ kind: 'heard', from: 'K', message: { kind: 'lease-ask', nonce: 'n', epoch: 4, data } });
    giving.contactAt = giving.at + 1;
    giving.tick(1);
    expect(giving.state.lead?.givenAt).toBe(giving.at);
    expect(giving.dies().untilAsked()).toBe(waitMs);
    // Heard, and answered, between question and answer: the round that was told may be older than what that lease let in.
    giving.feed({ kind: 'heard', from: 'K', message: { kind: 'lease-ask', nonce: 'o', epoch: 4, data } });
    giving.contactAt = giving.at + 1;
    giving.tick(1);
    expect([giving.host, giving.state.lead?.question]).toEqual(['K', null]);
    expect(giving.untilAsked()).toBe(waitMs);
    giving.tells('D', at(31)).tells('E', at(32));
    expect(giving.host).toBe('E');
  });

  it('gives it up when the host is back, and goes on when it falls silent anew, from the start', () => {
    const leader = new Leader(mesh()).dies().tick(silentSaidMs);
    expect(leader.events()).toContain('gitlab-host-silent');
    leader.tick(39_000);
    expect(leader.isBack().tick(500).events()).toContain('gitlab-host-back');
    expect(leader.untilAsked(300_000)).toBe(300_000);
    expect(leader.dies().untilAsked()).toBe(45_000);
    leader.isBack().tick(500);
    expect(leader.state.lead?.question).toBeNull();
  });

  it('asks anew where who is in sync has changed meanwhile, and counts nothing that was told for the set of before', () => {
    const leader = new Leader(mesh()).dies();
    leader.untilAsked();
    leader.tells('D', at(30));
    const { copies } = leader.ledger.gitlab.hosted!;
    leader.ledger = withMembers(leader.ledger, {
      copies: { ...copies!, set: { ...copies!.set, version: 8, members: ['E'] } },
    });
    leader.tick(1);
    expect(leader.asked().map(({ to }) => to)).toEqual(['E']);
    expect(leader.host).toBe('K');
    leader.tells('E', at(29));
    expect(leader.host).toBe('E');
  });

  it('never gives the former host another lease once it has proposed', () => {
    const leader = new Leader(mesh()).dies();
    leader.untilAsked();
    leader.isCommitting = false;
    leader.tells('D', at(30)).tells('E', at(30));
    expect([leader.host, leader.context.committed?.gitlab.host]).toEqual(['D', 'K']);
    leader.isBack().feed({ kind: 'heard', from: 'K', message: { kind: 'lease-ask', nonce: 'n', epoch: 4, data } });
    leader.contactAt = leader.at + 1;
    const sent = leader.tick(1).last!.effects.filter((one) => one.kind === 'send');
    expect(sent).toEqual([]);
  });

  it('after a power cut of all machines waits the longer grace, and as long as that host needs to boot', () => {
    const slow = mesh();
    slow.nodes.K = { ...slow.nodes.K!, bootMs: 150_000 };
    const cold = new Leader(slow);
    cold.state = { ...emptyHosting };
    expect(cold.dies().untilAsked()).toBe(330_000);
  });

  it('learns how long its host needs from its last word to another boot, and keeps the shortest', () => {
    const leader = new Leader(mesh()).report('K', 'boot-1').tick(2000).dies().tick(20_000).tick(20_000).isBack();
    leader.report('K', 'boot-2');
    expect(leader.ledger.nodes.K?.bootMs).toBe(40_000);
    leader.tick(2000).dies().tick(9000).isBack().report('K', 'boot-3');
    expect(leader.ledger.nodes.K?.bootMs).toBe(9000);
    // A silence without another boot, or a machine that was off over night, says nothing.
    leader.tick(2000).dies().tick(2500).isBack().report('K', 'boot-3');
    expect(leader.ledger.nodes.K?.bootMs).toBe(9000);
  });

  it('goes on to the next machine at once where one could not bring it up, and never to one that was tried', () => {
    const leader = new Leader(mesh()).dies();
    leader.untilAsked();
    leader.tells('D', at(30)).tells('E', at(30));
    expect(leader.host).toBe('D');
    const failed: Change = { kind: 'gitlab-move-ends', data, epoch: 5, isClosed: true, because: 'no room there' };
    const after = applied(0)(leader.ledger, failed);
    expect(applyChange(after, failed, 0)).toEqual(after);
    leader.ledger = Ledger.parse(after);
    expect(leader.untilAsked()).toBe(100);
    expect(leader.asked().map(({ to }) => to)).toEqual(['E']);
    const { nonce } = leader.state.lead!.question!;
    const told = { kind: 'round-told', nonce, epoch: 5, data, takenAt: 1, because: null } as const;
    leader.feed({ kind: 'heard', from: 'E', message: { ...told, round: at(30), there: there('E') } });
    expect(leader.ledger.gitlab).toMatchObject({ host: 'E', epoch: 6 });
    expect(leader.ledger.gitlab.hosted).toMatchObject({
      move: { unplanned: { tried: ['D'] } },
      failover: { count: 2 },
    });
  });

  it('gives what could not bring it up no lease any more, also where its agent has begun anew: the next one is asked', () => {
    const leader = new Leader(mesh()).dies();
    leader.untilAsked();
    leader.tells('D', at(30)).tells('E', at(30));
    const failed: Change = { kind: 'gitlab-move-ends', data, epoch: 5, isClosed: true, because: 'no room there' };
    leader.ledger = Ledger.parse(applyChange(leader.ledger, failed, 0));
    leader.untilAsked();
    const message: PeerMessage = { kind: 'lease-ask', nonce: 'of another boot', epoch: 5, data };
    leader.feed({ kind: 'heard', from: 'D', message });
    leader.contactAt = leader.at + 50;
    leader.tick(100);
    const given = leader.last?.effects.filter((one) => one.kind === 'send' && one.message.kind === 'lease-given');
    expect(given).toEqual([]);
    const { lead } = leader.state;
    expect(lead?.question?.asked).toEqual(['E']);
    // Nor does it ask for one.
    const other = new Leader(leader.ledger, 'D');
    other.tick(hostingTimings.renewMs);
    expect(other.state.asks).toEqual([]);
  });

  it('stops after so many moves without a rest, until a person clears the flag', () => {
    const often = withMembers(mesh(), { failover: { count: failoversMost } });
    const leader = new Leader(often).dies();
    expect(leader.untilAsked(100_000)).toBe(100_000);
    expect(leader.ledger.gitlab.hosted?.failover?.flag).toContain('autogit-node gitlab clear-flag');
    const cleared = applyChange(leader.ledger, { kind: 'clear-gitlab-flag', data }, 0);
    if (isRefusal(cleared)) throw new Error(cleared.refused);
    leader.ledger = Ledger.parse(cleared);
    leader.tick(100);
    expect(leader.asked()).toHaveLength(2);
    expect(applyChange(cleared, { kind: 'clear-gitlab-flag', data }, 0)).toBe(cleared);
    expect(applyChange(cleared, { kind: 'clear-gitlab-flag', data: 'other' }, 0)).toHaveProperty('refused');
  });

  it('counts anew where a person has looked before the flag came', () => {
    const often = withMembers(mesh(), { failover: { count: failoversMost - 1 } });
    const cleared = applyChange(often, { kind: 'clear-gitlab-flag', data }, 0);
    expect((cleared as Ledger).gitlab.hosted).not.toHaveProperty('failover');
  });

  it('forgets how often it moved once it has served for long where it is', () => {
    const leader = new Leader(withMembers(mesh(), { failover: { count: 2 } })).tick(10);
    for (let ms = 0; ms <= settledMs; ms += 1000) leader.tick(1000);
    expect(leader.ledger.gitlab.hosted).not.toHaveProperty('failover');
  });

  it('names no machine that left, is drained, does not vote, or is of an earlier version', () => {
    for (const said of [{ left: true }, { drained: true }, { can: ['hosting'] }]) {
      const ledger = mesh({ members: ['D'] });
      ledger.nodes.D = { ...ledger.nodes.D!, ...said };
      // Any voter that is older keeps it from moving at all.
      const leader = new Leader(ledger).dies();
      leader.untilAsked(60_000);
      expect(leader.asked()).toEqual([]);
    }
  });

  it('keeps an address that is a name, and takes one of IPv6 where GitLab is reached by such a one', () => {
    const named = withMembers(mesh({ members: ['D'] }), { hostname: 'git.lan' });
    const sixth = withMembers(mesh({ members: ['D'] }), { ipv6: 'fd00::1' });
    const url = (ledger: Ledger, hostname = '10.0.0.2'): string | null => {
      const leader = new Leader({ ...ledger, gitlab: { ...ledger.gitlab, url: hostedUrl(hostingOf(ledger)!) } }).dies();
      leader.untilAsked();
      leader.tells('D', at(30), { there: { ...there('D'), hostname, ipv6: 'fd00::2' } });
      return leader.ledger.gitlab.url;
    };
    expect([url(named), url(sixth), url(mesh({ members: ['D'] }))]).toEqual([
      'http://git.lan:8080',
      'http://[fd00::2]:8080',
      'http://10.0.0.2:8080',
    ]);
    // A machine that has no other address: under this one everybody finds himself.
    expect(url(mesh({ members: ['D'] }), '127.0.0.1')).toBe('http://[fd00::2]:8080');
  });

  it('counts what a former era may have used as used', () => {
    const recovered = mesh();
    recovered.recovery = { by: 'F', at: 0, from: { era: recovered.era, stamp: recovered.stamp }, off: [], unseen: [] };
    const leader = new Leader(recovered).dies();
    leader.untilAsked();
    leader.tells('D', at(30)).tells('E', at(30));
    expect(leader.ledger.gitlab.epoch).toBe(1004);
    expect(leader.ledger.gitlab.hosted?.copies?.bases).toHaveProperty('1004');
  });
});

describe('a machine that holds copies', () => {
  const asked: PeerMessage = { kind: 'round-ask', nonce: 'q', epoch: 4, data };
  const standby = (over: Partial<PartContext> = {}): Leader => {
    const one = new Leader(mesh(), 'D');
    Object.assign(one.context, { isLeader: false, mayAct: false, leader: 'F', ...over });
    return one;
  };

  it('looks for its newest round when the leader of its ledger asks, and tells it', () => {
    const one = standby().feed({ kind: 'heard', from: 'F', message: asked });
    expect(one.last?.effects).toEqual([{ kind: 'find-round', to: 'F', nonce: 'q', epoch: 4, data }]);
    const told = {
      kind: 'round-told',
      nonce: 'q',
      epoch: 4,
      data,
      round: at(9),
      takenAt: 5,
      there: there('D'),
      because: null,
    } as const;
    one.feed({ kind: 'round-found', to: 'F', told });
    expect(one.last?.effects).toEqual([{ kind: 'send', to: 'F', message: told }]);
  });

  it('tells nobody else, and nothing of another epoch', () => {
    for (const one of [
      standby({ leader: 'E' }).feed({ kind: 'heard', from: 'F', message: asked }),
      standby().feed({ kind: 'heard', from: 'F', message: { ...asked, epoch: 5 } as PeerMessage }),
      standby().feed({ kind: 'heard', from: 'F', message: { ...asked, data: 'other' } as PeerMessage }),
    ])
      expect(one.last?.effects).toEqual([]);
  });
});
