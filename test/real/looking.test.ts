import { afterEach, describe, expect, it } from 'vitest';
import { enrol } from '../../node/enrol/enrol-client.ts';
import { EnrolServer } from '../../node/enrol/enrol-server.ts';
import { findMeshes } from '../../node/enrol/find-meshes.ts';
import type { EnrolDoor } from '../../node/network/enrol-door.ts';
import type { ChangeOutcome } from '../../protocol/changes.ts';
import { endParties, ledgerOf, type Party, party, until } from './network-party.ts';

/** The network of an agent that has asked the LAN since long before. */
const sinceLong = ({ network }: Party, looks: { count: number }): EnrolDoor => ({
  self: network.self,
  lookingSince: 0,
  addresses: () => network.addresses(),
  strangers: () => network.door.strangers(),
  strangersChange: (ms) => network.door.strangersChange(ms),
  lookAround: () => {
    looks.count += 1;
  },
  onEnrol: (answer) => network.door.onEnrol(answer),
  openEnrol: (to, timeoutMs) => network.door.openEnrol(to, timeoutMs),
  isOnOwnLan: (address) => network.door.isOnOwnLan(address),
});

const servers: EnrolServer[] = [];
afterEach(async () => {
  for (const server of servers.splice(0)) server.close();
  await endParties();
});

/** Makes it the one member of a mesh that lets machines of the LAN in, if only it can have it decided. */
function serverOf(who: Party, outcome: ChangeOutcome): void {
  const server = new EnrolServer({
    door: who.network.door,
    change: async () => outcome,
    meshKey: () => '',
    unseal: (sealed) => sealed,
    wallMs: () => Date.now(),
    log: { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} },
  });
  servers.push(server);
  const ledger = ledgerOf([who], { pairUntil: Date.now() + 600_000 });
  who.network.setLedger(ledger);
  server.onLedger(ledger);
}

describe('a look for meshes', () => {
  it('goes on for all of its time, however long the LAN has been asked: one look is one burst of questions', async () => {
    const seeker = await party('seeker');
    const looks = { count: 0 };
    const began = performance.now();
    expect(await findMeshes(sinceLong(seeker, looks), 500)).toEqual([]);
    expect(performance.now() - began).toBeGreaterThanOrEqual(499);
    expect(looks.count).toBe(1);
  });

  it('asks whoever is in sight before a founder founds, however long the LAN has been asked', async () => {
    const [kang, alone] = [await party('kang'), await party('alone')];
    serverOf(kang, { state: 'refused', because: 'nothing changes here' });
    const founder = await party('founder', { peers: [`127.0.0.1:${kang.network.port}`] });
    await until(() => founder.network.door.strangers().length === 1, 'kang is in sight');
    const looks = { count: 0 };
    expect(await findMeshes(sinceLong(founder, looks), 10_000, () => false, 250)).toHaveLength(1);
    expect(await findMeshes(sinceLong(alone, looks), 10_000, () => false, 250)).toEqual([]);
  });
});

describe('a knock at a mesh', () => {
  it.each([
    ['refused', 'refused'],
    ['unknown', 'lost'],
  ] as const)('that answers %s is %s: who has no leader has not said no', async (state, kind) => {
    const [kang, newcomer] = [await party('kang'), await party('newcomer')];
    serverOf(kang, { state, because: 'so it is' });
    const outcome = await enrol(
      newcomer.network.door,
      { node: kang.id, addresses: [`/ip4/127.0.0.1/tcp/${kang.network.port}`] },
      { name: 'newcomer', store: 'store', witness: false, invite: null },
      { words: () => {}, pending: () => {} },
    );
    expect(outcome.kind).toBe(kind);
  });
});
