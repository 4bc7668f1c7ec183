import { randomBytes } from 'node:crypto';
import { connect } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { newNonce } from '../../node/enrol/enrol-proofs.ts';
import { limits } from '../../protocol/limits.ts';
import type { PeerMessage } from '../../protocol/messages.ts';
import { names } from '../../protocol/names.ts';
import { foundedMesh } from '../fixtures/founded-mesh.ts';
import { attacker, endAttackers, frame, meshWithRotten, throwAt } from './network-attacker.ts';
import { endParties, ledgerOf, meet, type Party, party, pause, reportOf, until } from './network-party.ts';

afterEach(async () => {
  await endAttackers();
  await endParties();
});

const gossipStream = '/meshsub/1.2.0';
const vote = (term: number): PeerMessage => ({ kind: 'vote', term, stamp: { term: 0, version: 0 }, handover: false });
const opening = frame({ v: 1, addresses: [] });
const envelope = (message: unknown): Uint8Array => frame({ v: 1, era: null, message });

/** Rubbish of every kind, as one would meet it: broken by chance, by another version, on purpose. */
const rubbish: [string, Uint8Array][] = [
  ['random bytes', Buffer.concat([Buffer.from([0xff]), randomBytes(5000)])],
  ['zeros in a frame', frame(new Uint8Array(500))],
  ['a length of 4 GiB', Buffer.from([0xff, 0xff, 0xff, 0xff, 1, 2, 3])],
  ['a frame just over the limit', Buffer.concat([Buffer.from([0, 0x10, 0, 1]), Buffer.alloc(64)])],
  ['no UTF-8', frame(Buffer.from([0xff, 0xfe, 0x80, 0x80]))],
  ['half a JSON', frame('{"v":1,"era":null,"mess')],
  ['a JSON of another form', frame([1, 2, { three: 4 }])],
  ['an unknown kind', envelope({ kind: 'format-the-disk', term: 1 })],
  ['a number where none may be', envelope({ ...vote(1), term: -1 })],
  ['a number that JSON cannot hold', frame('{"v":1,"era":null,"message":{"kind":"vote","term":1e999}}')],
  ['deep nesting', frame('['.repeat(100_000))],
  ['a prototype', frame('{"__proto__":{"v":1},"constructor":1}')],
];

/** Still well: the mesh of the two works, in both directions. */
async function expectWell(a: Party, b: Party): Promise<void> {
  const [atA, atB] = [a.messages.length, b.messages.length];
  const areConnected = () => a.network.connected().includes(b.id) && b.network.connected().includes(a.id);
  await until(areConnected, 'they are connected', 30_000);
  a.network.send(b.id, vote(77));
  b.network.send(a.id, vote(78));
  await until(() => a.messages.length > atA && b.messages.length > atB, 'messages flow both ways');
}

