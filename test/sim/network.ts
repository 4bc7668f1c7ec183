import { decode } from '../../protocol/codec.ts';
import type { NodeId } from '../../protocol/ids.ts';
import type { Era } from '../../protocol/ledger.ts';
import { limits } from '../../protocol/limits.ts';
import { Envelope, type PeerMessage } from '../../protocol/messages.ts';
import { Report } from '../../protocol/report.ts';
import { linkedNodes } from '../../scheduler/views.ts';
import { type Agent, isRefusedFrame } from './agent.ts';
import { type MessageFrame, reportFrame } from './frame.ts';
import { Violation } from './violation.ts';
import type { World } from './world.ts';

/** The long-lived stream of a pair of members; each way is in order, until it breaks and another one is opened. */
interface Stream {
  a: Agent;
  b: Agent;
  isOpen: boolean;
  lastArrival: Record<NodeId, number>;
  /** Frames that a cut cable holds back: TCP sends them again when it heals. */
  held: { to: Agent; from: NodeId; frame: MessageFrame }[];
}

const pairOf = (a: NodeId, b: NodeId): string => (a < b ? `${a} ${b}` : `${b} ${a}`);
const wireMs = { low: 0.2, high: 3 };

/** The LAN between the machines: streams, gossip and probes, with the faults that are on. */
export class Network {
  readonly #world: World;
  /** By pair, and by both of its members. */
  readonly #streams = new Map<string, Stream>();
  readonly #streamsOf = new Map<NodeId, Map<NodeId, Stream>>();
  readonly #dials = new Set<string>();
  readonly #everyPair: { a: NodeId; b: NodeId; pair: string }[] = [];

  constructor(world: World) {
    this.#world = world;
  }

