import { randomBytes } from 'node:crypto';
import { afterEach, describe, expect, it } from 'vitest';
import { type EnrolOutcome, enrol, type KnockEvents, type Newcomer } from '../../node/enrol/enrol-client.ts';
import { commitmentTo, meetingWords, newNonce } from '../../node/enrol/enrol-proofs.ts';
import { EnrolServer } from '../../node/enrol/enrol-server.ts';
import { findMeshes } from '../../node/enrol/find-meshes.ts';
import { newInviteCode, readInviteCode, writeInviteCode } from '../../node/enrol/invite-code.ts';
import { askMembership } from '../../node/enrol/membership-question.ts';
import type { Change, ChangeOutcome } from '../../protocol/changes.ts';
import type { EnrolMessage } from '../../protocol/enrol-messages.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import { endParties, ledgerOf, type Party, party, pause, until } from './network-party.ts';

/** Members with an enrolment server each, around one ledger that changes as the leader would change it. */
class Mesh {
  ledger: Ledger;
  changes: Change[] = [];
  refusals: ((change: Change) => string | null)[] = [];
  readonly key = randomBytes(32).toString('hex');
  #members: { who: Party; server: EnrolServer }[] = [];

  constructor(members: Party[], change: Partial<Ledger> = {}) {
    this.ledger = ledgerOf(members, change);
    for (const who of members) {
      const server = new EnrolServer({
        door: who.network.door,
        change: (one) => this.apply(one),
        meshKey: () => this.key,
        unseal: (sealed) => sealed.replace('sealed:', ''),
        wallMs: () => Date.now(),
        log: { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} },
      });
      servers.push(server);
      this.#members.push({ who, server });
    }
    this.publish();
  }

  publish(): void {
    for (const { who, server } of this.#members) {
      who.network.setLedger(this.ledger);
      server.onLedger(this.ledger);
    }
  }

  async apply(change: Change): Promise<ChangeOutcome> {
    await pause(5);
    this.changes.push(change);
    for (const refuse of this.refusals) {
      const because = refuse(change);
      if (because) return { state: 'refused', because };
    }
    const ledger = structuredClone(this.ledger);
    if (change.kind === 'open-approval') ledger.approvals[change.node] = change.approval;
    if (change.kind === 'close-approval') delete ledger.approvals[change.node];
    if (change.kind === 'approve-invited' || change.kind === 'approve-paired')
      this.#add(ledger, change.node, change.approval.name, change.approval.addresses, change.kind);
    if (change.kind === 'approve-invited') delete ledger.invites[change.invite];
    if (change.kind === 'approve' && change.node) {
      const approval = ledger.approvals[change.node];
      if (!approval) return { state: 'refused', because: 'nobody waits' };
      delete ledger.approvals[change.node];
      this.#add(ledger, change.node, approval.name, approval.addresses, change.because);
    }
    if (change.kind === 'ignore') {
      const approval = ledger.approvals[change.node];
      if (approval) approval.ignored = true;
    }
    this.ledger = ledger;
    this.publish();
    return { state: 'done', because: 'committed' };
  }

  #add(ledger: Ledger, node: string, name: string, addresses: string[], because: string): void {
    const founder = Object.values(ledger.nodes)[0];
    if (founder) ledger.nodes[node] = { ...founder, name, addresses, because };
  }
}

const servers: EnrolServer[] = [];
afterEach(async () => {
  for (const server of servers.splice(0)) server.close();
  await endParties();
});

const me = (name: string, more: Partial<Newcomer> = {}): Newcomer => ({
  name,
  store: `store-of-${name}`,
  witness: false,
  invite: null,
  ...more,
});

