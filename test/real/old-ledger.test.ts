import { afterEach, describe, expect, it } from 'vitest';
import type { Ledger } from '../../protocol/ledger.ts';
import type { PeerMessage } from '../../protocol/messages.ts';
import { names } from '../../protocol/names.ts';
import { compareStamps } from '../../protocol/stamp.ts';
import { endMembers, expectOneHistory, type LabMember, labMember, labMesh, letIn, settled } from './member-lab.ts';
import { attacker, endAttackers, frame, throwAt } from './network-attacker.ts';
import { endParties, pause, until } from './network-party.ts';

afterEach(async () => {
  await endAttackers();
  await endMembers();
  await endParties();
});

const setGrace = (by: LabMember, value: number): Promise<void> => by.change({ kind: 'set', key: 'graceMs', value });
const graceAt = (members: readonly LabMember[]): number[] => members.map(({ ledger }) => ledger.settings.graceMs);
const others = (all: readonly LabMember[], ...without: LabMember[]): LabMember[] =>
  all.filter((one) => !without.includes(one));

/** Leadership goes to another one, in a newer term, as when a machine is drained. */
async function newTerm(all: readonly LabMember[]): Promise<LabMember> {
  const before = await settled(all);
  await before.change({ kind: 'drain', node: before.name, drained: true });
  await until(() => all.some((one) => one.leads && one !== before), 'another one leads');
  await before.change({ kind: 'drain', node: before.name, drained: false });
  return settled(all);
}

describe('a member with an old ledger', () => {
  it('that was off while machines came and went takes the newer one, and changes nothing', async () => {
    const all = await labMesh(['kang', 'desktop-1', 'desktop-2', 'desktop-3']);
    const leader = await settled(all);
    const [late, gone, stays] = others(all, leader) as [LabMember, LabMember, LabMember];
    await late.stop();
    await leader.change({ kind: 'forget', node: gone.name });
    const newcomer = await labMember('desktop-4');
    // Whoever is forgotten closes the pairing window, too.
    await leader.change({ kind: 'pair', until: Date.now() + 600_000 });
    await letIn(leader, newcomer);
    const present = [leader, stays, newcomer];
    await setGrace(leader, 1111);
    await until(() => present.every((one) => one.ledger.settings.graceMs === 1111), 'all who are there have it');
    const { term } = leader;

    // To its old ledger the forgotten machine is a member, and the new one is not.
    await late.start();
    expect(late.ledger.nodes[gone.id]).toBeDefined();
    expect(late.ledger.nodes[newcomer.id]).toBeUndefined();
    expect(await settled([...present, late])).toBe(leader);
    expect(leader.term).toBe(term);
    expect(graceAt([...present, late])).toEqual([1111, 1111, 1111, 1111]);
    expect(late.ledger.nodes[gone.id]).toBeUndefined();
    expect(late.network.network.connected()).not.toContain(gone.id);
    expectOneHistory([...present, late]);
  });

  it('asks for votes first, and does not get them: what was decided without it stays', async () => {
    const all = await labMesh(['kang', 'desktop-1', 'desktop-2']);
    const leader = await settled(all);
    const [late, other] = others(all, leader) as [LabMember, LabMember];
    const old = other.ledger;
    await late.stop();
    await setGrace(leader, 2222);
    await until(() => other.ledger.settings.graceMs === 2222, 'the other one has it');
    const { stamp } = other.ledger;
    await leader.stop();
    await other.stop();
    // The leader's word that this is committed never came: so nobody can simply give it to the one that was off.
    await other.onDisk((store) => store.write([{ key: 'committed', value: old }]));
    const copies = [late, other].map((one) => one.copyDisk());

    const hasAsked = (): boolean =>
      other.heard.some(
        ({ from, message }) =>
          from === late.id && message.kind === 'pre-vote' && compareStamps(message.stamp, stamp) < 0,
      );
    for (let tries = 0; !hasAsked() && tries < 20; tries += 1) {
      for (const [index, one] of [late, other].entries()) {
        await one.stop();
        one.restoreDisk(copies[index] as string);
      }
      other.heard.length = 0;
      await late.start();
      // It looks for a leader by now, and asks again and again.
      await pause(400);
      await other.start();
      await until(() => late.leader !== null && late.leader === other.leader, 'they agree on a leader');
      expect(other.leads).toBe(true);
      // Each commits by two disks, its own and the other's: who knows both first may be either.
      await until(
        () => [late, other].every((one) => one.ledger.settings.graceMs === 2222),
        'both have the newer ledger',
      );
    }
    expect(hasAsked()).toBe(true);
    await leader.start();
    await settled(all);
    expectOneHistory(all);
  });

  it('whose store is an earlier copy finds that out, and neither leads nor makes a leader', async () => {
    const all = await labMesh(['kang', 'desktop-1', 'desktop-2']);
    const restored = others(all, await settled(all))[0] as LabMember;
    await restored.stop();
    const copy = restored.copyDisk();
    await restored.start();
    let leader = await newTerm(all);
    if (leader === restored) leader = await newTerm(all);
    const third = others(all, leader, restored)[0] as LabMember;
    await setGrace(leader, 3333);
    await until(() => graceAt(all).every((value) => value === 3333), 'all have it');

    const { term } = leader;
    await third.stop();
    await restored.stop();
    restored.restoreDisk(copy);
    const forgetful = await restored.onDisk(async ({ id }) => id);
    await restored.start();
    await until(() => restored.notes.some(({ event }) => event === 'store-rolled-back'), 'it finds out');
    // The two would be a majority, if it were still the store that votes: neither its votes nor its answers count.
    await until(() => !leader.leads, 'the leader has no quorum');
    await pause(1500);
    expect([leader.term, leader.leads, restored.leads]).toEqual([term, false, false]);
    await third.start();
    await until(() => all.some((one) => one.leads), 'there is a leader again');
    expect(restored.leads).toBe(false);
    await until(() => graceAt(all).every((value) => value === 3333), 'nothing was lost');
    // And is taken in again, as the new store that it is.
    const storeNow = async () => (await settled(all)).ledger.configuration.voters[restored.id]?.store;
    await until(async () => (await storeNow()) !== forgetful, 'its new store votes');
    expectOneHistory(all);
  });
});