  #delay(from: NodeId, to: NodeId): number {
    const { chance, faults } = this.#world;
    return chance.spread(wireMs.low, wireMs.high) + faults.extraDelayMs(from, to);
  }

  /** Frames go this way: both machines have power, and nothing is cut in between. */
  #passes(from: NodeId, to: NodeId): boolean {
    return !this.#world.faults.isCut(from, to) && this.#world.machine(to).power === 'on';
  }

  // --- streams

  get #pairs(): readonly { a: NodeId; b: NodeId; pair: string }[] {
    if (this.#everyPair.length === 0) {
      const ids = this.#world.machineIds();
      for (const a of ids) for (const b of ids) if (a < b) this.#everyPair.push({ a, b, pair: pairOf(a, b) });
    }
    return this.#everyPair;
  }

  /** Two members dial each other on sight, again and again. */
  dial(a: NodeId, b: NodeId): void {
    const pair = pairOf(a, b);
    if (this.#dials.has(pair)) return;
    this.#dials.add(pair);
    const { timeline, chance, faults } = this.#world;
    timeline.after(chance.between(2, faults.isHealed ? 50 : 300), () => {
      this.#dials.delete(pair);
      this.#open(a, b);
    });
  }

  #open(a: NodeId, b: NodeId): void {
    const pair = pairOf(a, b);
    const world = this.#world;
    const [one, two] = [world.agentOf(a), world.agentOf(b)];
    if (!one || !two || this.#isServing(pair)) return;
    const mutual = this.#knows(one, b) && this.#knows(two, a);
    const reachable = this.#passes(a, b) && this.#passes(b, a) && one.isRunning && two.isRunning;
    if (!mutual || !reachable) return;
    const former = this.#streams.get(pair);
    if (former?.isOpen) this.#close(former, 0);
    const stream: Stream = { a: one, b: two, isOpen: true, lastArrival: {}, held: [] };
    this.#streams.set(pair, stream);
    this.#of(a).set(b, stream);
    this.#of(b).set(a, stream);
    world.figures.add('streams opened');
    one.feed({ kind: 'connected', node: b });
    two.feed({ kind: 'connected', node: a });
  }

  /** Open between the two processes of now; a dead one's stream may linger. */
  #isServing(pair: string): boolean {
    const stream = this.#streams.get(pair);
    return !!stream?.isOpen && stream.a.isAlive && stream.b.isAlive;
  }

  #of(node: NodeId): Map<NodeId, Stream> {
    const known = this.#streamsOf.get(node);
    if (known) return known;
    const made = new Map<NodeId, Stream>();
    this.#streamsOf.set(node, made);
    return made;
  }

  #knows(agent: Agent, other: NodeId): boolean {
    if (agent.ledger === null) return false;
    if (agent.linkedFor !== agent.ledger) {
      agent.linkedFor = agent.ledger;
      agent.linked = new Set(linkedNodes(agent.ledger));
    }
    return agent.linked.has(other);
  }

  /** Opens what is missing, closes what hangs too long. Called now and then. */
  tend(): void {
    for (const { a, b, pair } of this.#pairs) if (!this.#isServing(pair)) this.dial(a, b);
    for (const stream of this.#streams.values()) {
      if (!stream.isOpen) continue;
      const { a, b } = stream;
      const hangs = !this.#passes(a.machine.id, b.machine.id) || !this.#passes(b.machine.id, a.machine.id);
      // TCP gives up after a while; a keep-alive finds out sooner or later.
      if (hangs && this.#world.chance.maybe(0.04)) this.#close(stream, 0);
      const strangers = !this.#knows(a, b.machine.id) || !this.#knows(b, a.machine.id);
      if (strangers) this.#close(stream, 0);
    }
  }

  /** Breaks a pair's stream; both sides are told, frames under way are lost. */
  reset(a: NodeId, b: NodeId): void {
    const stream = this.#streams.get(pairOf(a, b));
    if (stream?.isOpen) this.#close(stream, 1);
  }

  #close(stream: Stream, withinMs: number): void {
    stream.isOpen = false;
    stream.held = [];
    const { a, b } = stream;
    for (const [agent, other] of [
      [a, b],
      [b, a],
    ] as const)
      if (agent.isAlive)
        this.#world.timeline.after(this.#world.chance.between(0, withinMs), () =>
          agent.feed({ kind: 'disconnected', node: other.machine.id }),
        );
    this.dial(a.machine.id, b.machine.id);
  }

  /** The process ended: its kernel tells whoever it can reach; a machine without power tells nobody. */
  processEnded(agent: Agent, kernelLives: boolean): void {
    for (const stream of this.#streams.values()) {
      if (!stream.isOpen || (stream.a !== agent && stream.b !== agent)) continue;
      const other = stream.a === agent ? stream.b : stream.a;
      if (!kernelLives || !this.#passes(agent.machine.id, other.machine.id)) {
        // The other side's TCP believes in it for a while yet.
        this.#world.timeline.after(this.#world.chance.between(2000, 15_000), () => {
          if (stream.isOpen) this.#close(stream, 1);
        });
        continue;
      }
      this.#close(stream, 3);
    }
  }

  /** A cable is plugged in again: TCP sends what it held. */
  healed(): void {
    for (const stream of this.#streams.values()) {
      if (!stream.isOpen || stream.held.length === 0) continue;
      const held = stream.held;
      stream.held = [];
      for (const { from, to, frame } of held) this.#transmit(stream, from, to, frame);
    }
  }

  // --- what is said

  send(from: Agent, to: NodeId, message: PeerMessage, era: Era | null): void {
    const self = from.machine.id;
    const stream = this.#streamsOf.get(self)?.get(to);
    const frame = from.frames.make(message, era);
    frame.mixInto(this.#world.transcript);
    const target = stream ? (stream.a === from ? stream.b : stream.b === from ? stream.a : null) : null;
    if (!stream?.isOpen || target === null) return;
    this.#transmit(stream, self, target, frame);
  }

  #transmit(stream: Stream, from: NodeId, target: Agent, frame: MessageFrame): void {
    const { timeline, faults, chance } = this.#world;
    const to = target.machine.id;
    if (!this.#passes(from, to)) {
      if (faults.holdsFrames && stream.held.length < 500) stream.held.push({ to: target, from, frame });
      return;
    }
    if (faults.loses(from, to)) return this.#world.figures.add('frames lost');
    let arrival = timeline.now + this.#delay(from, to);
    if (!faults.reorders()) arrival = Math.max(arrival, (stream.lastArrival[to] ?? 0) + 0.001);
    else this.#world.figures.add('frames reordered');
    stream.lastArrival[to] = Math.max(arrival, stream.lastArrival[to] ?? 0);
    timeline.at(arrival, () => this.#arrive(stream, from, target, frame));
    if (!faults.duplicates()) return;
    this.#world.figures.add('frames duplicated');
    timeline.at(arrival + chance.spread(0.1, 5000), () => this.#arrive(stream, from, target, frame));
  }

  #arrive(stream: Stream, from: NodeId, target: Agent, frame: MessageFrame): void {
    const { chance, faults } = this.#world;
    if (!target.isAlive) return;
    if (!stream.isOpen && !chance.maybe(0.3)) return;
    if (target.machine.power !== 'on' && !faults.holdsFrames) return;
    if (faults.corrupts()) {
      this.#world.figures.add('frames corrupted');
      this.#refuse(Envelope, frame.bytes);
      if (stream.isOpen) this.#close(stream, 1);
      return;
    }
    const { message, era } = frame.content;
    target.feed({ kind: 'heard', from, message, era });
  }

  /** Noise would refuse such bytes; here the decoder must, without harm. What it lets through is dropped. */
  #refuse(schema: typeof Envelope | typeof Report, bytes: Uint8Array): void {
    const broken = bytes.slice();
    const { chance } = this.#world;
    for (let i = 0; i < 1 + chance.below(3); i += 1) broken[chance.below(broken.length)] = chance.below(256);
    try {
      decode(schema, broken, limits.frameBytes);
    } catch (error) {
      if (!isRefusedFrame(error)) throw new Violation('bad-bytes-are-refused', `the decoder threw ${error}`);
    }
  }

  /** Gossip reaches every connected member, or not; a report is a rumour. */
  gossip(from: Agent, report: Report): void {
    const frame = reportFrame(report);
    this.#world.checks.hasNoSecret(from, Buffer.from(frame.bytes));
    frame.mixInto(this.#world.transcript);
    const self = from.machine.id;
    for (const stream of this.#streams.values()) {
      if (!stream.isOpen || (stream.a !== from && stream.b !== from)) continue;
      const target = stream.a === from ? stream.b : stream.a;
      const { chance, faults, timeline } = this.#world;
      if (!this.#passes(self, target.machine.id) || faults.loses(self, target.machine.id)) continue;
      timeline.after(this.#delay(self, target.machine.id) + chance.between(0, 60), () => {
        if (!target.isAlive || target.machine.power !== 'on') return;
        if (faults.corrupts()) return this.#refuse(Report, frame.bytes);
        target.feed({ kind: 'report-heard', from: self, report: frame.content });
      });
    }
  }

  /** One TCP connect: the other machine's kernel answers, if anything does. */
  probe(from: Agent, node: NodeId): void {
    const { timeline, figures } = this.#world;
    const self = from.machine.id;
    const began = timeline.now;
    const end = (result: 'refused' | 'accepted' | 'silent', afterMs: number): void =>
      timeline.after(afterMs, () => {
        figures.add(`probes ${result}`);
        from.feed({ kind: 'probed', node, result, tookMs: timeline.now - began });
      });
    const there = this.#delay(self, node);
    timeline.after(there, () => {
      const reachable = this.#world.hasMachine(node) && this.#passes(self, node) && this.#passes(node, self);
      const back = this.#delay(node, self);
      if (!reachable || there + back > 150) return end('silent', Math.max(0, 150 - there));
      end(this.#world.agentOf(node) ? 'accepted' : 'refused', back);
    });
  }
}