describe('a stranger', () => {
  it('is refused on every protocol but enrol, and cut when it does not use that', async () => {
    const [a, b] = [await party('a'), await party('b')];
    await meet([a, b]);
    const stranger = await attacker();
    const connection = await stranger.connect(a);
    const closed = [
      names.meshStream,
      names.askStream,
      gossipStream,
      '/meshsub/1.1.0',
      '/floodsub/1.0.0',
      '/ipfs/id/1.0.0',
      '/ipfs/id/push/1.0.0',
      '/ipfs/ping/1.0.0',
      '/no/such/protocol',
    ];
    for (const protocol of closed) {
      const stream = await connection.newStream(protocol).catch(() => null);
      const answer = stream && (await throwAt(stream, protocol === names.meshStream ? opening : randomBytes(32)));
      expect(answer === null || answer.ended, protocol).toBe(true);
      expect(answer?.heard.byteLength ?? 0, protocol).toBe(0);
    }
    expect(connection.status).toBe('open');
    expect(a.network.diagnosis.listeners()).not.toContain(stranger.id);
    expect(a.events).toEqual([`connected ${b.id}`]);
    await until(() => connection.status !== 'open', 'it was cut, since it never knocked', 20_000);
    await expectWell(a, b);
  });

  it('gets one of 16 places at most, 8 from one address, and members come in beside them', async () => {
    const [a, b] = [await party('a'), await party('b')];
    const ledger = ledgerOf([a, b]);
    a.network.setLedger(ledger);
    const crowd = await Promise.all(Array.from({ length: 12 }, () => attacker()));
    await Promise.all(crowd.map((one) => one.connect(a).catch(() => null)));
    await until(() => (a.network.diagnosis.counters().refusedConnections ?? 0) >= 4, 'the surplus was refused');
    expect(a.network.diagnosis.counters().strangers).toBeLessThanOrEqual(8);
    b.network.setLedger(ledger);
    await expectWell(a, b);
  });

  it('says rubbish on the enrol protocol: it is logged, and the agent lives', async () => {
    const [a, b] = [await party('a'), await party('b')];
    await meet([a, b]);
    a.network.door.onEnrol(async (channel) => {
      const said = await channel.next(5000).catch(() => null);
      if (said) channel.send({ kind: 'refused', because: 'not now' });
      channel.close('done');
    });
    const stranger = await attacker();
    const connection = await stranger.connect(a);
    const more: [string, Uint8Array][] = [
      ['a frame over 8 KiB', frame('x'.repeat(limits.enrolFrameBytes + 1))],
      ['a message of members', envelope(vote(1))],
      ['a knock with a bad name', frame({ kind: 'knock', v: 1, name: '../..', store: 's', commitment: newNonce() })],
    ];
    for (const [what, bytes] of [...rubbish, ...more]) {
      const stream = await connection.newStream(names.enrolStream);
      const { ended, heard } = await throwAt(stream, bytes);
      expect(ended, what).toBe(true);
      expect(heard.byteLength, what).toBe(0);
    }
    expect(a.network.diagnosis.counters().badEnrols).toBe(rubbish.length + more.length);
    expect(a.log.filter(({ level, event }) => level === 'warn' && event === 'bad-enrol').length).toBe(
      rubbish.length + more.length,
    );
    await expectWell(a, b);
  });

  it('talks to the TCP port without libp2p: nothing comes of it', async () => {
    const [a, b] = [await party('a'), await party('b')];
    await meet([a, b]);
    for (const bytes of [randomBytes(3000), Buffer.from('GET / HTTP/1.1\r\n\r\n'), Buffer.alloc(0)])
      await new Promise<void>((resolve) => {
        const socket = connect({ host: '127.0.0.1', port: a.network.port }, () => socket.end(bytes));
        socket.on('data', () => {});
        socket.on('error', () => {});
        socket.on('close', () => resolve());
      });
    await expectWell(a, b);
  });
});

