import type { Connection, ConnectionGater, PeerId, Stream, StreamHandler } from '@libp2p/interface';
import type { NodeId } from '../../protocol/ids.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import { linkedNodes } from '../../scheduler/views.ts';
import { hostPortOf } from './addresses.ts';
import type { NetworkLog } from './network-log.ts';
import { StrangerPace } from './stranger-pace.ts';

/** How many strangers may be connected, and for how long, before they have said anything on the enrol protocol. */
const strangerLimits = {
  connections: 16,
  perAddress: 8,
  /** ms for a stranger to open its enrol stream, and after that stream has ended. */
  idleMs: 10_000,
  /** ms for one that was forgotten: enough to hear why it is refused. */
  forgottenIdleMs: 3_000,
} as const;

export interface MembersChange {
  added: NodeId[];
  removed: NodeId[];
}

type PeerKind = 'member' | 'stranger' | 'forgotten';

/**
 * Who may do what (DESIGN §4). Members may use every protocol; everybody else only enrol, in small numbers and for a
 * short time. The check is made at the moment a stream opens, not when the connection was made, so that approving and
 * forgetting work at once. libp2p's own middleware is of no use here: `use()` hands out an array that grows with every
 * inbound stream (libp2p 3.3.11), so handlers are wrapped instead.
 */
export class Gate {
  #members: ReadonlySet<NodeId> = new Set();
  #forgotten: ReadonlySet<NodeId> = new Set();
  /** At which the ledger has members. */
  #memberHosts: ReadonlySet<string> = new Set();
  readonly #pace = new StrangerPace();
  /** Inbound connections of strangers, with the timer that ends them; `null` while the enrol protocol holds them. */
  #strangers = new Map<Connection, NodeJS.Timeout | null>();
  #self: NodeId;
  #log: NetworkLog;
  /** Nobody gets in, and nothing is said to whoever tries: this agent is as one that is dead. */
  isShut = false;
  /** Called when a member is making a connection to this node, which then need not dial it. */
  onArrival: (node: NodeId) => void = () => {};
  readonly counters = { refusedStreams: 0, refusedConnections: 0 };

  constructor(self: NodeId, log: NetworkLog) {
    this.#self = self;
    this.#log = log;
  }

