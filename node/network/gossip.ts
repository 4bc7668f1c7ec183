import { type GossipSub, gossipsub, type Message, type TopicValidatorResult } from '@libp2p/gossipsub';
import type { Connection, StreamHandler, Topology } from '@libp2p/interface';
import { peerIdFromString } from '@libp2p/peer-id';
import { decode, encode } from '../../protocol/codec.ts';
import { sentenceOf } from '../../protocol/errors.ts';
import type { NodeId } from '../../protocol/ids.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import { limits } from '../../protocol/limits.ts';
import { names } from '../../protocol/names.ts';
import { Report } from '../../protocol/report.ts';
import type { Gate } from './gate.ts';
import type { NetworkLog } from './network-log.ts';

interface Attached {
  connection: Connection;
  /** When the stream to this node was last opened, ms. */
  since: number;
  /** True while there is a stream to this node. */
  speaks: boolean;
  /** How often in a row the stream had to be opened again. */
  repairs: number;
}

type Components = Parameters<ReturnType<typeof gossipsub>>[0];
type Registrar = Components['registrar'];

/**
 * A node sends its report to every node that it has a link with. A few of those pass it on, for nodes whose link to the
 * first one is cut. In a large mesh fewer pass it on, since each of them makes every node read every report once more.
 */
const passedOn = {
  by3: { D: 3, Dlo: 2, Dhi: 5, Dout: 1 },
  by2: { D: 2, Dlo: 1, Dhi: 3, Dout: 0 },
} as const;

/** One protocol only: all agents run the same gossipsub, and the older ones would cost a round trip to negotiate. */
const protocol = '/meshsub/1.2.0';
/** How long a gossip stream may be missing on a live connection before it is opened again, ms. */
const repairMs = 2000;

const verdict = { accept: 'accept', ignore: 'ignore', reject: 'reject' } as Record<string, TopicValidatorResult>;

/**
 * Reports by gossipsub; nothing else in the house knows that library (its home moved before: README.md here).
 *
 * Gossip follows the mesh links instead of libp2p's identify: a node is attached when its link opens and detached when
 * it closes. So it never talks to strangers, and it can never stay deaf on a connection that is gone, which
 * gossipsub does by itself (`libp2p.md`, duplicate connections).
 */
export class Gossip {
  #gate: Gate;
  #log: NetworkLog;
  #heard: (from: NodeId, report: Report) => void;
  #pubsub: GossipSub | null = null;
  #topology: Topology | null = null;
  #topic: string | null = null;
  #attached = new Map<NodeId, Attached>();
  #newest = new Map<NodeId, { since: number; seq: number }>();
  #last: Report | null = null;
  /** Nodes that have begun to listen since `#last` was published. */
  #missedLast = new Set<NodeId>();
  #isRunning = false;
  #again: NodeJS.Timeout | null = null;
  #repair: NodeJS.Timeout | null = null;
  readonly counters = { heard: 0, rejected: 0, old: 0, repaired: 0 };

  constructor(gate: Gate, log: NetworkLog, heard: (from: NodeId, report: Report) => void) {
    this.#gate = gate;
    this.#log = log;
    this.#heard = heard;
  }

  /** libp2p builds it with its components; the registrar it gets is ours. */
  service(): (components: Components) => GossipSub {
    const build = gossipsub({
      protocols: [protocol],
      globalSignaturePolicy: 'StrictSign',
      allowPublishToZeroTopicPeers: true,
      fallbackToFloodsub: false,
      emitSelf: false,
      // Twelve nodes on one address (a test machine) would otherwise score each other away.
      scoreParams: { IPColocationFactorWeight: 0 },
      // Tags would hand peers to libp2p's own reconnecting; the dialer does that.
      tagMeshPeers: false,
      maxInboundDataLength: limits.reportBytes * 4,
      ...passedOn.by3,
      // Which reports exist is told to a few nodes only, since hardly any node ever lacks one.
      Dlazy: 2,
      gossipFactor: 0.05,
      // A message that says "I have this report already" would cost more than the report.
      idontwantMinDataSize: limits.reportBytes * 4,
      maxTopicBytesPerPeer: 16 << 10,
      // Each report comes several times; without this each copy's signature would be checked before the copy is known as
      // one. Only what was checked is remembered, and nobody can sign something else alike.
      fastMsgIdFn: ({ signature }) => (signature ? Buffer.from(signature).toString('latin1') : ''),
    });
    return (components) => {
      const registrar = this.#registrar(components.registrar);
      this.#pubsub = build(Object.create(components, { registrar: { value: registrar } }) as Components);
      this.#pubsub.addEventListener('subscription-change', ({ detail }) => this.#publishFor(detail.peerId.toString()));
      return this.#pubsub;
    };
  }

