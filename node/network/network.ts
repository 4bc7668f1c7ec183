import type { Connection, PrivateKey } from '@libp2p/interface';
import { peerIdFromPrivateKey } from '@libp2p/peer-id';
import type { Answer, Ask } from '../../protocol/asks.ts';
import { AutogitError, sentenceOf } from '../../protocol/errors.ts';
import type { NodeId } from '../../protocol/ids.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import { limits } from '../../protocol/limits.ts';
import type { PeerMessage } from '../../protocol/messages.ts';
import { names } from '../../protocol/names.ts';
import type { Report } from '../../protocol/report.ts';
import type { ProbeResult } from '../../scheduler/inputs.ts';
import type { Network, NetworkEvents } from '../ports.ts';
import { AddressBook } from './address-book.ts';
import { evidenceAddress, hostPortOf, isOnOwnLan, readAddress } from './addresses.ts';
import { Asks } from './ask-streams.ts';
import { Dialer } from './dialer.ts';
import { Discovery } from './discovery.ts';
import { type EnrolDoor, EnrolStreams } from './enrol-door.ts';
import { chooseListen } from './free-port.ts';
import { Gate } from './gate.ts';
import { Gossip } from './gossip.ts';
import { identifyLater } from './identify-later.ts';
import { ownInterfaces } from './interfaces.ts';
import { createHost, type Host } from './libp2p-host.ts';
import type { MdnsDiscovery } from './mdns-discovery.ts';
import { MeshLinks } from './mesh-links.ts';
import { NetworkDiagnosis } from './network-diagnosis.ts';
import { byName, type NetworkLog } from './network-log.ts';
import { ProbeListener } from './probe-listener.ts';
import { Probes } from './probes.ts';
import { Silence } from './silence.ts';

export interface NetworkOptions {
  /** Ed25519, from @libp2p/crypto. */
  privateKey: PrivateKey;
  /** What `--listen` named; empty = all of IPv4 on the remembered port, 7117, or the next free one. */
  listen: string[];
  /** What `--peer` named: multiaddr, host, host:port. */
  peers: string[];
  /** mDNS, opened already so that the first answers are here when libp2p is; null = without. `stop` ends it. */
  mdns: MdnsDiscovery | null;
  /** The ports that this agent had last time, so that others find it there again. */
  port?: number | null;
  evidencePort?: number | null;
  /** Addresses of nodes as they were kept on disk; asked once, at start. */
  known(): Promise<{ node: NodeId; addresses: string[] }[]>;
  /** Keeps on disk where a node said that it is. A failure is only logged. */
  remember(node: NodeId, addresses: string[]): Promise<void>;
  events: NetworkEvents;
  log: NetworkLog;
}

/**
 * libp2p behind one port (node/ports.ts). Life: created (ports chosen) -> `start` -> `setLedger` as often as the ledger
 * changes -> `stop`, once. Without a ledger that lists this node it talks enrol only.
 */
export class LanNetwork implements Network {
  readonly self: NodeId;
  readonly listen: readonly string[];
  /** The network as enrolment sees it. */
  readonly door: EnrolDoor;
  /** The network as doctor and status see it. */
  readonly diagnosis: NetworkDiagnosis;
  #options: NetworkOptions;
  #libp2p: Host;
  #gate: Gate;
  #gossip: Gossip;
  #links: MeshLinks;
  #dialer: Dialer;
  #asks: Asks;
  #enrols: EnrolStreams;
  #discovery: Discovery;
  #book = new AddressBook();
  /** The addresses of each node that were last kept on disk. */
  #remembered = new Map<NodeId, string>();
  #evidence = new ProbeListener();
  #ledger: Ledger | null = null;
  #ports: { listening: number };
  #isStarted = false;
  #probes: Probes;
  #silence: Silence;