describe('a member that sends rubbish', () => {
  it('on the mesh stream: that stream ends with a sentence in the log; the others do not notice', async () => {
    const { a, b, rotten } = await meshWithRotten();
    let connection = await rotten.connect(a);
    for (const [what, bytes] of [...rubbish, ['an ask', frame({ kind: 'jobs' })] as const]) {
      const before = a.network.diagnosis.counters().badFrames ?? 0;
      // Half of it right at the start, half after a proper opening. Too soon after the last one it is not even heard.
      await until(async () => {
        // A member's connection without a good stream for 12 s is closed, which a busy machine may reach.
        if (connection.status !== 'open') connection = await rotten.connect(a);
        const stream = await connection.newStream(names.meshStream);
        const { ended } = await throwAt(stream, Buffer.concat([opening, bytes]), 2000);
        return ended && (a.network.diagnosis.counters().badFrames ?? 0) > before;
      }, `${what} was found bad`);
    }
    // At least: what came in too soon after the last may have been thrown twice.
    const bad = a.network.diagnosis.counters().badFrames ?? 0;
    expect(bad).toBeGreaterThanOrEqual(rubbish.length + 1);
    const lines = a.log.filter(({ event }) => event === 'bad-frame');
    expect(lines).toHaveLength(bad);
    expect(lines.every(({ level, sentence }) => level === 'warn' && sentence.startsWith('rotten sent '))).toBe(true);
    expect(a.events.filter((event) => event.endsWith(b.id))).toEqual([`connected ${b.id}`]);
    expect(a.messages).toEqual([]);
    await expectWell(a, b);
  });

  it('300 messages with a few bytes changed: each is read or refused, none does harm', async () => {
    const { a, b, rotten } = await meshWithRotten();
    const connection = await rotten.connect(a);
    const good = Buffer.from(JSON.stringify({ kind: 'trace', run: 'run-1', offset: 12 }));
    for (let i = 0; i < 300; i++) {
      const bytes = Buffer.from(good);
      for (let n = 0; n <= i % 4; n++)
        bytes[Math.floor(Math.random() * bytes.length)] = Math.floor(Math.random() * 256);
      const stream = await connection.newStream(names.askStream);
      const answer = new Promise<void>((resolve) => {
        for (const event of ['message', 'close', 'end'] as const) stream.addEventListener(event, () => resolve());
      });
      stream.send(frame(bytes));
      await answer;
      await stream.close().catch(() => {});
    }
    expect(a.network.diagnosis.counters().badAsks).toBeGreaterThan(100);
    await expectWell(a, b);
  });

  it('a truncated frame, byte by byte, waits for the rest and is then read', async () => {
    const { a, b, rotten } = await meshWithRotten();
    const connection = await rotten.connect(a);
    const stream = await connection.newStream(names.meshStream);
    for (const byte of Buffer.concat([opening, envelope(vote(5))])) {
      stream.send(Uint8Array.of(byte));
      if (byte % 3 === 0) await pause(0);
    }
    await until(() => a.messages.length === 1, 'the whole message was read');
    expect(a.messages[0]).toMatchObject({ from: rotten.id, message: vote(5) });
    stream.send(envelope(vote(6)).subarray(0, 20));
    stream.abort(new Error('gone in the middle'));
    await until(() => a.events.includes(`disconnected ${rotten.id}`), 'its end is seen');
    expect(a.messages).toHaveLength(1);
    await expectWell(a, b);
  });

  it('opens a mesh stream and says nothing: it never counts as connected, and is closed', async () => {
    const { a, b, rotten } = await meshWithRotten();
    const connection = await rotten.connect(a);
    const stream = await connection.newStream(names.meshStream);
    await until(() => stream.status !== 'open', 'the stream was closed', 15_000);
    expect(a.events).not.toContain(`connected ${rotten.id}`);
    await expectWell(a, b);
  });

  it('falls silent on an open link: it is cut within seconds', async () => {
    const { a, b, rotten } = await meshWithRotten();
    const connection = await rotten.connect(a);
    const stream = await connection.newStream(names.meshStream);
    stream.send(opening);
    await until(() => a.events.includes(`connected ${rotten.id}`), 'its link is open');
    await until(() => a.events.includes(`disconnected ${rotten.id}`), 'it was given up', 15_000);
    await expectWell(a, b);
  });

  it('never reads: what waits for it stays bounded, and the others get theirs', async () => {
    const { a, b, rotten } = await meshWithRotten();
    const connection = await rotten.connect(a);
    const stream = await connection.newStream(names.meshStream);
    stream.pause();
    stream.send(opening);
    await until(() => a.events.includes(`connected ${rotten.id}`), 'its link is open');
    const stamp = { term: 1, version: 1 };
    const filler = 'x'.repeat(900_000);
    const whole = foundedMesh({ meshName: 'm', node: a.id, name: 'a' });
    const append: PeerMessage = {
      kind: 'append',
      term: 1,
      round: 1,
      stamp,
      committed: stamp,
      ledger: { ...whole, filler },
    };
    const before = process.memoryUsage().rss;
    for (let i = 0; i < 200; i++) a.network.send(rotten.id, append);
    expect(a.network.diagnosis.counters().droppedMessages).toBeGreaterThan(150);
    expect(process.memoryUsage().rss - before).toBeLessThan(150 << 20);
    await expectWell(a, b);
  });

  it('on the ask stream: each is refused with a line in the log', async () => {
    const { a, b, rotten } = await meshWithRotten();
    const connection = await rotten.connect(a);
    for (const [what, bytes] of rubbish) {
      const stream = await connection.newStream(names.askStream);
      const { ended, heard } = await throwAt(stream, bytes);
      expect(ended, what).toBe(true);
      expect(heard.byteLength, what).toBe(0);
    }
    expect(a.network.diagnosis.counters().badAsks).toBe(rubbish.length);
    expect(await b.network.ask(a.id, { kind: 'log', lines: 1 }, 5000)).toMatchObject({ kind: 'log' });
  });

  it('on the gossip stream: reports of the others still arrive', async () => {
    const { a, b, rotten } = await meshWithRotten();
    await until(() => a.network.diagnosis.listeners().includes(b.id), 'b listens');
    const connection = await rotten.connect(a);
    for (const [, bytes] of rubbish) {
      const stream = await connection.newStream(gossipStream).catch(() => null);
      if (stream) await throwAt(stream, bytes, 100);
    }
    b.network.publish(reportOf(b, 1));
    await until(() => a.reports.some(({ from }) => from === b.id), 'the report arrived');
    await expectWell(a, b);
  });

  it('answers a question with rubbish, or with far too much: the asker gets an error', async () => {
    const { a, rotten } = await meshWithRotten();
    let answer: Uint8Array = frame('{"kind":"jobs"');
    await rotten.libp2p.handle(names.askStream, (stream) => {
      stream.send(answer);
    });
    await rotten.connect(a);
    await until(() => a.network.diagnosis.connections() === 2, 'it is connected');
    const asked = (): Promise<unknown> => a.network.ask(rotten.id, { kind: 'jobs' }, 2000);
    await expect(asked()).rejects.toMatchObject({ code: 'bad-message' });
    answer = Buffer.concat([Buffer.from([0x7f, 0, 0, 0]), Buffer.alloc(100)]);
    await expect(asked()).rejects.toMatchObject({
      code: 'timed-out',
      message: expect.stringContaining('over the limit'),
    });
    answer = frame({ kind: 'trace', text: 'x', next: -1, done: false });
    await expect(asked()).rejects.toMatchObject({ code: 'bad-message' });
  });
});