/** Knocks and collects what the newcomer is shown. */
function knocking(from: Party, at: Party, newcomer: Newcomer, signal?: AbortSignal) {
  const seen = { words: '', mesh: '', pending: [] as string[], outcome: null as EnrolOutcome | null };
  const events: KnockEvents = {
    words: (words, mesh) => {
      seen.words = words;
      seen.mesh = mesh.name;
    },
    pending: (because) => seen.pending.push(because),
  };
  const candidate = { node: at.id, addresses: at.network.addresses() };
  const done = enrol(from.network.door, candidate, newcomer, events, signal).then((outcome) => {
    seen.outcome = outcome;
    return outcome;
  });
  return { seen, done };
}

describe('letting in by words', () => {
  it('both sides show the same four words; approved on any member, the newcomer is in and connected', async () => {
    const [kang, other, newcomer] = [await party('kang'), await party('desktop-2'), await party('desktop-1')];
    const mesh = new Mesh([kang, other]);
    const { seen, done } = knocking(newcomer, kang, me('desktop-1', { witness: true }));
    await until(() => newcomer.id in mesh.ledger.approvals, 'the approval is open');
    expect(seen.mesh).toBe('home');
    expect(seen.words).toMatch(/^[a-z]+(-[a-z]+){3}$/);
    expect(mesh.ledger.approvals[newcomer.id]).toMatchObject({
      words: seen.words,
      name: 'desktop-1',
      address: '127.0.0.1',
      via: kang.id,
      store: 'store-of-desktop-1',
      witness: true,
      addresses: newcomer.network.addresses(),
    });
    await until(() => seen.pending.length > 0, 'it is told what to type');
    expect(seen.pending[0]).toContain(`autogit-node approve desktop-1 --words ${seen.words}`);
    await mesh.apply({ kind: 'approve', node: newcomer.id, words: null, because: 'approved on desktop-2 by ann' });
    const outcome = await done;
    expect(outcome).toMatchObject({ kind: 'approved', because: 'approved on desktop-2 by ann', meshKey: mesh.key });
    if (outcome.kind !== 'approved') return;
    newcomer.network.setLedger(outcome.ledger);
    await until(() => newcomer.network.connected().length === 2, 'it is connected to both');
    expect(kang.network.diagnosis.connections()).toBe(2);
  });

  it('words differ for each knock, and for anybody in the middle', async () => {
    const [kang, middle, newcomer] = [await party('kang'), await party('kang'), await party('desktop-1')];
    const mesh = new Mesh([kang]);
    // The one in the middle answers as if it were kang, and passes everything on, nonces included.
    const relayed: EnrolMessage[] = [];
    middle.network.door.onEnrol(async (near) => {
      const far = await middle.network.door.openEnrol({ node: kang.id, addresses: kang.network.addresses() }, 5000);
      near.onEnd((because) => far.close(because));
      void (async () => {
        for (let said = await near.next(5000); said; said = await near.next(5000)) far.send(said);
      })();
      for (let said = await far.next(5000); said; said = await far.next(5000)) {
        relayed.push(said);
        near.send(said);
      }
    });
    const { seen } = knocking(newcomer, middle, me('desktop-1'));
    await until(() => middle.id in mesh.ledger.approvals && seen.words !== '', 'both have words to show');
    expect(relayed.length).toBeGreaterThan(0);
    expect(mesh.ledger.approvals[middle.id]?.words).not.toBe(seen.words);
    const direct = knocking(newcomer, kang, me('desktop-1'));
    await until(() => newcomer.id in mesh.ledger.approvals, 'the honest knock is there');
    expect(mesh.ledger.approvals[newcomer.id]?.words).toBe(direct.seen.words);
    expect(direct.seen.words).not.toBe(seen.words);
  });

  it('a nonce that was not promised is refused: words cannot be ground', async () => {
    const [kang, cheat] = [await party('kang'), await party('cheat')];
    const mesh = new Mesh([kang]);
    const channel = await cheat.network.door.openEnrol({ node: kang.id, addresses: kang.network.addresses() }, 5000);
    const first = newNonce();
    channel.send({
      kind: 'knock',
      v: 1,
      name: 'cheat',
      store: 's',
      commitment: commitmentTo(first),
      addresses: [],
      witness: false,
    });
    const shown = await channel.next(5000);
    expect(shown?.kind).toBe('mesh');
    channel.send({ kind: 'reveal', nonce: newNonce(), invite: null });
    expect(await channel.next(5000)).toMatchObject({ kind: 'refused', because: expect.stringContaining('promised') });
    expect(mesh.changes).toEqual([]);
  });

  it('the newcomer goes: its entry goes; it knocks again: the old conversation ends', async () => {
    const [kang, newcomer] = [await party('kang'), await party('desktop-1')];
    const mesh = new Mesh([kang]);
    const first = knocking(newcomer, kang, me('desktop-1'));
    await until(() => newcomer.id in mesh.ledger.approvals, 'the approval is open');
    const second = knocking(newcomer, kang, me('desktop-1'));
    expect(await first.done).toMatchObject({ kind: 'refused', because: 'it knocked again since' });
    await until(() => mesh.ledger.approvals[newcomer.id]?.words === second.seen.words, 'the entry is the new one');
    await newcomer.network.stop();
    await until(() => !(newcomer.id in mesh.ledger.approvals), 'the entry is gone');
  });

  it('ignored, forgotten, or a mesh without leader: the newcomer is told so', async () => {
    const [kang, newcomer, ghost] = [await party('kang'), await party('desktop-1'), await party('ghost')];
    const mesh = new Mesh([kang], {
      forgotten: { [ghost.id]: Date.now() },
      forgottenBy: { [ghost.id]: 'root on kang' },
    });
    const { seen, done } = knocking(newcomer, kang, me('desktop-1'));
    await until(() => seen.words !== '' && newcomer.id in mesh.ledger.approvals, 'it waits');
    await mesh.apply({ kind: 'ignore', node: newcomer.id });
    expect(await done).toMatchObject({ kind: 'refused', because: expect.stringContaining('ignored') });
    expect(await knocking(newcomer, kang, me('desktop-1')).done).toMatchObject({ kind: 'refused' });
    expect(mesh.ledger.approvals[newcomer.id]?.ignored).toBe(true);
    const asker = { node: kang.id, addresses: kang.network.addresses() };
    expect(await askMembership(ghost.network.door, asker, { name: 'ghost', meshId: mesh.ledger.mesh.id })).toEqual({
      meshId: mesh.ledger.mesh.id,
      at: mesh.ledger.forgotten[ghost.id],
      by: 'root on kang',
      era: mesh.ledger.era,
      stamp: mesh.ledger.stamp,
    });
    expect(await askMembership(newcomer.network.door, asker, { name: 'x', meshId: mesh.ledger.mesh.id })).toBeNull();
    // Asking to be let in is another thing: a person decides about it as about anybody.
    const again = knocking(ghost, kang, me('ghost'));
    await until(() => ghost.id in mesh.ledger.approvals, 'the forgotten one waits like any newcomer');
    await mesh.apply({ kind: 'approve', node: ghost.id, words: again.seen.words, because: 'by ann' });
    expect(await again.done).toMatchObject({ kind: 'approved', because: 'by ann' });
    const other = await party('other');
    mesh.refusals.push(() => 'no leader is elected at the moment');
    expect(await knocking(other, kang, me('other')).done).toMatchObject({
      kind: 'refused',
      because: expect.stringContaining('no leader'),
    });
  });

  it('a member that lost its approval answer gets it again', async () => {
    const [kang, newcomer] = [await party('kang'), await party('desktop-1')];
    const mesh = new Mesh([kang, newcomer]);
    newcomer.network.setLedger(null);
    expect(await knocking(newcomer, kang, me('desktop-1')).done).toMatchObject({ kind: 'approved', meshKey: mesh.key });
  });

  it('the member dies: the newcomer learns that it must knock elsewhere', async () => {
    const [kang, newcomer] = [await party('kang'), await party('desktop-1')];
    const mesh = new Mesh([kang]);
    const { done } = knocking(newcomer, kang, me('desktop-1'));
    await until(() => newcomer.id in mesh.ledger.approvals, 'it waits');
    await kang.network.stop();
    expect(await done).toMatchObject({ kind: 'lost' });
  });
});