describe('a machine that was forgotten', () => {
  /** Two that stay, and one whose disk still says that it is a member. */
  async function forgotten(): Promise<{ kept: LabMember[]; leader: LabMember; out: LabMember; old: Ledger }> {
    const all = await labMesh(['kang', 'desktop-1', 'desktop-2']);
    const leader = await settled(all);
    const out = others(all, leader)[0] as LabMember;
    const old = out.ledger;
    await out.stop();
    await leader.change({ kind: 'forget', node: out.name });
    const kept = others(all, out);
    await settled(kept);
    return { kept, leader, out, old };
  }

  /** As before, and able to decide. */
  async function expectUntouched(kept: LabMember[], leader: LabMember, out: LabMember, term: number): Promise<void> {
    expect(kept.map((one) => [one.term, one.leader])).toEqual(kept.map(() => [term, leader.id]));
    for (const { ledger, network, heard } of kept) {
      expect(network.network.connected()).not.toContain(out.id);
      expect(ledger.nodes[out.id]).toBeUndefined();
      expect(heard.filter(({ from, message }) => from === out.id && 'term' in message && message.term > term)).toEqual(
        [],
      );
    }
    await setGrace(leader, 4444);
    await until(() => graceAt(kept).every((value) => value === 4444), 'they decide');
    expectOneHistory(kept);
  }

  it('starts again as if nothing had happened, with a ledger of a term that never was', async () => {
    const { kept, leader, out, old } = await forgotten();
    const { term } = leader;
    const invented: Ledger = {
      ...old,
      stamp: { term: 1000, version: old.stamp.version + 1000 },
      settings: { ...old.settings, graceMs: 666 },
    };
    await out.accepts(invented);
    await out.start();
    // It dials, and asks for votes in term 1001, over and over.
    await pause(4000);
    await expectUntouched(kept, leader, out, term);
    expect(out.leads).toBe(false);
  });

  it('is refused on every protocol, whatever ledger and term it shows', async () => {
    const { kept, leader, out, old } = await forgotten();
    const { term } = leader;
    const liar = await attacker(out.key);
    const mine = (stamp: Ledger['stamp']): Ledger => ({ ...old, stamp, settings: { ...old.settings, graceMs: 666 } });
    const append = (stamp: Ledger['stamp']): PeerMessage => ({
      kind: 'append',
      term: stamp.term,
      round: 1,
      stamp,
      committed: stamp,
      ledger: mine(stamp),
    });
    const ahead = { term: term + 1000, version: old.stamp.version + 1000 };
    const said: PeerMessage[] = [
      append(old.stamp),
      append(ahead),
      { kind: 'vote', term: ahead.term, stamp: ahead, handover: true },
      { kind: 'timeout-now', term },
      { kind: 'change', id: 'change-1', change: { kind: 'forget', node: leader.name } },
      { kind: 'own-runs', boot: 'boot', runs: [] },
    ];
    const asks = [{ kind: 'jobs' }, { kind: 'log', lines: 10 }];
    for (const to of kept) {
      const opening = frame({ v: 1, addresses: [] });
      const envelope = (message: PeerMessage): Uint8Array => frame({ v: 1, era: old.era, message });
      const thrown: [string, Uint8Array][] = [
        ...said.map((message): [string, Uint8Array] => [names.meshStream, Buffer.concat([opening, envelope(message)])]),
        ...asks.map((ask): [string, Uint8Array] => [names.askStream, frame(ask)]),
        ['/meshsub/1.2.0', frame('report')],
        ['/ipfs/id/1.0.0', frame('')],
      ];
      for (const [protocol, bytes] of thrown) {
        // A forgotten machine gets three seconds at a time.
        const stream = await (await liar.connect(to.network)).newStream(protocol).catch(() => null);
        const answer = stream && (await throwAt(stream, bytes));
        expect(answer === null || answer.ended, protocol).toBe(true);
        expect(answer?.heard.byteLength ?? 0, protocol).toBe(0);
      }
      expect(to.network.network.diagnosis.counters().refusedStreams).toBeGreaterThan(0);
    }
    await expectUntouched(kept, leader, out, term);
  });
});
