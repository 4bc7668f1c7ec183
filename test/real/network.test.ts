import { afterEach, describe, expect, it } from 'vitest';
import type { PeerMessage } from '../../protocol/messages.ts';
import { endParties, ledgerOf, meet, party, pause, prepared, reportOf, until } from './network-party.ts';

afterEach(endParties);

const vote = (term: number): PeerMessage => ({ kind: 'vote', term, stamp: { term: 0, version: 0 }, handover: false });

describe('the network, over real sockets', () => {
  it('three members connect, one connection a pair, and say messages in order with their era', async () => {
    const [a, b, c] = [await party('a'), await party('b'), await party('c')];
    await meet([a, b, c]);
    for (let term = 0; term < 200; term++) a.network.send(b.id, vote(term));
    b.network.send(a.id, vote(7));
    await until(() => b.messages.length === 200 && a.messages.length === 1, 'all messages arrived');
    expect(b.messages.map(({ message }) => 'term' in message && message.term)).toEqual([...Array(200).keys()]);
    expect(b.messages[0]).toMatchObject({ from: a.id, era: 'era-1' });
    expect(c.messages).toEqual([]);
    await until(
      () => [a, b, c].every((one) => one.network.diagnosis.connections() === 2),
      'there is exactly one connection for each pair',
    );
    expect(a.network.addressOf(b.id)).toMatch(/^127\.0\.0\.1:\d+$/);
    expect(a.network.addressOf('nobody')).toBeNull();
    expect(a.remembered.get(b.id)).toEqual(b.network.addresses());
  });

  it('carries a ledger of almost 1 MiB, and refuses to send a larger one', async () => {
    const [a, b] = [await party('a'), await party('b')];
    const ledger = await meet([a, b]);
    const stamp = { term: 1, version: 1 };
    const append = (filler: number): PeerMessage => ({
      kind: 'append',
      term: 1,
      round: 1,
      stamp,
      committed: stamp,
      ledger: { ...ledger, filler: 'x'.repeat(filler) },
    });
    a.network.send(b.id, append((1 << 20) - 4000));
    a.network.send(b.id, append(1 << 20));
    a.network.send(b.id, vote(3));
    await until(() => b.messages.length === 2, 'the ledger and the vote arrived');
    expect(b.messages[0]?.message).toEqual(append((1 << 20) - 4000));
    expect(a.log.filter(({ level }) => level === 'error')).toHaveLength(1);
    expect(b.events).toEqual([`connected ${a.id}`]);
  });

  it('gossips reports: newest only, of members only, never in the name of another', async () => {
    const [a, b, c] = [await party('a'), await party('b'), await party('c')];
    await meet([a, b, c]);
    await until(() => a.network.diagnosis.listeners().length === 2, 'both listen to gossip');
    a.network.publish(reportOf(a, 5));
    await until(() => b.reports.length > 0 && c.reports.length > 0, 'the report arrived');
    a.network.publish(reportOf(a, 4));
    a.network.publish(reportOf(a, 6, { node: b.id }));
    a.network.publish(reportOf(a, 6));
    await until(() => [b, c].every(({ reports }) => reports.some(({ report }) => report.seq === 6)), 'seq 6 arrived');
    await until(() => (b.network.diagnosis.counters().reportsRejected ?? 0) >= 1, 'the false name was rejected');
    for (const { reports } of [b, c]) {
      expect(reports.every(({ from, report }) => from === a.id && report.node === a.id)).toBe(true);
      expect(reports.map(({ report }) => report.seq)).toEqual([5, 6]);
    }
    // A report too large for the wire costs nothing but a line in the log.
    a.network.publish(reportOf(a, 7, { filler: 'x'.repeat(70_000) }));
    expect(a.log.some(({ level, event }) => level === 'error' && event === 'gossip-failed')).toBe(true);
  });

  it('answers a question, and says in words when it cannot', async () => {
    const [a, b] = [await party('a'), await party('b')];
    await meet([a, b]);
    expect(await a.network.ask(b.id, { kind: 'log', lines: 3 }, 5000)).toEqual({ kind: 'log', text: 'b: 3' });
    expect(await b.network.ask(a.id, { kind: 'jobs' }, 5000)).toEqual({ kind: 'refused', because: 'not asked' });
    const many = await Promise.all(
      Array.from({ length: 40 }, () => a.network.ask(b.id, { kind: 'log', lines: 1 }, 5000)),
    );
    expect(many.every(({ kind }) => kind === 'log' || kind === 'refused')).toBe(true);
    // Streams are given back: many more than may be open at once.
    for (let i = 0; i < 150; i++) expect((await a.network.ask(b.id, { kind: 'log', lines: 1 }, 5000)).kind).toBe('log');
    await expect(a.network.ask('nobody', { kind: 'jobs' }, 100)).rejects.toMatchObject({ code: 'timed-out' });
  });

  it('gives up a question that is not answered in time, and turns a failing answer into a refusal', async () => {
    const never = await party('a', {
      events: { ask: () => new Promise(() => {}) } as never,
    });
    const broken = await party('b', {
      events: {
        ask: async () => {
          throw new Error('the disk is full');
        },
      } as never,
    });
    const c = await party('c');
    await meet([never, broken, c]);
    await expect(c.network.ask(never.id, { kind: 'jobs' }, 200)).rejects.toMatchObject({
      ...{ code: 'timed-out', message: 'a did not answer: no word in 200 ms' },
    });
    const answer = await c.network.ask(broken.id, { kind: 'jobs' }, 5000);
    expect(answer).toMatchObject({ kind: 'refused', because: expect.stringContaining('the disk is full') });
  });

  it('notices at once that the other agent stopped, and finds it again on another port', async () => {
    const [a, b] = [await party('a'), await party('b')];
    const ledger = await meet([a, b]);
    await b.network.stop();
    await until(() => a.events.includes(`disconnected ${b.id}`), 'a knows');
    // It comes back somewhere else, and knows a from its disk.
    const again = await party('b', {
      privateKey: b.key,
      known: async () => [{ node: a.id, addresses: a.network.addresses() }],
    });
    expect(again.id).toBe(b.id);
    again.network.setLedger(ledger);
    await until(() => a.network.connected().includes(b.id), 'they are connected again');
    a.network.send(b.id, vote(9));
    await until(() => again.messages.length === 1, 'messages flow again');
    await until(() => a.network.diagnosis.listeners().includes(b.id), 'gossip flows again');
  });

  it('makes all connections anew when its machine slept, whoever of a pair dials', async () => {
    const [a, b] = [await party('a'), await party('b')];
    await meet([a, b]);
    for (const [sleeper, other] of [
      [a, b],
      [b, a],
    ] as const) {
      other.events.length = 0;
      other.messages.length = 0;
      sleeper.network.woke();
      await until(() => other.events.includes(`disconnected ${sleeper.id}`), 'the link ends');
      await until(() => other.events.includes(`connected ${sleeper.id}`), 'the link is back');
      await until(() => sleeper.network.connected().includes(other.id), 'on both sides');
      sleeper.network.send(other.id, vote(9));
      await until(() => other.messages.length === 1, 'words come through');
    }
  });

  it('cuts a forgotten node at once, everywhere, and takes nothing from it any more', async () => {
    const [a, b, c] = [await party('a'), await party('b'), await party('c')];
    await meet([a, b, c]);
    const without = ledgerOf([a, b], { forgotten: { [c.id]: Date.now() } });
    a.network.setLedger(without);
    b.network.setLedger(without);
    expect(a.network.connected()).toEqual([b.id]);
    await until(() => c.network.connected().length === 0, 'c has lost both');
    const before = a.messages.length;
    c.network.send(a.id, vote(1));
    c.network.publish(reportOf(c, 1));
    // It still takes itself for a member, and goes on dialling; it can tell that nobody else does.
    await until(
      () => (a.network.diagnosis.counters().refusedStreams ?? 0) > 0,
      'c tried to come back and was refused',
      30_000,
    );
    await until(() => c.network.diagnosis.refusedBy().length === 2, 'c knows who refuses it', 30_000);
    await pause(300);
    expect(a.network.connected()).toEqual([b.id]);
    expect(a.messages.length).toBe(before);
    expect(a.reports.filter(({ from }) => from === c.id)).toEqual([]);
    await expect(c.network.ask(a.id, { kind: 'log', lines: 1 }, 500)).rejects.toMatchObject({
      ...{
        code: 'timed-out',
        message: expect.stringMatching(/^a (is not connected|did not answer: |could not be asked: )/),
      },
    });
    // Of a member people read the name.
    const known = [a, b].flatMap(({ log }) =>
      log.filter(({ sentence }) => sentence.includes(b.id) || sentence.includes(a.id)),
    );
    expect(known).toEqual([]);
    expect(a.log.some(({ level, sentence }) => level === 'debug' && /^the link to [bc] is up$/.test(sentence))).toBe(
      true,
    );
  });

  it('listens where it listened before, and elsewhere when that is taken', async () => {
    const a = await party('a', { listen: [] });
    const port = a.network.port;
    expect(port).toBeGreaterThan(0);
    const b = await party('b', { listen: [], port });
    expect(b.network.port).not.toBe(port);
    const evidence = a.network.evidencePort;
    await a.network.stop();
    const again = await party('a', { listen: [], port, evidencePort: evidence });
    expect(again.network.port).toBe(port);
    expect(again.network.evidencePort).toBe(evidence);
    await expect(party('c', { listen: [`127.0.0.1:${port}`] })).rejects.toMatchObject({ code: 'port-taken' });
  });

  it('a port that somebody takes between the look and the listening is said in our words', async () => {
    const sooner = await prepared('sooner');
    await sooner.network.start();
    const { port } = sooner.network;
    await sooner.network.stop();
    const late = await prepared('late', { listen: [`127.0.0.1:${port}`] });
    await party('sooner', { listen: [`127.0.0.1:${port}`] });
    await expect(late.network.start()).rejects.toMatchObject({
      code: 'port-taken',
      message: `cannot listen on /ip4/127.0.0.1/tcp/${port}: another program has the port`,
    });
  });

  it('all dial all in the same moment: one connection a pair is left, and nobody is deaf to gossip', async () => {
    const all = await Promise.all(['a', 'b', 'c', 'd', 'e'].map((name) => party(name)));
    await meet(all);
    await until(
      () => all.every(({ network }) => network.diagnosis.connections() === 4),
      'one connection a pair is left',
      30_000,
    );
    await until(
      () => all.every(({ network }) => network.diagnosis.listeners().length === 4),
      'all know all listeners',
      30_000,
    );
    for (const one of all) one.network.publish(reportOf(one, 1));
    await until(
      () => all.every(({ reports }) => new Set(reports.map(({ from }) => from)).size === 4),
      'everybody heard everybody',
      30_000,
    );
    for (const { network } of all) expect(network.diagnosis.refusedBy()).toEqual([]);
  });

  it('finds a mesh by --peer alone', async () => {
    const a = await party('a');
    const b = await party('b', { peers: [`127.0.0.1:${a.network.port}`] });
    await until(() => b.network.door.strangers().some(({ node }) => node === a.id), 'b has found a');
    const ledger = ledgerOf([a, b]);
    // Nobody knows any address from the ledger.
    for (const node of Object.values(ledger.nodes)) node.addresses = [];
    for (const { network } of [a, b]) network.setLedger(ledger);
    await until(() => a.network.connected().length === 1, 'they are connected');
  });
});
