import { performance } from 'node:perf_hooks';
import type { Connection, Stream } from '@libp2p/interface';
import { sentenceOf } from '../../protocol/errors.ts';
import type { NodeId } from '../../protocol/ids.ts';
import type { Era } from '../../protocol/ledger.ts';
import type { PeerMessage } from '../../protocol/messages.ts';
import { names } from '../../protocol/names.ts';
import { dialableOf, hostPortOf, shownAddress } from './addresses.ts';
import type { Gate, MembersChange } from './gate.ts';
import { MeshLink } from './mesh-link.ts';
import type { NetworkLog } from './network-log.ts';

const firstWaitMs = 50;
const longestWaitMs = 3000;
/** ms within which two connections of a pair count as dialled at the same moment; a side that dials later has lost its connection. */
const dialsAgainMs = 3000;
/** After a link that lived so many ms the next one is opened without delay. */
const goodLifeMs = 5000;
/** ms within which a connection to a member must have led to a link. */
const linklessMs = 12_000;

interface LinksEvents {
  /** `addresses`: what the other side said of itself in its opening. */
  up(node: NodeId, connection: Connection, addresses: string[]): void;
  down(node: NodeId, because: string): void;
  message(from: NodeId, message: PeerMessage, era: Era | null): void;
  ownAddresses(): string[];
}

interface LinkedPeer {
  connections: Connection[];
  link: MeshLink | null;
  isOpening: boolean;
  waitMs: number;
  /** Monotonic ms before which no stream is opened, or accepted after rubbish. */
  notBefore: number;
  timer: NodeJS.Timeout | null;
  /** Since when there are connections but no open link, monotonic ms; null while all is well. */
  linklessSince: number | null;
}

/**
 * One link to every member that is connected. The side that dialled the connection opens the stream, and opens it
 * again, with back-off, when it breaks. Two connections of one pair (both dialled at the same moment) are cut down to
 * one by a rule that both sides compute alike: the one that the lower id dialled stays; of two by the same side the
 * newer one, since the older is what a killed process left behind.
 */
export class MeshLinks {
  #self: NodeId;
  #gate: Gate;
  #log: NetworkLog;
  #events: LinksEvents;
  #peers = new Map<NodeId, LinkedPeer>();
  #ticker: NodeJS.Timeout | null = null;
  #isStopped = false;
  /** Members that closed the mesh stream before it was open, so they do not take this node for a member. */
  readonly refusedBy = new Set<NodeId>();
  readonly counters = { badFrames: 0, droppedMessages: 0, duplicateConnections: 0 };

  constructor(self: NodeId, gate: Gate, log: NetworkLog, events: LinksEvents) {
    this.#self = self;
    this.#gate = gate;
    this.#log = log;
    this.#events = events;
  }

