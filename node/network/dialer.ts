import { lookup } from 'node:dns/promises';
import { isIP } from 'node:net';
import { performance } from 'node:perf_hooks';
import type { Connection } from '@libp2p/interface';
import { multiaddr } from '@multiformats/multiaddr';
import type { Libp2p } from 'libp2p';
import { sentenceOf } from '../../protocol/errors.ts';
import type { NodeId } from '../../protocol/ids.ts';
import { limits } from '../../protocol/limits.ts';
import type { AddressBook } from './address-book.ts';
import { type HostPort, hostPortOf, inSubnet, lanAddresses, multiaddrOf, shownAddress } from './addresses.ts';
import type { Gate } from './gate.ts';
import { ownInterfaces } from './interfaces.ts';
import type { MeshLinks } from './mesh-links.ts';
import type { NetworkLog } from './network-log.ts';
import { OwnLan } from './own-lan.ts';

const firstWaitMs = 200;
/** ms between attempts to reach a member: one that went away a short while ago, and one that is long gone. */
const longestWaitMs = 3000;
const longGoneWaitMs = 15_000;
const longGoneMs = 10 * 60_000;
/** ms for which the node with the higher id waits for the one with the lower id to dial. */
const stepInMs = 1500;
const stepInAtStartMs = 300;
const sweepMs = 250;
/** At most so many dials of the last `freshDialMs` are under way. Each is a handshake: more at once would make all of them late. */
const dialsAtOnce = 8;
const freshDialMs = 1000;

interface Target {
  /** Since when the member is wanted and not connected, monotonic ms. */
  missingSince: number;
  next: number;
  waitMs: number;
  lastTry: number;
  /** Attempts since the member was last connected. */
  attempt: number;
  isDialling: boolean;
}

/** One `--peer`: an address of a node whose id is not known yet. */
interface Named {
  at: HostPort;
  node: NodeId | null;
  next: number;
  waitMs: number;
  isDialling: boolean;
}

/**
 * Keeps one connection to every member, for ever; libp2p 3 dials nobody by itself (`libp2p.md` §0.3). Of a pair the
 * lower id dials first; the higher one steps in when nothing came of it (with several LANs only one side may know the
 * way). Back-off doubles with jitter; a sighting by mDNS shows that the machine is there and ends the waiting.
 */
export class Dialer {
  #libp2p: Libp2p;
  #self: NodeId;
  #book: AddressBook;
  #gate: Gate;
  #links: MeshLinks;
  #log: NetworkLog;
  #own = new OwnLan(lanAddresses(ownInterfaces()));
  #targets = new Map<NodeId, Target>();
  #named: Named[];
  #foundStranger: (node: NodeId, connection: Connection) => void;
  #timer: NodeJS.Timeout | null = null;
  /** When this agent started, or its machine woke or got another address. For a while after that it waits less for the others. */
  #startedAt = 0;
  readonly counters = { dials: 0, failed: 0 };

  constructor(from: {
    libp2p: Libp2p;
    book: AddressBook;
    gate: Gate;
    links: MeshLinks;
    log: NetworkLog;
    peers: readonly HostPort[];
    /** The node behind a `--peer` turned out to be no member. */
    foundStranger: (node: NodeId, connection: Connection) => void;
  }) {
    this.#libp2p = from.libp2p;
    this.#self = from.libp2p.peerId.toString();
    this.#book = from.book;
    this.#gate = from.gate;
    this.#links = from.links;
    this.#log = from.log;
    this.#foundStranger = from.foundStranger;
    this.#gate.onArrival = (node) => this.#arriving(node);
    this.#named = from.peers.map((at) => ({ at, node: null, next: 0, waitMs: firstWaitMs, isDialling: false }));
  }

  start(): void {
    this.#startedAt = performance.now();
    this.#timer = setInterval(() => this.#sweep(), sweepMs);
    this.#timer.unref();
    this.#sweep();
  }