describe('letting in by invite', () => {
  const invited = (code = newInviteCode(), expiresAt = Date.now() + 60_000) => ({
    code,
    invites: { [code.id]: { code: `sealed:${code.secret}`, expiresAt, by: 'kang' } },
  });

  it('a good code lets in without a person, once', async () => {
    const [kang, a, b] = [await party('kang'), await party('a'), await party('b')];
    const { code, invites } = invited();
    const mesh = new Mesh([kang], { invites });
    const typed = readInviteCode(writeInviteCode(code).toLowerCase().replaceAll('-', ' '));
    expect(await knocking(a, kang, me('a', { invite: typed })).done).toMatchObject({ kind: 'approved' });
    expect(a.id in mesh.ledger.nodes).toBe(true);
    expect(await knocking(b, kang, me('b', { invite: typed })).done).toMatchObject({
      kind: 'refused',
      because: expect.stringContaining('not known'),
    });
    expect(b.id in mesh.ledger.nodes).toBe(false);
  });

  it('a wrong or expired code is refused in words, and changes nothing', async () => {
    const [kang, a] = [await party('kang'), await party('a')];
    const { code, invites } = invited();
    const old = invited(undefined, Date.now() - 1);
    const mesh = new Mesh([kang], { invites: { ...invites, ...old.invites } });
    const wrong = { id: code.id, secret: newInviteCode().secret };
    const because = async (invite: typeof code): Promise<string> =>
      (await knocking(a, kang, me('a', { invite })).done).because;
    expect(await because(wrong)).toContain('typing mistake');
    expect(await because(old.code)).toContain('expired');
    for (const id of ['nope', 'constructor', '__proto__'])
      expect(await because({ id, secret: code.secret })).toContain('not known');
    expect(mesh.changes).toEqual([]);
  });

  it('a mesh that cannot prove that it knows the code is not trusted', async () => {
    const [kang, rogue, a] = [await party('kang'), await party('rogue'), await party('a')];
    const ledger = ledgerOf([rogue, a]);
    new Mesh([kang]);
    rogue.network.door.onEnrol(async (channel) => {
      await channel.next(5000);
      channel.send({ kind: 'mesh', v: 1, meshId: 'mesh-1', meshName: 'home', member: 'kang', nonce: newNonce() });
      await channel.next(5000);
      const meshKey = newNonce();
      channel.send({ kind: 'approved', because: 'trust me', ledger, meshKey, proof: newNonce(), self: a.id });
    });
    const outcome = await knocking(a, rogue, me('a', { invite: newInviteCode() })).done;
    expect(outcome).toMatchObject({ kind: 'refused', because: expect.stringContaining('cannot prove') });
  });

  it('codes are short to type and forgiving to read', () => {
    const code = newInviteCode();
    const shown = writeInviteCode(code);
    expect(shown).toMatch(/^([0-9A-HJKMNP-TV-Z]{5}-){5}[0-9A-HJKMNP-TV-Z]{5}$/);
    expect(readInviteCode(` ${shown.replaceAll('0', 'o').replaceAll('1', 'l')} `)).toEqual(code);
    expect(() => readInviteCode('ABC')).toThrow('30 characters');
    expect(() => readInviteCode(`${shown.slice(0, -1)}U`)).toThrow('no U');
    const taken = new Set(Array.from({ length: 50 }, () => newInviteCode().id));
    expect(taken.has(newInviteCode(taken).id)).toBe(false);
  });
});