describe('evidence', () => {
  it('tells a living process from a dead one, and is never wrong about a failure of its own', async () => {
    const [a, b] = [await party('a'), await party('b')];
    await meet([a, b]);
    expect(await a.network.probe(b.id)).toMatchObject({ result: 'accepted' });
    await Promise.all(Array.from({ length: 200 }, () => a.network.probe(b.id))).then((all) =>
      expect(all.every(({ result }) => result === 'accepted')).toBe(true),
    );
    await b.network.stop();
    const { result, tookMs } = await a.network.probe(b.id);
    expect(result).toBe('refused');
    expect(tookMs).toBeLessThan(150);
    expect(await a.network.probe('nobody')).toEqual({ result: 'accepted', tookMs: 0 });
  });

  it('does not take a firewall for a dead machine: a port that never answered proves nothing', async () => {
    const { a, rotten } = await meshWithRotten();
    const connection = await rotten.connect(a);
    const stream = await connection.newStream(names.meshStream);
    stream.send(frame({ v: 1, addresses: ['evidence://127.0.0.1:1'] }));
    const beat = setInterval(() => stream.status === 'open' && stream.send(frame('')), 500);
    await until(() => a.events.includes(`connected ${rotten.id}`), 'its link is open');
    expect(await a.network.probe(rotten.id)).toMatchObject({ result: 'refused' });
    await until(() => a.network.diagnosis.problems().some((one) => one.includes('firewall')), 'doctor says so', 20_000);
    clearInterval(beat);
    expect(await a.network.probe(rotten.id)).toMatchObject({ result: 'accepted' });
  });
});