  start(): void {
    this.#ticker = setInterval(() => {
      for (const [node, peer] of this.#peers) {
        peer.link?.tick();
        this.#cutUseless(node, peer);
      }
    }, 500);
    this.#ticker.unref();
  }

  stop(): void {
    this.#isStopped = true;
    if (this.#ticker) clearInterval(this.#ticker);
    for (const peer of this.#peers.values()) {
      if (peer.timer) clearTimeout(peer.timer);
      peer.link?.close('this agent stops');
    }
  }

  /** Nodes whose link is open. */
  up(): NodeId[] {
    return [...this.#peers].filter(([, peer]) => peer.link?.isOpen).map(([node]) => node);
  }

  isUp(node: NodeId): boolean {
    return this.#peers.get(node)?.link?.isOpen === true;
  }

  hasConnection(node: NodeId): boolean {
    return (this.#peers.get(node)?.connections.length ?? 0) > 0;
  }

  /** The connection that the link uses, or the first one when there is no link. */
  connectionOf(node: NodeId): Connection | null {
    const peer = this.#peers.get(node);
    return peer?.link?.connection ?? peer?.connections[0] ?? null;
  }

  /** Where it is, as far as its host is proven by the connection; the port is the one that it listens on. */
  addressOf(node: NodeId): string | null {
    const link = this.#peers.get(node)?.link;
    const at = link?.isOpen ? hostPortOf(link.connection.remoteAddr.toString()) : null;
    const said = dialableOf(link?.addresses ?? []).map(hostPortOf);
    const there = said.find((one) => one?.host === at?.host) ?? at;
    return there ? shownAddress(there) : null;
  }

  send(to: NodeId, message: PeerMessage, era: Era | null): void {
    const link = this.#peers.get(to)?.link;
    if (!link?.isOpen) return;
    try {
      if (!link.send(message, era)) this.counters.droppedMessages += 1;
    } catch (error) {
      this.counters.droppedMessages += 1;
      this.#log.error({ event: 'send-failed', node: to, kind: message.kind }, sentenceOf(error));
    }
  }

  /** This node broke the rules: its link ends like one on which something unreadable came. */
  cut(node: NodeId, because: string): void {
    this.#peers.get(node)?.link?.abortBad(because);
  }

  opened(connection: Connection): void {
    const peer = this.#peer(connection.remotePeer.toString());
    if (this.#hasMoved(peer, connection)) this.#dropAll(peer, 'it dials again, from another address');
    peer.connections.push(connection);
    if (peer.link?.isOpen) this.#dropDuplicates(peer);
    this.#openSoon(peer, 0);
  }

  closed(connection: Connection): void {
    const node = connection.remotePeer.toString();
    const peer = this.#peers.get(node);
    if (!peer) return;
    peer.connections = peer.connections.filter((one) => one !== connection);
    if (peer.link?.connection === connection) peer.link.abort('the connection closed');
    if (peer.connections.length === 0 && !peer.link) {
      this.#forget(node, peer);
    } else this.#openSoon(peer, 0);
  }

  /** The ledger changed: cuts whoever is no member any more, opens links to whoever became one. */
  membersChanged(change: MembersChange): void {
    for (const node of change.removed) {
      this.refusedBy.delete(node);
      const peer = this.#peers.get(node);
      peer?.link?.abort('it is no member any more');
      for (const connection of peer?.connections ?? []) connection.abort(new Error('no member any more'));
    }
    for (const node of change.added) {
      const peer = this.#peers.get(node);
      if (!peer) continue;
      peer.waitMs = firstWaitMs;
      this.#openSoon(peer, 0);
    }
  }

  /** Handles a mesh stream that a member opened; the gate turns everybody else away. */
  accept(stream: Stream, connection: Connection): void {
    const peer = this.#peer(connection.remotePeer.toString());
    if (performance.now() < peer.notBefore && peer.link === null && connection.direction === 'inbound')
      stream.abort(new Error('too soon after a bad frame'));
    else if (peer.link !== null && peer.link.connection === this.#kept(peer) && peer.link.connection !== connection)
      stream.abort(new Error('another connection of this pair is in use'));
    else this.#take(peer, connection, stream);
  }

  #peer(node: NodeId): LinkedPeer {
    let peer = this.#peers.get(node);
    if (!peer) {
      peer = {
        connections: [],
        link: null,
        isOpening: false,
        waitMs: firstWaitMs,
        notBefore: 0,
        timer: null,
        linklessSince: null,
      };
      this.#peers.set(node, peer);
    }
    return peer;
  }

  #forget(node: NodeId, peer: LinkedPeer): void {
    if (peer.timer) clearTimeout(peer.timer);
    if (this.#peers.get(node) === peer) this.#peers.delete(node);
  }

  #take(peer: LinkedPeer, connection: Connection, stream: Stream): void {
    const old = peer.link;
    const link = new MeshLink(connection, stream, {
      opened: (one) => {
        if (peer.link !== one) return;
        this.refusedBy.delete(one.node);
        this.#log.debug({ event: 'link-up', node: one.node }, `the link to ${one.node} is up`);
        this.#events.up(one.node, connection, one.addresses);
        this.#dropDuplicates(peer);
      },
      message: (one, message, era) => {
        if (peer.link === one) this.#events.message(one.node, message, era);
      },
      ended: (one, because, isBad) => this.#ended(peer, one, because, isBad),
      beatsChanged: ({ node }, areDatagrams, because) =>
        this.#log.debug(
          { event: areDatagrams ? 'beats-by-datagram' : 'beats-by-stream', node, because },
          `heartbeats with ${node} go ${areDatagrams ? 'as datagrams' : 'by the stream'}: ${because}`,
        ),
    });
    peer.link = link;
    const wasUp = old?.isOpen === true;
    old?.abort('a newer stream took its place');
    if (wasUp) this.#events.down(link.node, 'a newer stream took its place');
    link.start(this.#events.ownAddresses());
  }

  #ended(peer: LinkedPeer, link: MeshLink, because: string, isBad: boolean): void {
    if (isBad) {
      this.counters.badFrames += 1;
      this.#log.warn(
        { event: 'bad-frame', node: link.node, because },
        `${link.node} sent something that is no message of ours; its stream was closed: ${because}`,
      );
    }
    const now = performance.now();
    if (peer.link !== link) return;
    peer.link = null;
    peer.waitMs = now - link.openedAt > goodLifeMs ? firstWaitMs : Math.min(peer.waitMs * 2, longestWaitMs);
    if (isBad) peer.notBefore = now + peer.waitMs / 2;
    this.#log.debug({ event: 'link-down', node: link.node, because }, `the link to ${link.node} ended: ${because}`);
    if (link.wasOpen) this.#events.down(link.node, because);
    else this.refusedBy.add(link.node);
    if (peer.connections.length === 0) this.#forget(link.node, peer);
    else this.#openSoon(peer, peer.waitMs * (0.5 + Math.random()));
  }

  #openSoon(peer: LinkedPeer, afterMs: number): void {
    if (this.#isStopped || peer.link || peer.isOpening) return;
    if (peer.timer) clearTimeout(peer.timer);
    peer.timer = setTimeout(() => void this.#open(peer), afterMs);
    peer.timer.unref();
  }

  async #open(peer: LinkedPeer): Promise<void> {
    const connection = this.#kept(peer);
    if (this.#isStopped || connection?.direction !== 'outbound' || peer.link || peer.isOpening) return;
    if (!this.#gate.isMember(connection.remotePeer.toString())) return;
    peer.isOpening = true;
    try {
      const stream = await connection.newStream(names.meshStream, { signal: AbortSignal.timeout(5000) });
      if (!this.#gate.isMember(connection.remotePeer.toString()) || this.#isStopped)
        stream.abort(new Error('no member any more'));
      else this.#take(peer, connection, stream);
    } catch (error) {
      this.#log.debug({ event: 'link-failed', because: sentenceOf(error) }, 'the mesh stream could not be opened');
      if (error instanceof Error && error.name === 'StreamResetError')
        this.refusedBy.add(connection.remotePeer.toString());
      peer.waitMs = Math.min(peer.waitMs * 2, longestWaitMs);
    } finally {
      peer.isOpening = false;
      if (!peer.link) this.#openSoon(peer, peer.waitMs * (0.5 + Math.random()));
    }
  }

  /**
   * A connection without a link is watched by nothing, and while it exists the dialer does not dial. So a connection that
   * leads to no link (its machine vanished in that moment, or does not take us for a member) is closed after a while.
   */
  #cutUseless(node: NodeId, peer: LinkedPeer): void {
    const isUseless = peer.connections.length > 0 && !peer.link?.isOpen && this.#gate.isMember(node);
    const now = performance.now();
    if (!isUseless) peer.linklessSince = null;
    else if (peer.linklessSince === null) peer.linklessSince = now;
    else if (now - peer.linklessSince > linklessMs) {
      peer.linklessSince = null;
      for (const connection of peer.connections) connection.abort(new Error('no mesh stream came of it'));
    }
  }

  /**
   * The machine of this node has another address now. It has given the old connection up, and cannot tell us so on it.
   * Noise has proven that it is the same node.
   */
  #hasMoved({ link }: LinkedPeer, connection: Connection): boolean {
    if (!link?.isOpen || connection.direction !== 'inbound') return false;
    if (performance.now() - link.openedAt < dialsAgainMs) return false;
    const host = (one: Connection): string | undefined => hostPortOf(one.remoteAddr.toString())?.host;
    return host(connection) !== host(link.connection);
  }

  #dropAll(peer: LinkedPeer, because: string): void {
    peer.link?.abort(because);
    for (const connection of peer.connections.splice(0)) connection.abort(new Error(because));
  }

  /** The one of several connections that stays; both sides compute the same one. */
  #kept(peer: LinkedPeer): Connection | undefined {
    const open = peer.connections.filter((one) => one.status === 'open');
    const node = open[0]?.remotePeer.toString() ?? '';
    const wanted = this.#self < node ? 'outbound' : 'inbound';
    return open.filter((one) => one.direction === wanted).at(-1) ?? open.at(-1);
  }

  /**
   * Other connections are closed only once a link is open. Before that, a second connection may carry the enrol protocol:
   * of a member that lost its ledger, or of two strangers that ask each other.
   */
  #dropDuplicates(peer: LinkedPeer): void {
    const keep = this.#kept(peer);
    for (const connection of peer.connections) {
      if (connection === keep || connection.status !== 'open') continue;
      const node = connection.remotePeer.toString();
      this.counters.duplicateConnections += 1;
      this.#log.debug({ event: 'duplicate-connection', node }, `one of two connections to ${node} is closed`);
      connection.abort(new Error('one connection a pair'));
    }
  }
}