  private constructor(options: NetworkOptions, listen: string[], host: Host, parts: Parts) {
    this.#options = options;
    this.listen = listen;
    this.#libp2p = host;
    this.self = host.peerId.toString();
    this.#gate = parts.gate;
    this.#gossip = parts.gossip;
    this.#ports = parts.ports;
    this.#asks = new Asks(options.log, (from, ask) => options.events.ask(from, ask));
    this.#enrols = new EnrolStreams(host, this.#gate, options.log);
    this.#links = new MeshLinks(this.self, this.#gate, options.log, {
      up: (node, connection, addresses) => this.#up(node, connection, addresses),
      down: (node, because) => this.#down(node, because),
      message: (from, message, era) => options.events.message(from, message, era),
      ownAddresses: () => this.addresses(),
    });
    this.#probes = new Probes(this.#book, options.log, (node) => this.#links.isUp(node));
    this.#dialer = new Dialer({
      libp2p: host,
      book: this.#book,
      gate: this.#gate,
      links: this.#links,
      log: options.log,
      peers: options.peers.map((text) => readAddress(text, '--peer')),
      foundStranger: (node, connection) =>
        this.#discovery.saw({ node, addresses: [stripped(connection)], mesh: undefined }),
    });
    this.#silence = new Silence({
      ...{ libp2p: host, gate: parts.gate, dialer: this.#dialer, evidence: this.#evidence, log: options.log },
      hosts: () => this.#hosts,
    });
    this.#discovery = new Discovery({
      self: this.self,
      mdns: options.mdns,
      book: this.#book,
      gate: this.#gate,
      dialer: this.#dialer,
      log: options.log,
      own: () => host.getMultiaddrs().map(String),
      meshId: () => this.#meshId(),
    });
    this.door = this.#enrolDoor();
    this.diagnosis = new NetworkDiagnosis({
      libp2p: host,
      listen,
      links: this.#links,
      gate: this.#gate,
      asks: this.#asks,
      enrols: this.#enrols,
      dialer: this.#dialer,
      gossip: this.#gossip,
      probes: this.#probes,
      discovery: this.#discovery,
      nameOf: this.#nameOf,
    });
    parts.onReport = (from, report) => this.#heardReport(from, report);
    parts.nameOf = this.#nameOf;
  }

  #nameOf = (node: NodeId): string => this.#ledger?.nodes[node]?.name ?? this.#ledger?.approvals[node]?.name ?? node;

  #enrolDoor(): EnrolDoor {
    const discovery = this.#discovery;
    return {
      self: this.self,
      addresses: () => this.addresses(),
      strangers: () => discovery.strangers(),
      strangersChange: (ms) => discovery.change(ms),
      get lookingSince() {
        return discovery.lookingSince;
      },
      lookAround: () => discovery.lookAround(),
      onEnrol: (answer) => this.#enrols.onEnrol(answer),
      openEnrol: (to, timeoutMs) => this.#enrols.open(to, timeoutMs),
      isOnOwnLan: (address) => isOnOwnLan(address, this.listen, ownInterfaces()),
    };
  }

  /** Chooses ports and builds libp2p; nothing is open yet. Throws `bad-flag` or `port-taken`. */
  static async create(options: NetworkOptions): Promise<LanNetwork> {
    const listen = await chooseListen(options.listen, options.port ?? null);
    const self = peerIdFromPrivateKey(options.privateKey).toString();
    const log = byName(options.log, (node) => parts.nameOf(node));
    const gate = new Gate(self, log);
    const parts: Parts = {
      gate,
      nameOf: (node) => node,
      gossip: new Gossip(gate, log, (from, report) => parts.onReport(from, report)),
      ports: { listening: 0 },
      onReport: () => {},
    };
    const host = await createHost({ privateKey: options.privateKey, listen, ...parts });
    return new LanNetwork({ ...options, log }, listen, host, parts);
  }

  /** TCP port of libp2p, once started: the agent keeps it for the next start. */
  get port(): number {
    const named = hostPortOf(this.listen[0] ?? '')?.port ?? 0;
    // Asking for the addresses passes all of them, announced or not, through the filter, which notes the port.
    this.#libp2p.getMultiaddrs();
    return named > 0 ? named : this.#ports.listening;
  }

  get evidencePort(): number {
    return this.#evidence.port;
  }

  get #hosts(): string[] {
    return [...new Set(this.listen.map((one) => hostPortOf(one)?.host ?? '0.0.0.0'))];
  }

  async start(): Promise<void> {
    const { log } = this.#options;
    for (const { node, addresses } of await this.#options.known()) this.#book.recorded(node, addresses);
    await this.#evidence.start(this.#hosts, this.#options.evidencePort ?? 0);
    await this.#handle();
    this.#libp2p.addEventListener('connection:open', ({ detail }) => {
      if (this.#gate.isShut) return detail.abort(new Error('this agent is silent'));
      this.#gate.opened(detail);
      this.#links.opened(detail);
    });
    this.#libp2p.addEventListener('connection:close', ({ detail }) => {
      this.#gate.closed(detail);
      this.#links.closed(detail);
      this.#dialer.closed(detail.remotePeer.toString());
    });
    try {
      await this.#libp2p.start();
    } catch (cause) {
      await this.#evidence.stop();
      const why = isTaken(cause) ? 'another program has the port' : sentenceOf(cause);
      throw new AutogitError('port-taken', `cannot listen on ${this.listen.join(', ')}: ${why}`, { cause });
    }
    this.#gossip.start();
    this.#links.start();
    this.#dialer.start();
    if (this.#ledger) this.setLedger(this.#ledger);
    this.#isStarted = true;
    this.#discovery.start();
    log.info({ event: 'network-started', addresses: this.addresses() }, 'the network is up');
  }

  async stop(): Promise<void> {
    this.#silence.stop();
    this.#dialer.stop();
    this.#discovery.stop();
    this.#gossip.stop();
    this.#links.stop();
    this.#gate.stop();
    // libp2p would wait for each question that is under way.
    for (const connection of this.#libp2p.getConnections())
      for (const stream of connection.streams)
        if (stream.protocol !== names.meshStream) stream.abort(new Error('stops'));
    await this.#libp2p.stop();
    await this.#evidence.stop();
  }

  addresses(): string[] {
    const own = this.#libp2p.getMultiaddrs().map(String);
    const port = this.#evidence.port;
    const hosts = new Set(own.map((one) => hostPortOf(one)?.host).filter((host) => host !== undefined));
    const evidence = port > 0 ? [...hosts].map((host) => evidenceAddress({ host, port })) : [];
    return [...own.slice(0, limits.addresses - evidence.length), ...evidence].slice(0, limits.addresses);
  }

  setLedger(ledger: Ledger | null): void {
    const before = this.#meshId();
    this.#ledger = ledger;
    const change = this.#gate.setLedger(ledger);
    if (ledger) this.#book.setLedger(ledger);
    this.#discovery.membersChanged();
    this.#links.membersChanged(change);
    this.#gossip.setLedger(ledger);
    this.#dialer.setMembers(this.#gate.members);
    if (this.#isStarted && this.#meshId() !== before) this.#discovery.announce();
  }

  send(to: NodeId, message: PeerMessage, era = this.#ledger?.era): void {
    this.#links.send(to, message, era ?? null);
  }

  cut = (node: NodeId, because: string): void => this.#links.cut(node, because);

  publish = (report: Report): void => this.#gossip.publish(report);

  async ask(to: NodeId, ask: Ask, timeoutMs: number): Promise<Answer> {
    const connection = this.#gate.isMember(to) ? this.#links.connectionOf(to) : null;
    const name = this.#nameOf(to);
    if (!connection) throw new AutogitError('timed-out', `${name} is not connected`);
    return this.#asks.ask(connection, name, ask, timeoutMs);
  }

  probe(node: NodeId): Promise<{ result: ProbeResult; tookMs: number }> {
    return this.#probes.probe(node);
  }

  connected(): NodeId[] {
    return this.#links.up();
  }

  addressOf(node: NodeId): string | null {
    return this.#links.addressOf(node);
  }

  /** This machine was asleep: all connections are made anew, at once. */
  woke(): void {
    this.#dialer.woke();
  }

  isolate = (forMs: number): Promise<void> => this.#silence.begin(forMs);

  async #handle(): Promise<void> {
    const { mesh, ask, enrol } = { mesh: names.meshStream, ask: names.askStream, enrol: names.enrolStream };
    const onMesh = this.#gate.membersOnly(mesh, (stream, connection) => this.#links.accept(stream, connection));
    const onAsk = this.#gate.membersOnly(ask, (stream, connection) => this.#asks.accept(stream, connection));
    await this.#libp2p.handle(mesh, onMesh, { maxInboundStreams: 4, maxOutboundStreams: 4 });
    await this.#libp2p.handle(ask, onAsk, { maxInboundStreams: 64, maxOutboundStreams: 64 });
    await this.#libp2p.handle(enrol, (stream, connection) => this.#enrols.accept(stream, connection), {
      maxInboundStreams: 2,
      maxOutboundStreams: 4,
    });
  }

  #up(node: NodeId, connection: Connection, addresses: string[]): void {
    this.#book.said(node, addresses);
    if (connection.direction === 'outbound') this.#book.worked(node, connection.remoteAddr.toString());
    this.#dialer.up(node);
    this.#gossip.attach(node, connection);
    this.#remember(node);
    void this.#probes.check(node);
    identifyLater(this.#libp2p, this.#options.log, node, connection, this.#links.up().length);
    this.#options.events.connected(node);
  }

  #down(node: NodeId, because: string): void {
    this.#gossip.detach(node);
    this.#options.log.debug({ event: 'disconnected', node, because }, `${node} is not connected any more: ${because}`);
    this.#options.events.disconnected(node);
  }

  #heardReport(from: NodeId, report: Report): void {
    if (report.addresses.length > 0) this.#book.said(from, report.addresses);
    this.#remember(from);
    this.#options.events.report(from, report);
  }

  #remember(node: NodeId): void {
    const addresses = this.#book.all(node);
    if (this.#remembered.get(node) === addresses.join()) return;
    this.#remembered.set(node, addresses.join());
    this.#options.remember(node, addresses).catch((error) => {
      this.#remembered.delete(node);
      this.#options.log.warn({ event: 'remember-failed', node }, sentenceOf(error));
    });
  }

  #meshId(): string | null {
    return this.#ledger && this.self in this.#ledger.nodes ? this.#ledger.mesh.id : null;
  }
}

/** libp2p throws either one error for all addresses, or one that holds an error for each. */
const isTaken = (cause: unknown): boolean =>
  cause instanceof AggregateError
    ? cause.errors.some(isTaken)
    : /EADDRINUSE/.test(`${(cause as NodeJS.ErrnoException | undefined)?.code} ${sentenceOf(cause)}`);

interface Parts {
  ports: { listening: number };
  gate: Gate;
  gossip: Gossip;
  onReport: (from: NodeId, report: Report) => void;
  /** Of who is no member: its id. */
  nameOf: (node: NodeId) => string;
}

const stripped = (connection: Connection): string => connection.remoteAddr.toString().replace(/\/p2p\/\w+$/, '');

/** Builds the network of an agent; `start()` opens it. Throws `bad-flag` or `port-taken`. */
export const createNetwork = (options: NetworkOptions): Promise<LanNetwork> => LanNetwork.create(options);
