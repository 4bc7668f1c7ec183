import { createSecretKey, randomBytes } from 'node:crypto';
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { afterEach, describe, expect, it } from 'vitest';
import { type Datagram, datagramBytes, encodeDatagram, maxNumber } from '../../node/network/beat-datagrams.ts';
import { BeatWay } from '../../node/network/beat-way.ts';
import type { Envelope, PeerMessage } from '../../protocol/messages.ts';
import { DatagramOffer } from '../../protocol/opening.ts';
import { endParties, ledgerOf, meet, party, pause, until } from './network-party.ts';

const stamp = { term: 4, version: 8 };
const append = (round: number, more: object = {}): PeerMessage => ({
  ...{ kind: 'append', term: 4, round, stamp, committed: stamp, ledger: null },
  ...more,
});
const envelope = (message: PeerMessage): Envelope => ({ v: 1, era: { id: 'era-1', counter: 0 }, message });
const roundsOf = (all: readonly { message: PeerMessage }[]): number[] =>
  all.map(({ message }) => ('round' in message ? (message.round as number) : -1));

const ends: (() => void)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0)) end();
  await endParties();
});

/** One side of a stream that takes each frame at once and brings it when it is told to. */
class Side {
  readonly way: BeatWay;
  readonly delivered: Envelope[] = [];
  readonly changes: boolean[] = [];
  isBusy = false;
  other: Side | null = null;
  readonly #sent: (Envelope | DatagramOffer)[] = [];
  #brought = 0;