  stop(): void {
    if (this.#timer) clearInterval(this.#timer);
    this.#timer = null;
  }

  /** Sets the members to keep connected. Connections to all other nodes are dropped. */
  setMembers(members: ReadonlySet<NodeId>): void {
    for (const node of this.#targets.keys()) if (!members.has(node)) this.#targets.delete(node);
    const now = performance.now();
    for (const node of members)
      if (!this.#targets.has(node))
        this.#targets.set(node, {
          missingSince: now,
          // A little chance keeps two that start together from dialling each other in the same moment.
          next: this.#self < node ? 0 : now + Math.random() * 300,
          waitMs: firstWaitMs,
          lastTry: Number.NEGATIVE_INFINITY,
          attempt: 0,
          isDialling: false,
        });
    this.#sweep();
  }

  /** mDNS saw this node a moment ago. */
  sighted(node: NodeId): void {
    const target = this.#targets.get(node);
    if (!target || performance.now() - target.lastTry < 1000) return;
    target.next = 0;
    target.waitMs = firstWaitMs;
    this.#sweep();
  }

  /** This machine has other addresses than before: members that are missing, or were reached from an old address, are dialled at once. */
  moved(): void {
    const lost = this.#own.moved(lanAddresses(ownInterfaces()));
    for (const connection of this.#libp2p.getConnections()) {
      const host = hostPortOf(connection.remoteAddr.toString())?.host;
      if (host === undefined || !lost.some((cidr) => inSubnet(host, cidr))) continue;
      this.#startedAt = performance.now();
      connection.abort(new Error('this machine has another address'));
    }
    for (const target of this.#targets.values()) {
      target.next = 0;
      target.waitMs = firstWaitMs;
    }
    this.#sweep();
  }

  /** This machine slept: its connections are dead, even those that its kernel still believes in. */
  woke(): void {
    this.#startedAt = performance.now();
    for (const connection of this.#libp2p.getConnections()) connection.abort(new Error('this machine slept'));
    this.moved();
  }

  /** The other side is making a connection to this node, so there is no need to dial. */
  #arriving(node: NodeId): void {
    const target = this.#targets.get(node);
    if (target) target.next = Math.max(target.next, performance.now() + 1000);
  }

  /** A link to this node is open, so nothing more has to be tried. */
  up(node: NodeId): void {
    const target = this.#targets.get(node);
    if (!target) return;
    target.waitMs = firstWaitMs;
    target.attempt = 0;
  }

  /** A connection closed. The node that dials first does so at once, since a restarted agent may already be listening. */
  closed(node: NodeId): void {
    const target = this.#targets.get(node);
    if (!target || this.#links.hasConnection(node)) return;
    const now = performance.now();
    target.missingSince = now;
    // A connection that never became a link, because the other side does not take us for a member, counts as a failed attempt.
    target.next = now + target.waitMs * (0.25 + Math.random() * 0.5);
  }

  #sweep(): void {
    if (this.#timer === null) return;
    const now = performance.now();
    // In a large mesh the higher id waits longer before it dials, since a second connection costs both sides a handshake.
    const isHasty = now - this.#startedAt < 3000 && this.#targets.size < limits.smallMesh;
    const leaveMs = isHasty ? stepInAtStartMs : stepInMs;
    let fresh = 0;
    for (const { isDialling, lastTry } of this.#targets.values())
      if (isDialling && now - lastTry < freshDialMs) fresh += 1;
    for (const [node, target] of this.#targets) {
      if (this.#links.hasConnection(node)) {
        target.missingSince = now;
        continue;
      }
      if (target.isDialling || now < target.next || fresh >= dialsAtOnce) continue;
      if (this.#self > node && now - target.missingSince < leaveMs) continue;
      fresh += 1;
      void this.#dial(node, target);
    }
    for (const named of this.#named) if (!named.isDialling && now >= named.next) void this.#dialNamed(named);
  }

  async #dial(node: NodeId, target: Target): Promise<void> {
    const addresses = this.#book.toDial(node, ownInterfaces(), target.attempt);
    if (addresses.length === 0) return;
    target.attempt += 1;
    target.isDialling = true;
    target.lastTry = performance.now();
    this.counters.dials += 1;
    try {
      const connection = await this.#libp2p.dial(addresses.map((one) => multiaddr(`${one}/p2p/${node}`)));
      this.#book.worked(node, connection.remoteAddr.toString());
    } catch (error) {
      this.counters.failed += 1;
      this.#log.debug({ event: 'dial-failed', node, because: sentenceOf(error) }, `${node} could not be reached`);
    } finally {
      const now = performance.now();
      const longest = now - target.missingSince > longGoneMs ? longGoneWaitMs : longestWaitMs;
      target.waitMs = Math.min(target.waitMs * 2, longest);
      target.next = now + target.waitMs * (0.5 + Math.random());
      target.isDialling = false;
    }
    this.#sweep();
  }

  async #dialNamed(named: Named): Promise<void> {
    if (named.node !== null && (this.#gate.isMember(named.node) || this.#links.hasConnection(named.node))) {
      named.next = performance.now() + longestWaitMs;
      return;
    }
    named.isDialling = true;
    try {
      const host = isIP(named.at.host) === 0 ? (await lookup(named.at.host)).address : named.at.host;
      const at = { host, port: named.at.port };
      const open = this.#libp2p.getConnections().find((one) => {
        const remote = hostPortOf(one.remoteAddr.toString());
        return remote?.host === at.host && remote.port === at.port;
      });
      const connection = open ?? (await this.#libp2p.dial(multiaddr(multiaddrOf(at))));
      named.node = connection.remotePeer.toString();
      named.waitMs = firstWaitMs;
      this.#book.worked(named.node, multiaddrOf(at));
      if (!this.#gate.isMember(named.node)) {
        named.waitMs = longGoneWaitMs;
        this.#foundStranger(named.node, connection);
      }
    } catch (error) {
      this.#log.debug(
        { event: 'peer-failed', address: shownAddress(named.at), because: sentenceOf(error) },
        `--peer ${shownAddress(named.at)} does not answer`,
      );
    } finally {
      named.waitMs = Math.min(named.waitMs * 2, named.waitMs > longestWaitMs ? longGoneWaitMs : longestWaitMs);
      named.next = performance.now() + named.waitMs * (0.5 + Math.random());
      named.isDialling = false;
    }
  }
}