describe('letting in by the pair window', () => {
  it('lets in machines of the own LAN while it is open, and asks again when it has closed', async () => {
    const [kang, a, b] = [await party('kang'), await party('a'), await party('b')];
    const mesh = new Mesh([kang], { pairUntil: Date.now() + 60_000 });
    expect(await knocking(a, kang, me('a')).done).toMatchObject({ kind: 'approved' });
    mesh.ledger = { ...mesh.ledger, pairUntil: Date.now() - 1 };
    mesh.publish();
    const { seen } = knocking(b, kang, me('b'));
    await until(() => b.id in mesh.ledger.approvals, 'b waits for a person');
    expect(seen.outcome).toBeNull();
  });
});

describe('looking for meshes', () => {
  it('names the mesh of every member in sight, and raises no approval', async () => {
    const [kang, other, lonely] = [await party('kang'), await party('desktop-2'), await party('lonely')];
    const mesh = new Mesh([kang, other]);
    const address = (one: Party) => `127.0.0.1:${one.network.port}`;
    const newcomer = await party('newcomer', { peers: [kang, other, lonely].map(address) });
    const found = await findMeshes(newcomer.network.door, 10_000, (all) => all.length === 2);
    expect(found.map(({ memberName }) => memberName).sort()).toEqual(['desktop-2', 'kang']);
    expect(found[0]).toMatchObject({ meshId: 'mesh-1', meshName: 'home' });
    expect(mesh.changes).toEqual([]);
    // What was found can be knocked at.
    const at = found.find(({ memberName }) => memberName === 'kang');
    const outcome = enrol(
      newcomer.network.door,
      { node: at?.member ?? '', addresses: at?.addresses ?? [] },
      me('newcomer'),
      { words: () => {}, pending: () => {} },
    );
    await until(() => newcomer.id in mesh.ledger.approvals, 'it waits');
    await mesh.apply({ kind: 'approve', node: newcomer.id, words: null, because: 'yes' });
    expect(await outcome).toMatchObject({ kind: 'approved' });
  });
});

