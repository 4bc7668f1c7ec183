import { performance } from 'node:perf_hooks';
import type { Connection, Stream } from '@libp2p/interface';
import { decode, encode } from '../../protocol/codec.ts';
import { sentenceOf } from '../../protocol/errors.ts';
import type { NodeId } from '../../protocol/ids.ts';
import type { Era } from '../../protocol/ledger.ts';
import { limits } from '../../protocol/limits.ts';
import { type Envelope, encodeEnvelope, type PeerMessage } from '../../protocol/messages.ts';
import { DatagramOffer, datagramOfferByte, datagramOfferBytes, Opening, openingBytes } from '../../protocol/opening.ts';
import { hostPortOf } from './addresses.ts';
import { BeatMemo, isBeat } from './beat-memo.ts';
import { BeatWay } from './beat-way.ts';
import { FrameChannel } from './frame-channel.ts';
import { LedgerMemo } from './ledger-memo.ts';

/** So many bytes may wait to be sent to one node. */
const queueBytes = 8 << 20;
/** An idle link says something this often, ms, with an empty frame. */
const keepAliveMs = 1500;
/** A link on which nothing came for so long is dead, ms: the cable is out, the machine is gone or frozen. */
const silentMs = 4000;
/** ms for both openings to be exchanged. */
const openingMs = 5000;

interface LinkEvents {
  opened(link: MeshLink): void;
  message(link: MeshLink, message: PeerMessage, era: Era | null): void;
  /** `isBad`: the other side broke the rules. */
  ended(link: MeshLink, because: string, isBad: boolean): void;
  /** Beats go as datagrams from now on, or by the stream again. */
  beatsChanged(link: MeshLink, areDatagrams: boolean, because: string): void;
}

/** Heartbeats and their answers are repeated within 100 ms, so they may be dropped when a stream is slow. */
const isDroppable = (message: PeerMessage): boolean => isBeat(message) || message.kind === 'hello';

/**
 * The long-lived stream to one member, on one connection. Life: made -> openings exchanged (`opened`) -> frames ->
 * ended, once, for good; `MeshLinks` makes the next one. It watches for silence by itself: libp2p's own connection
 * monitor opens a ping stream every time, takes part in nothing else, and would cut strangers, whom we refuse ping.
 */
export class MeshLink {
  readonly node: NodeId;
  readonly connection: Connection;
  readonly openedAt = performance.now();
  isOpen = false;
  /** True once the link has been open: only then its end is reported. */
  wasOpen = false;
  addresses: string[] = [];
  #channel: FrameChannel;
  #events: LinkEvents;
  readonly #beats = new BeatMemo();
  readonly #ledgers = new LedgerMemo();
  readonly #way: BeatWay;
  /** The other side knows datagrams. */
  #knowsDatagrams = false;
  #dropped = 0;
  #isBad = false;
  #lastTick = performance.now();
  #overdue = performance.now() + openingMs;

  constructor(connection: Connection, stream: Stream, events: LinkEvents) {
    this.node = connection.remotePeer.toString();
    this.connection = connection;
    this.#events = events;
    this.#channel = new FrameChannel(stream, { receiveBytes: openingBytes, queueBytes });
    this.#way = new BeatWay({
      host: hostPortOf(connection.remoteAddr.toString())?.host ?? null,
      framesSent: () => (this.#channel.isDrained ? this.#channel.framesTaken : null),
      offer: (offer) => void this.#channel.send(offerFrame(offer)),
      deliver: ({ message, era }) => events.message(this, message, era),
      changed: (isGood, because) => events.beatsChanged(this, isGood, because),
    });
  }

  /** Sends the opening. This is no part of the constructor, since a refused stream ends in here already. */
  start(ownAddresses: string[]): void {
    this.#channel.onEnd((because) => {
      this.isOpen = false;
      this.#way.close();
      this.#events.ended(this, because, this.#isBad || this.#channel.isBroken);
    });
    this.#channel.send(encode({ v: 1, addresses: ownAddresses, datagrams: true } satisfies Opening, openingBytes));
    this.#channel.onFrame((frame) => this.#heard(frame));
  }

  get ended(): string | null {
    return this.#channel.ended;
  }

  /** False when the message was dropped: link not open, queue full. Throws `frame-too-large`. */
  send(message: PeerMessage, era: Era | null): boolean {
    if (!this.isOpen) return false;
    const envelope: Envelope = { v: 1, era, message };
    if (this.#knowsDatagrams && this.#way.send(envelope)) return true;
    const isTaken = this.#channel.send(encodeEnvelope(envelope), isDroppable(message));
    if (isTaken) this.#way.said(envelope);
    if (this.#channel.framesDropped > this.#dropped) this.#way.dropped();
    this.#dropped = this.#channel.framesDropped;
    return isTaken;
  }

  /** Called twice a second: keeps the link alive, and ends it when nothing comes any more. */
  tick(): void {
    const now = performance.now();
    // If this process was late itself (busy, or stopped), frames of the other side may still wait to be read.
    const lateMs = Math.max(0, now - this.#lastTick - 1000);
    this.#lastTick = now;
    if (lateMs > 0) {
      this.#channel.lastHeardAt += lateMs;
      this.#overdue += lateMs;
    }
    if (!this.isOpen) {
      if (now > this.#overdue) this.abort('it did not open the mesh stream in time');
      return;
    }
    if (now - this.#channel.lastHeardAt > silentMs) {
      this.abort(`nothing came for ${Math.round(now - this.#channel.lastHeardAt)} ms`);
      this.connection.abort(new Error('silent'));
      return;
    }
    if (now - this.#channel.lastSentAt > keepAliveMs) this.#channel.send(new Uint8Array(0), true);
  }

  close(because: string): void {
    this.#channel.close(because);
  }

  abort(because: string): void {
    this.#channel.abort(because);
  }

  abortBad(because: string): void {
    this.#isBad = true;
    this.abort(because);
  }

  #heard(frame: Uint8Array): void {
    if (!this.isOpen) {
      const opening = this.#read(() => decode(Opening, frame, openingBytes));
      if (!opening) return;
      this.addresses = opening.addresses;
      this.isOpen = true;
      this.wasOpen = true;
      this.#knowsDatagrams = opening.datagrams === true;
      this.#channel.setReceiveBytes(limits.frameBytes);
      this.#way.heard(null);
      this.#events.opened(this);
    } else if (frame[0] === datagramOfferByte) {
      const offer = this.#read(() => decode(DatagramOffer, frame.subarray(1), datagramOfferBytes));
      if (!offer) return;
      this.#way.heard(null);
      this.#way.offered(offer);
    } else if (frame.byteLength > 0) {
      const envelope = this.#beats.read(frame) ?? this.#read(() => this.#decoded(frame));
      if (!envelope) return;
      this.#events.message(this, envelope.message, envelope.era);
      this.#way.heard(envelope);
    }
  }

  #decoded(frame: Uint8Array): Envelope {
    const envelope = this.#ledgers.decode(frame);
    this.#beats.keep(frame, envelope);
    return envelope;
  }

  /** A frame that cannot be read ends the link; an error that the listener throws is our own, and is thrown on. */
  #read<T>(decoded: () => T): T | null {
    try {
      return decoded();
    } catch (error) {
      this.abortBad(sentenceOf(error));
      return null;
    }
  }
}

const offerFrame = (offer: DatagramOffer): Uint8Array =>
  Buffer.concat([Uint8Array.of(datagramOfferByte), encode(offer, datagramOfferBytes)]);
