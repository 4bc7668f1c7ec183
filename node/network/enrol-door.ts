import type { Connection, Stream } from '@libp2p/interface';
import { multiaddr } from '@multiformats/multiaddr';
import type { Libp2p } from 'libp2p';
import { decode, encode } from '../../protocol/codec.ts';
import { EnrolMessage } from '../../protocol/enrol-messages.ts';
import { AutogitError, sentenceOf } from '../../protocol/errors.ts';
import type { NodeId } from '../../protocol/ids.ts';
import { limits } from '../../protocol/limits.ts';
import { names } from '../../protocol/names.ts';
import { dialableOf, hostPortOf } from './addresses.ts';
import { FrameChannel } from './frame-channel.ts';
import type { Gate } from './gate.ts';
import type { NetworkLog } from './network-log.ts';
import type { MeshHint } from './stranger-list.ts';

/** A member's answer carries the ledger and the mesh key; what a stranger may say is much smaller. */
const fromMemberBytes = limits.frameBytes + limits.enrolFrameBytes;

/** One conversation of the enrol protocol. Noise has proven the identity `remote`. */
export interface EnrolChannel {
  readonly remote: NodeId;
  /** IP address of the other side, as the kernel sees it; empty when it has none. */
  readonly address: string;
  /** Why the conversation ended; null while it is open. */
  readonly ended: string | null;
  send(message: EnrolMessage): void;
  /** The next message; null at the end, or when `timeoutMs` pass. Throws `bad-message` or `frame-too-large`. */
  next(timeoutMs: number): Promise<EnrolMessage | null>;
  onEnd(told: (because: string) => void): void;
  close(because: string): void;
}

/** An agent in sight that is no member of our mesh. */
export interface Stranger {
  node: NodeId;
  addresses: string[];
  /** The id of the mesh that the agent claims by mDNS to be in; null when it claims to be in none, undefined when it claims nothing. */
  mesh: MeshHint;
}

/** The network as enrolment sees it. */
export interface EnrolDoor {
  readonly self: NodeId;
  /** Addresses that this node announces. */
  addresses(): string[];
  /** Nodes that were seen lately and are no members of our mesh. */
  strangers(): Stranger[];
  /** Resolves when a stranger comes into sight or says something else of its mesh, after `ms` at the latest. */
  strangersChange(ms: number): Promise<void>;
  /** When the first question went out to the LAN, monotonic ms; infinite when none did. */
  readonly lookingSince: number;
  /** Asks the LAN again who is there. */
  lookAround(): void;
  /** Sets what answers a stranger that opens the enrol protocol; with null strangers are turned away. */
  onEnrol(answer: ((channel: EnrolChannel) => void) | null): void;
  /** Opens a conversation, dialling if need be. Throws `timed-out` with the reason. */
  openEnrol(to: { node: NodeId; addresses: string[] }, timeoutMs: number): Promise<EnrolChannel>;
  /** True for an IP address in one of this machine's own LAN subnets, or loopback where we listen on loopback. */
  isOnOwnLan(address: string): boolean;
}

/** Both ends of the protocol `/autogit/enrol/1`. */
export class EnrolStreams {
  #libp2p: Libp2p;
  #gate: Gate;
  #log: NetworkLog;
  #answer: ((channel: EnrolChannel) => void) | null = null;
  readonly counters = { badEnrols: 0 };

  constructor(libp2p: Libp2p, gate: Gate, log: NetworkLog) {
    this.#libp2p = libp2p;
    this.#gate = gate;
    this.#log = log;
  }

  onEnrol(answer: ((channel: EnrolChannel) => void) | null): void {
    this.#answer = answer;
  }

  accept(stream: Stream, connection: Connection): void {
    this.#gate.hold(connection);
    const channel = this.#channel(stream, connection, limits.enrolFrameBytes);
    channel.onEnd(() => this.#gate.letGo(connection));
    if (this.#answer) {
      this.#answer(channel);
      return;
    }
    channel.send({ kind: 'refused', because: 'this agent is in no mesh yet' });
    channel.close('in no mesh');
  }

  async open(to: { node: NodeId; addresses: string[] }, timeoutMs: number): Promise<EnrolChannel> {
    const signal = AbortSignal.timeout(timeoutMs);
    try {
      const known = this.#libp2p
        .getConnections()
        .find((one) => one.remotePeer.toString() === to.node && one.status === 'open');
      const connection = known ?? (await this.#dial(to, signal));
      const stream = await connection.newStream(names.enrolStream, { signal });
      const channel = this.#channel(stream, connection, fromMemberBytes);
      // The other side may have dialled us, as a stranger whose time is short.
      this.#gate.hold(connection);
      channel.onEnd(() => this.#gate.letGo(connection));
      return channel;
    } catch (error) {
      throw new AutogitError('timed-out', `${to.node} could not be reached: ${sentenceOf(error)}`, { cause: error });
    }
  }

  async #dial(to: { node: NodeId; addresses: string[] }, signal: AbortSignal): Promise<Connection> {
    const addresses = dialableOf(to.addresses);
    if (addresses.length === 0) throw new AutogitError('timed-out', 'no address of it is known');
    return this.#libp2p.dial(
      addresses.map((one) => multiaddr(`${one}/p2p/${to.node}`)),
      { signal },
    );
  }

  #channel(stream: Stream, connection: Connection, receiveBytes: number): EnrolChannel {
    const frames = new FrameChannel(stream, { receiveBytes, queueBytes: fromMemberBytes + 1024 });
    const remote = connection.remotePeer.toString();
    const bad = (error: unknown): void => {
      this.counters.badEnrols += 1;
      const because = sentenceOf(error);
      this.#log.warn({ event: 'bad-enrol', node: remote, because }, `${remote} broke the enrol protocol: ${because}`);
      frames.abort(because);
    };
    frames.onEnd((because) => {
      if (frames.isBroken) bad(new Error(because));
    });
    return {
      remote,
      address: hostPortOf(connection.remoteAddr.toString())?.host ?? '',
      get ended() {
        return frames.ended;
      },
      send: (message) => {
        frames.send(encode(message, fromMemberBytes));
      },
      next: async (timeoutMs) => {
        const frame = await frames.next(timeoutMs);
        if (!frame) return null;
        try {
          return decode(EnrolMessage, frame, receiveBytes);
        } catch (error) {
          bad(error);
          throw error;
        }
      },
      onEnd: (told) => frames.onEnd(told),
      close: (because) => frames.close(because),
    };
  }
}