  constructor(host: string) {
    this.way = new BeatWay({
      host,
      framesSent: () => (this.isBusy ? null : this.#sent.length),
      offer: (offer) => void this.#sent.push(DatagramOffer.parse(offer)),
      deliver: (one) => this.delivered.push(one),
      changed: (isGood) => this.changes.push(isGood),
    });
    ends.push(() => this.way.close());
  }

  /** True when it went as a datagram. */
  say(message: PeerMessage): boolean {
    if (this.way.send(envelope(message))) return true;
    this.#sent.push(envelope(message));
    this.way.said(envelope(message));
    return false;
  }

  /** What the stream took arrives. */
  bring(most = Number.POSITIVE_INFINITY): void {
    for (const one of this.#sent.slice(this.#brought, this.#brought + most)) {
      this.#brought += 1;
      const isOffer = 'port' in one;
      if (!isOffer) this.other?.delivered.push(one);
      this.other?.way.heard(isOffer ? null : one);
      if (isOffer) this.other?.way.offered(one);
    }
  }
}

/** A beat and its answer, both as datagrams. */
async function exchange(a: Side, b: Side, round: number): Promise<void> {
  for (const [from, to] of [
    [a, b],
    [b, a],
  ] as const) {
    expect(from.say(append(round))).toBe(true);
    await until(() => roundsOf(to.delivered).includes(round), `round ${round} arrives`);
  }
}

/** Two sides between which datagrams arrive, and have all been heard. */
async function proven(host = '127.0.0.1'): Promise<[Side, Side]> {
  const [a, b] = [new Side(host), new Side(host)];
  [a.other, b.other] = [b, a];
  let round = 0;
  await until(async () => {
    round += 1;
    const areGood = [a.say(append(round)), b.say(append(round))].every(Boolean);
    a.bring();
    b.bring();
    await pause(20);
    return areGood;
  }, 'datagrams go both ways');
  for (let more = 101; more < 104; more++) await exchange(a, b, more);
  for (const side of [a, b]) side.delivered.splice(0);
  return [a, b];
}

describe('beats as datagrams', () => {
  it.each(['127.0.0.1', '::1'])(
    'go once they arrive both ways, and say the beat before but for its round (%s)',
    async (host) => {
      const [a, b] = await proven(host);
      for (let round = 1000; round < 1050; round++) await exchange(a, b, round);
      expect(b.delivered).toContainEqual(envelope(append(1049)));
      expect(a.changes.at(-1)).toBe(true);
    },
  );

  it('what is new goes by the stream, and so does everything while the stream is busy', async () => {
    const [a, b] = await proven();
    const later = { term: 5, version: 1 };
    expect(a.say(append(2000, { stamp: later }))).toBe(false);
    expect(a.say({ kind: 'on-disk', term: 4, stamp, store: 's' })).toBe(false);
    a.bring();
    expect(a.say(append(2001, { stamp: later }))).toBe(true);
    await until(() => roundsOf(b.delivered).includes(2001), 'it arrives');
    expect(b.delivered.at(-1)).toEqual(envelope(append(2001, { stamp: later })));
    a.isBusy = true;
    expect(a.say(append(2002, { stamp: later }))).toBe(false);
    a.isBusy = false;
    // A beat that the stream has dropped is not the one before.
    a.way.dropped();
    expect(a.say(append(2003, { stamp: later }))).toBe(false);
  });

  it('keep their place in the stream: one that came early waits, one that came late is dropped', async () => {
    const [a, b] = await proven();
    b.delivered.splice(0);
    const later = { term: 5, version: 1 };
    a.say(append(3000, { stamp: later }));
    a.say(append(3001, { stamp: later }));
    await pause(50);
    expect(b.delivered).toEqual([]);
    a.bring();
    expect(roundsOf(b.delivered)).toEqual([3000, 3001]);
    expect(b.delivered[1]).toEqual(envelope(append(3001, { stamp: later })));
    // The datagram is on its way when the stream brings what was said after it.
    b.say(append(1));
    await until(() => roundsOf(a.delivered).includes(1), 'the way is good');
    a.say(append(3002, { stamp: later }));
    a.say(append(3003, { stamp }));
    a.bring();
    await pause(50);
    expect(roundsOf(b.delivered)).toEqual([3000, 3001, 3003]);
  });

  it('are the stream’s again when the other side’s socket is gone: at most two are lost', async () => {
    const [a, b] = await proven();
    b.way.close();
    for (let round = 4000; round < 4010; round++) {
      a.say(append(round));
      await pause(5);
    }
    expect(a.say(append(4010))).toBe(false);
    expect(a.changes.at(-1)).toBe(false);
    a.bring();
    expect(roundsOf(b.delivered).length).toBeGreaterThanOrEqual(9);
  });
});

describe('a member that means no good, and who is none', () => {
  const socketAt = async (): Promise<Socket> => {
    const socket = createSocket('udp4').bind(0, '127.0.0.1');
    await once(socket, 'listening');
    ends.push(() => socket.close());
    return socket;
  };

  it('say nothing by datagrams that are forged, huge, from another port, late, or of a place in the stream that never comes', async () => {
    const offers: DatagramOffer[] = [];
    const delivered: Envelope[] = [];
    const way = new BeatWay({
      ...{ host: '127.0.0.1', framesSent: () => 0, changed: () => undefined },
      offer: (one) => void offers.push(one),
      deliver: (one) => void delivered.push(one),
    });
    ends.push(() => way.close());
    way.send(envelope(append(1)));
    await until(() => offers.length === 1, 'it offers');
    const [{ port, key: told }] = offers as [DatagramOffer];
    const [member, stranger] = [await socketAt(), await socketAt()];
    let answers = 0;
    member.on('message', () => {
      answers += 1;
    });
    way.offered({ v: 1, port: member.address().port, key: randomBytes(32).toString('base64') });
    way.heard(envelope(append(1)));
    const key = createSecretKey(told, 'base64');
    let number = 0;
    const made = (more: Partial<Datagram> = {}, by = key): Buffer => {
      number += 1;
      return encodeDatagram({ kind: 'beat', number, heard: 0, frames: 1, round: 7, ...more }, by);
    };
    const send = async (bytes: Buffer, from = member): Promise<void> => {
      await new Promise((sent) => from.send(bytes, port, '127.0.0.1', sent));
      if (number % 20 === 0) await pause(1);
    };
    const rounds = (): number[] => roundsOf(delivered);
    const right = made();
    await send(right);
    await until(() => delivered.length === 1, 'it hears the member');

    await send(made(), stranger);
    await send(made({}, createSecretKey(randomBytes(32))));
    for (const length of [0, 1, datagramBytes - 1, datagramBytes, datagramBytes + 1, 60_000])
      await send(randomBytes(length));
    await send(Buffer.concat([right, right]));
    await send(right);
    // Each would wait for frames that the stream never brings: one of them does, at most.
    for (let count = 0; count < 1000; count++) await send(made({ frames: maxNumber - count, round: maxNumber }));
    await send(made({ frames: 0 }));
    way.heard(null);
    await send(made({ frames: 2, round: 8 }));
    await until(() => delivered.length > 1, 'it hears the member again');
    expect(rounds()).toEqual([7, 8]);

    // Who asks is answered once each: it is no way to have a machine send much.
    answers = 0;
    for (let count = 0; count < 200; count++) await send(made({ kind: 'ask' }));
    await until(() => answers > 100, 'it answers');
    await pause(50);
    expect(answers).toBeLessThanOrEqual(200);

    // The last number that there is: whoever uses it up is not heard any more, and nothing else.
    await send(made({ number: maxNumber, frames: 2, round: 9 }));
    await until(() => delivered.length > 2, 'the last one');
    await send(made({ frames: 2, round: 10 }));
    await pause(20);
    expect(rounds()).toEqual([7, 8, 9]);
    expect(offers).toHaveLength(1);
  });
});

describe('the network', () => {
  it('says beats that say nothing new as datagrams, in order, and everything else as before', async () => {
    const [a, b] = [await party('a'), await party('b')];
    await meet([a, b]);
    const ledger = ledgerOf([a, b]);
    const changes = (): unknown[] => a.log.filter(({ event }) => event === 'beats-by-datagram');
    let round = 0;
    const beat = async (): Promise<void> => {
      round += 1;
      a.network.send(b.id, append(round));
      b.network.send(a.id, { kind: 'ack', term: 4, round, stamp, store: 's' });
      await pause(10);
    };
    await until(async () => {
      await beat();
      return changes().length > 0;
    }, 'datagrams arrive');
    for (let more = 0; more < 50; more++) {
      await beat();
      if (more === 25) a.network.send(b.id, append(round, { stamp: { term: 4, version: 9 }, ledger }));
    }
    await until(() => b.messages.length >= round + 1 && a.messages.length >= round, 'all arrived');
    const heard = roundsOf(b.messages);
    expect(heard).toEqual([...heard].sort((x, y) => x - y));
    expect(changes()).toHaveLength(1);
    expect(b.messages.every(({ era }) => era === 'era-1')).toBe(true);
    expect(b.events).toEqual([`connected ${a.id}`]);
  });
});
