import { createSecretKey, type KeyObject, randomBytes } from 'node:crypto';
import { createSocket, type Socket } from 'node:dgram';
import { isIPv6 } from 'node:net';
import { performance } from 'node:perf_hooks';
import { sentenceOf } from '../../protocol/errors.ts';
import type { Envelope } from '../../protocol/messages.ts';
import type { DatagramOffer } from '../../protocol/opening.ts';
import {
  type Datagram,
  type DatagramKind,
  DatagramWay,
  decodeDatagram,
  encodeDatagram,
  maxNumber,
} from './beat-datagrams.ts';
import { isBeat } from './beat-memo.ts';
import { isSameJson } from './same-json.ts';

interface BeatWayParts {
  /** The other side's address, as its connection has it; null: none that datagrams could go to. */
  host: string | null;
  /** Frames that the stream has taken; null while some wait, so that nothing can be said to come after them. */
  framesSent(): number | null;
  /** Puts an offer into the stream. */
  offer(offer: DatagramOffer): void;
  deliver(envelope: Envelope): void;
  /** The way was found, or lost. For a log. */
  changed(isGood: boolean, because: string): void;
}

/**
 * Heartbeats and their answers as datagrams beside the stream of one link, where they say what the last one on the stream
 * said but for the number of their round: a tenth of what libp2p's layers cost, and no transfer on the stream's connection
 * holds them up. What is new goes by the stream, so a datagram that is lost loses no news; nor does one overtake the
 * stream or fall behind it: it counts for the place in the stream at which it was sent, waits for it, or is dropped. A socket of
 * its own is connected to the other side's, so the kernel keeps strangers out; keys are told in the stream, which Noise
 * guards. Where datagrams do not arrive (a firewall), beats go by the stream as before.
 * Life: made with its link, offered at the first beat, closed with the link.
 */
export class BeatWay {
  readonly #parts: BeatWayParts;
  readonly #way = new DatagramWay();
  readonly #ownKey = createSecretKey(randomBytes(32));
  #socket: Socket | null = null;
  #isBound = false;
  #isConnecting = false;
  #isConnected = false;
  #isClosed = false;
  #theirs: { port: number; key: KeyObject } | null = null;
  /** The last beat that the stream took, and the last that it brought. */
  #said: Envelope | null = null;
  #heard: Envelope | null = null;
  #framesHeard = 0;
  #early: Datagram | null = null;
  #wasGood = false;

  constructor(parts: BeatWayParts) {
    this.#parts = parts;
  }

  /** True when the beat is on its way as a datagram; otherwise the stream has to take it, and `said` is to be called. */
  send(envelope: Envelope): boolean {
    if (!isBeat(envelope.message)) return false;
    if (!this.#isConnected) {
      this.#open();
      return false;
    }
    if (!this.#way.isGood) {
      this.#tellChange('two in a row were not heard');
      if (this.#way.isToBeTried(performance.now())) this.#write('ask', 0);
      return false;
    }
    const { round } = envelope.message;
    const frames = this.#parts.framesSent();
    if (frames === null || round > maxNumber || this.#said === null || !isSaidAgain(envelope, this.#said)) return false;
    this.#write('beat', round, frames);
    return true;
  }

  /** A message that the stream took. */
  said(envelope: Envelope): void {
    if (isBeat(envelope.message)) this.#said = envelope;
  }

  /** One that the stream dropped may have been the one that datagrams say again. */
  dropped(): void {
    this.#said = null;
  }

  /** A frame that the stream brought, and what it said; null of an opening or an offer. To be called after it was handed on. */
  heard(envelope: Envelope | null): void {
    this.#framesHeard += 1;
    if (envelope && isBeat(envelope.message)) this.#heard = envelope;
    const early = this.#early;
    if (!early || early.frames > this.#framesHeard) return;
    this.#early = null;
    this.#deliver(early);
  }

  /** The other side's offer: ours goes back. A second one in a stream is ignored. */
  offered({ port, key }: DatagramOffer): void {
    this.#theirs ??= { port, key: createSecretKey(key, 'base64') };
    this.#open();
    this.#connect();
  }

  close(): void {
    this.#isClosed = true;
    this.#isConnected = false;
    this.#socket?.close();
    this.#socket = null;
  }

  #open(): void {
    const { host } = this.#parts;
    if (this.#socket || this.#isClosed || host === null) return;
    const socket = createSocket(isIPv6(host) ? 'udp6' : 'udp4');
    this.#socket = socket;
    socket.unref();
    // On a connected socket that is how the kernel says that nobody listens there any more.
    socket.on('error', (error) => this.#refused(sentenceOf(error)));
    socket.on('message', (bytes) => this.#hear(bytes));
    socket.on('listening', () => {
      if (this.#isClosed) return;
      this.#isBound = true;
      this.#parts.offer({ v: 1, port: socket.address().port, key: this.#ownKey.export().toString('base64') });
      this.#connect();
    });
    socket.bind({ port: 0, exclusive: true });
  }

  #connect(): void {
    const [socket, theirs, { host }] = [this.#socket, this.#theirs, this.#parts];
    if (!socket || !this.#isBound || !theirs || host === null || this.#isConnecting) return;
    // No callback: an error of it would not be an `error` event then.
    socket.once('connect', () => {
      this.#isConnected = !this.#isClosed;
    });
    this.#isConnecting = true;
    socket.connect(theirs.port, host);
  }

  #write(kind: DatagramKind, round: number, frames = 0): void {
    if (!this.#socket || !this.#theirs) return;
    this.#socket.send(encodeDatagram({ ...this.#way.next(), kind, frames, round }, this.#theirs.key));
  }

  #hear(bytes: Buffer): void {
    if (!this.#isConnected) return;
    const datagram = decodeDatagram(bytes, this.#ownKey);
    if (!datagram || !this.#way.hear(datagram)) return;
    this.#tellChange('they arrive');
    if (datagram.kind === 'ask') this.#write('answer', 0);
    if (datagram.kind !== 'beat') return;
    if (datagram.frames > this.#framesHeard) this.#early = datagram;
    else this.#deliver(datagram);
  }

  #deliver({ frames, round }: Datagram): void {
    if (frames !== this.#framesHeard || this.#heard === null) return;
    const { v, era, message } = this.#heard;
    this.#parts.deliver({ v, era, message: { ...message, round } as Envelope['message'] });
  }

  #refused(because: string): void {
    this.#way.refused();
    this.#tellChange(because);
  }

  #tellChange(because: string): void {
    if (this.#way.isGood === this.#wasGood) return;
    this.#wasGood = this.#way.isGood;
    this.#parts.changed(this.#wasGood, because);
  }
}

/** But for the round. What a message has is mostly the very object that the one before had. */
function isSaidAgain({ era, message }: Envelope, before: Envelope): boolean {
  const [now, then] = [message as Fields, before.message as Fields];
  const keys = Object.keys(now);
  if (keys.length !== Object.keys(then).length || !isSameJson(era, before.era)) return false;
  return keys.every((key) => key === 'round' || (Object.hasOwn(then, key) && isSameJson(now[key], then[key])));
}

type Fields = Readonly<Record<string, unknown>>;