  start(): void {
    this.#isRunning = true;
    this.#repair = setInterval(() => this.#repairDeaf(), repairMs / 8);
    this.#repair.unref();
  }

  stop(): void {
    this.#isRunning = false;
    if (this.#repair) clearInterval(this.#repair);
    if (this.#again) clearTimeout(this.#again);
  }

  setLedger(ledger: Ledger | null): void {
    const topic = ledger && this.#gate.members.size > 0 ? names.reportTopic(ledger.mesh.id) : null;
    for (const node of this.#newest.keys()) if (!this.#gate.isMember(node)) this.#newest.delete(node);
    if (topic === this.#topic || !this.#pubsub || !this.#isRunning) return;
    if (this.#topic) {
      this.#pubsub.unsubscribe(this.#topic);
      this.#pubsub.topicValidators.delete(this.#topic);
    }
    this.#topic = topic;
    if (topic === null) return;
    this.#pubsub.topicValidators.set(topic, (_, message) => this.#validate(message));
    this.#pubsub.subscribe(topic);
  }

  /** A link with that node opened on this connection. */
  attach(node: NodeId, connection: Connection): void {
    if (this.#attached.has(node)) this.detach(node);
    this.#attached.set(node, { connection, since: performance.now(), repairs: 0, speaks: false });
    this.#passOnBySize();
    // A fresh link shows that this process lives now: an older process of that node, or a clock set back, no longer counts.
    this.#newest.delete(node);
    this.#topology?.onConnect?.(peerIdFromString(node), connection);
    this.#publishFor(node);
  }

  /** The link to this node ended. */
  detach(node: NodeId): void {
    const attached = this.#attached.get(node);
    if (!attached) return;
    this.#attached.delete(node);
    this.#missedLast.delete(node);
    this.#passOnBySize();
    this.#drop(node, attached.connection);
  }

  /**
   * gossipsub forgets the node's subscriptions with it, and only half closes its streams: the other side would go on
   * speaking into the void. Aborted, it notices, and opens a new one when it repairs.
   */
  #drop(node: NodeId, connection: Connection): void {
    this.#topology?.onDisconnect?.(peerIdFromString(node));
    for (const stream of connection.streams)
      if (stream.protocol === protocol) stream.abort(new Error('gossip begins anew'));
  }

  /** This node and those it is linked with. */
  #isCrowd(): boolean {
    return this.#attached.size + 1 > limits.smallMesh;
  }

  /** gossipsub reads its options anew at every heartbeat; its interface does not show them. */
  #passOnBySize(): void {
    const { opts } = this.#pubsub as unknown as { opts: Record<keyof typeof passedOn.by3, number> };
    Object.assign(opts, this.#isCrowd() ? passedOn.by2 : passedOn.by3);
  }

  /** Publishes a report. One that is too large, or that no node can hear, is dropped with a line in the log. */
  publish(report: Report): void {
    this.#last = report;
    this.#missedLast.clear();
    if (!this.#pubsub || !this.#isRunning || this.#topic === null) return;
    try {
      const bytes = encode(report, limits.reportBytes);
      this.#pubsub
        .publish(this.#topic, bytes)
        .catch((error: unknown) => this.#log.debug({ event: 'gossip-failed' }, sentenceOf(error)));
    } catch (error) {
      this.#log.error({ event: 'gossip-failed' }, `this node's report cannot be sent: ${sentenceOf(error)}`);
    }
  }

  /** Nodes that we know to listen, for tests and doctor. */
  listeners(): NodeId[] {
    if (!this.#pubsub || !this.#isRunning || this.#topic === null) return [];
    return this.#pubsub.getSubscribers(this.#topic).map(String);
  }

  #validate(message: Message): TopicValidatorResult {
    if (message.type !== 'signed') return this.#reject('?', 'is not signed');
    const from = message.from.toString();
    // It comes from a node that was just forgotten, or that our ledger does not list yet: the node that passed it on did nothing wrong.
    if (!this.#gate.isMember(from)) return verdict.ignore as TopicValidatorResult;
    let report: Report;
    try {
      report = decode(Report, message.data, limits.reportBytes);
    } catch (error) {
      return this.#reject(from, sentenceOf(error));
    }
    if (report.node !== from) return this.#reject(from, `speaks for ${report.node}`);
    const newest = this.#newest.get(from);
    if (newest && (report.since < newest.since || (report.since === newest.since && report.seq <= newest.seq))) {
      this.counters.old += 1;
      return verdict.ignore as TopicValidatorResult;
    }
    this.#newest.set(from, { since: report.since, seq: report.seq });
    this.counters.heard += 1;
    // gossipsub swallows what a validator throws; an error of our own must not get lost.
    queueMicrotask(() => this.#heard(from, report));
    return verdict.accept as TopicValidatorResult;
  }

  #reject(from: NodeId, because: string): TopicValidatorResult {
    this.counters.rejected += 1;
    this.#log.warn({ event: 'bad-report', node: from, because }, `a report of ${from} was rejected: ${because}`);
    return verdict.reject as TopicValidatorResult;
  }

  /**
   * A node that begins to listen gets this node's last report at once. In a large mesh it waits for the next one, unless
   * most of the others have missed the last one too: if all nodes sent theirs again for each newcomer, every start would
   * cost every node as many reports as there are nodes.
   */
  #publishFor(node: NodeId): void {
    this.#missedLast.add(node);
    if (this.#last === null || this.#again) return;
    if (this.#isCrowd() && 2 * this.#missedLast.size < this.#attached.size) return;
    this.#again = setTimeout(() => {
      this.#again = null;
      if (this.#last) this.publish(this.#last);
    }, 100);
    this.#again.unref();
  }

  /** gossipsub never opens a stream again while the connection lives (js-libp2p#3531). */
  #repairDeaf(): void {
    for (const [node, attached] of this.#attached) {
      const { connection, since, repairs } = attached;
      const speaks = connection.streams.some(
        (one) => one.protocol === protocol && one.direction === 'outbound' && one.writeStatus === 'writable',
      );
      // What was published before this node's stream was open reached nobody.
      if (speaks && !attached.speaks) this.#publishFor(node);
      attached.speaks = speaks;
      if (speaks) attached.repairs = 0;
      if (speaks || connection.status !== 'open' || performance.now() - since < repairMs) continue;
      attached.repairs = repairs + 1;
      attached.since = performance.now();
      this.counters.repaired += 1;
      this.#log.info({ event: 'gossip-repaired', node }, `the gossip stream to ${node} is opened again`);
      // First only the missing stream: a detach would throw away what the other side told us. But gossipsub may hold on
      // to a stream that was refused before it listened for its end; then only forgetting the node helps.
      if (repairs % 2 === 1) this.#drop(node, connection);
      this.#topology?.onConnect?.(peerIdFromString(node), connection);
      this.#publishFor(node);
    }
  }

  /** Handlers for members only, and topology callbacks kept for `attach` and `detach`. */
  #registrar(real: Registrar): Registrar {
    const guarded: Partial<Registrar> = {
      handle: (name, handler: StreamHandler, options) =>
        real.handle(name, this.#gate.membersOnly(name, handler), options),
      unhandle: (name, options) => real.unhandle(name, options),
      register: async (_, topology) => {
        this.#topology = topology;
        return 'links';
      },
      unregister: () => {
        this.#topology = null;
      },
      getTopologies: () => [],
    };
    return guarded as Registrar;
  }
}