describe('a flood of knocks', () => {
  it('is kept small: by address, at the same time and in the ledger; members do not notice', async () => {
    const [kang, other] = [await party('kang'), await party('desktop-2')];
    const mesh = new Mesh([kang, other]);
    await until(() => kang.network.connected().length === 1, 'the mesh stands');
    const crowd = await Promise.all(Array.from({ length: 12 }, (_, i) => party(`n${i}`)));
    const knocks = crowd.map((one) => knocking(one, kang, me(one.name)));
    await until(() => knocks.filter(({ seen }) => seen.outcome !== null).length >= 4, 'the surplus was turned away');
    await pause(500);
    expect(Object.keys(mesh.ledger.approvals).length).toBeLessThanOrEqual(8);
    expect(kang.network.diagnosis.counters().strangers).toBeLessThanOrEqual(16);
    expect(kang.network.connected()).toEqual([other.id]);
    const [again] = crowd;
    if (!again) return;
    const outcomes: string[] = [];
    for (let i = 0; i < 25; i++) {
      const quick = new AbortController();
      const one = knocking(again, kang, me('again'), quick.signal);
      await Promise.race([one.done, until(() => one.seen.words !== '', 'words').catch(() => {})]);
      quick.abort();
      outcomes.push((await one.done).because);
    }
    expect(outcomes.some((because) => because.includes('too many machines') || because.includes('could not'))).toBe(
      true,
    );
    expect(kang.network.connected()).toEqual([other.id]);
  });
});

describe('the words themselves', () => {
  it('depend on both identities and both nonces', () => {
    const meeting = { newcomer: 'a', member: 'b', newcomerNonce: newNonce(), memberNonce: newNonce() };
    const words = meetingWords(meeting);
    expect(meetingWords({ ...meeting })).toBe(words);
    const others = [
      { ...meeting, newcomer: 'c' },
      { ...meeting, member: 'c' },
      { ...meeting, newcomerNonce: newNonce() },
      { ...meeting, memberNonce: newNonce() },
      { ...meeting, newcomer: 'b', member: 'a' },
    ];
    for (const other of others) expect(meetingWords(other)).not.toBe(words);
  });
});