  /** A ledger that does not list this node makes it a stranger itself: then nobody is a member for it. */
  setLedger(ledger: Ledger | null): MembersChange {
    const before = this.#members;
    // Voters come first, because members are dialled in this order.
    const all = new Set(ledger === null ? [] : [...Object.keys(ledger.configuration.voters), ...linkedNodes(ledger)]);
    const isIn = all.delete(this.#self);
    this.#members = isIn ? all : new Set();
    this.#forgotten = new Set(isIn ? Object.keys(ledger?.forgotten ?? {}).filter((id) => !this.#members.has(id)) : []);
    const addresses = [...this.#members].flatMap((node) => ledger?.nodes[node]?.addresses ?? []);
    this.#memberHosts = new Set(addresses.flatMap((one) => hostPortOf(one)?.host ?? []));
    for (const connection of [...this.#strangers.keys()])
      if (this.kindOf(connection.remotePeer.toString()) === 'member') this.#release(connection);
    return {
      added: [...this.#members].filter((node) => !before.has(node)),
      removed: [...before].filter((node) => !this.#members.has(node)),
    };
  }

  kindOf(node: NodeId): PeerKind {
    if (this.#members.has(node)) return 'member';
    return this.#forgotten.has(node) ? 'forgotten' : 'stranger';
  }

  isMember(node: NodeId): boolean {
    return this.#members.has(node);
  }

  get members(): ReadonlySet<NodeId> {
    return this.#members;
  }

  /** Wraps a protocol's handler so that it is for members only. */
  membersOnly(protocol: string, handler: StreamHandler): StreamHandler {
    return (stream, connection) => {
      if (this.isMember(connection.remotePeer.toString())) return handler(stream, connection);
      this.#refuse(protocol, stream, connection);
    };
  }

  /** libp2p asks before and after the handshake. Only there is the remote's identity proven. */
  connectionGater(): ConnectionGater {
    return {
      // Default denies private addresses in browsers and the like; here the LAN is all there is.
      denyDialMultiaddr: () => false,
      denyInboundConnection: async (maConn) => {
        const { host = '' } = hostPortOf(maConn.remoteAddr.toString()) ?? {};
        if (!this.isShut && !this.#memberHosts.has(host)) await this.#pace.turn(() => maConn.status === 'open');
        return this.isShut;
      },
      denyInboundEncryptedConnection: (peer: PeerId, maConn) => {
        const node = peer.toString();
        if (this.isMember(node)) {
          this.onArrival(node);
          return false;
        }
        const because = this.#whyNoRoom(node, maConn.remoteAddr.toString());
        if (because === null) return false;
        this.counters.refusedConnections += 1;
        this.#log.debug({ event: 'stranger-refused', node }, because);
        return true;
      },
    };
  }

  /** Every new connection passes here. A stranger that dialled us is cut after a short time. */
  opened(connection: Connection): void {
    const kind = this.kindOf(connection.remotePeer.toString());
    if (kind === 'member' || connection.direction === 'outbound') return;
    this.#strangers.set(connection, null);
    this.#setDeadline(connection, kind === 'forgotten' ? strangerLimits.forgottenIdleMs : strangerLimits.idleMs);
  }

  closed(connection: Connection): void {
    this.#release(connection);
  }

  /** The enrol protocol talks with this stranger and limits its time by itself. */
  hold(connection: Connection): void {
    const timer = this.#strangers.get(connection);
    if (timer === undefined) return;
    if (timer !== null) clearTimeout(timer);
    this.#strangers.set(connection, null);
  }

  /** The enrol protocol has finished with this stranger: unless it became a member, it is cut soon. */
  letGo(connection: Connection): void {
    if (!this.#strangers.has(connection)) return;
    if (this.isMember(connection.remotePeer.toString())) this.#release(connection);
    else this.#setDeadline(connection, strangerLimits.forgottenIdleMs);
  }

  get strangers(): number {
    return this.#strangers.size;
  }

  stop(): void {
    for (const connection of [...this.#strangers.keys()]) this.#release(connection);
  }

  #whyNoRoom(node: NodeId, from: string): string | null {
    if (this.#strangers.size >= strangerLimits.connections)
      return `${this.#strangers.size} strangers are connected: no more are let in`;
    const host = hostPortOf(from)?.host;
    let sameHost = 0;
    for (const one of this.#strangers.keys()) {
      if (one.remotePeer.toString() === node && this.kindOf(node) === 'forgotten') return 'it was forgotten';
      if (hostPortOf(one.remoteAddr.toString())?.host === host) sameHost += 1;
    }
    if (sameHost >= strangerLimits.perAddress) return `${sameHost} strangers are connected from ${host}`;
    return null;
  }

  #setDeadline(connection: Connection, afterMs: number): void {
    const old = this.#strangers.get(connection);
    if (old) clearTimeout(old);
    const timer = setTimeout(() => {
      this.#release(connection);
      if (!this.isMember(connection.remotePeer.toString())) connection.abort(new Error('a stranger had its time'));
    }, afterMs);
    timer.unref();
    this.#strangers.set(connection, timer);
  }

  #release(connection: Connection): void {
    const timer = this.#strangers.get(connection);
    if (timer) clearTimeout(timer);
    this.#strangers.delete(connection);
  }

  #refuse(protocol: string, stream: Stream, connection: Connection): void {
    const node = connection.remotePeer.toString();
    this.counters.refusedStreams += 1;
    this.#log.debug({ event: 'stream-refused', node, protocol }, `${node} is no member and may not open ${protocol}`);
    stream.abort(new Error('only members may open this protocol'));
  }
}
