import { randomBytes } from 'node:crypto';
import { performance } from 'node:perf_hooks';
import { multicastAddresses } from './addresses.ts';
import { ownInterfaces } from './interfaces.ts';
import { MdnsCrowd } from './mdns-crowd.ts';
import { answer, PacketReader, question, type Sighting } from './mdns-packets.ts';
import { MdnsSockets } from './mdns-sockets.ts';
import type { NetworkLog } from './network-log.ts';

/** ms between questions to the LAN. They may be rare, since members are dialled again without them. */
const intervalMs = 10_000;
/** At a start or a change, questions and announcements go out after so many ms each: a lost packet must not cost a minute. */
const askMs = [0, 20, 80, 250, 1000, 2500, 5000];
const announceMs = [0, 50, 250, 1000];
/** How often the interfaces are looked at, ms. */
const interfacesMs = 1000;
/** So many sightings are kept until `attend` takes them. */
const waiting = 64;

interface SightingEvents {
  seen(sighting: Sighting): void;
  /** This machine has other addresses on the LAN than before. */
  moved(): void;
}

/**
 * mDNS in libp2p's wire format, on every LAN interface. Life: `open` asks at once, before libp2p is loaded -> `attend`
 * (what came meanwhile is told) -> `announce`: answers from now on, and says unasked where it is -> `stop`. Not libp2p's
 * own: that one asks once in ten seconds, by the interface of the default route only, and dies in silence without one.
 */
export class MdnsDiscovery {
  #log: NetworkLog;
  #listen: readonly string[];
  #sockets = new MdnsSockets((packet) => this.#heard(packet));
  /** Marks our packets, since they come back to us and must be told from those of others. */
  #label = randomBytes(16).toString('hex');
  #reader = new PacketReader();
  #crowd = new MdnsCrowd();
  #early = new Map<string, Sighting>();
  #events: SightingEvents | null = null;
  #self: (() => Sighting) | null = null;
  #asks: NodeJS.Timeout[] = [];
  #announcements: NodeJS.Timeout[] = [];
  #steady: NodeJS.Timeout[] = [];
  #answered = Number.NEGATIVE_INFINITY;
  #isAnswering = false;
  #isStopped = false;
  /** When the first question went out, monotonic ms. */
  askedAt = Number.POSITIVE_INFINITY;

  /** `listen`: multiaddrs that the user named, or none: then every LAN interface. */
  constructor(log: NetworkLog, listen: readonly string[]) {
    this.#log = log;
    this.#listen = listen;
  }

  /** Why mDNS cannot work here; null while nothing is known against it. */
  get problem(): string | null {
    return this.#sockets.problem;
  }

  async open(): Promise<void> {
    await this.#sockets.use(this.#interfaces());
    if (this.#isStopped) return this.#sockets.close();
    if (this.problem) this.#log.warn({ event: 'discovery-problem' }, this.problem);
    this.askedAt = performance.now();
    this.askAgain();
    this.#steady = [
      setInterval(() => this.#askSteadily(), intervalMs).unref(),
      setInterval(() => void this.#look(), interfacesMs).unref(),
    ];
  }

  attend(events: SightingEvents): void {
    this.#events = events;
    for (const sighting of this.#early.values()) events.seen(sighting);
    this.#early.clear();
  }

  /** Says where this node is, now and whenever it is asked. Called again, it says what has changed. */
  announce(self: () => Sighting): void {
    this.#self = self;
    this.#announcements = this.#burst(this.#announcements, announceMs, () => this.#answer());
  }

  /** A burst of questions, now and over the next seconds. */
  askAgain(): void {
    const since = performance.now();
    this.#asks = this.#burst(this.#asks, askMs, () => {
      if (!this.#crowd.hasAnsweredSince(since)) this.#ask();
    });
  }

  stop(): void {
    this.#isStopped = true;
    for (const timer of [...this.#asks, ...this.#announcements, ...this.#steady]) clearTimeout(timer);
    this.#self = null;
    this.#events = null;
    this.#sockets.close();
  }

  #ask(): void {
    this.#sockets.send(question(this.#label));
  }

  /** In a crowd one agent asks for all. A machine with several interfaces always asks: no other one hears the same LANs. */
  #askSteadily(): void {
    const hasOne = this.#sockets.addresses.length === 1;
    if (!hasOne || !this.#crowd.isAskedFor(intervalMs, performance.now())) this.#ask();
  }

  #burst(old: NodeJS.Timeout[], times: readonly number[], send: () => void): NodeJS.Timeout[] {
    for (const timer of old) clearTimeout(timer);
    if (this.#isStopped) return [];
    const [first = 0, ...later] = times;
    if (first === 0) send();
    return later.map((afterMs) => setTimeout(send, afterMs).unref());
  }

  #interfaces(): string[] {
    return multicastAddresses(this.#listen, ownInterfaces());
  }

  /** A cable was plugged in, or DHCP gave an address: on that interface questions and announcements begin anew. */
  async #look(): Promise<void> {
    const now = this.#interfaces();
    if ([...now].sort().join() === this.#sockets.addresses.sort().join()) return;
    const before = this.#sockets.addresses.join();
    await this.#sockets.use(now);
    // An interface that knows no multicast is tried again each time, and is no news.
    if (this.#isStopped || this.#sockets.addresses.join() === before) return;
    this.#log.info(
      { event: 'interfaces-changed', addresses: now },
      `this machine is at ${now.join(', ') || 'no address'}`,
    );
    this.askAgain();
    if (this.#self) this.announce(this.#self);
    this.#events?.moved();
  }

  #heard(packet: Buffer): void {
    const read = this.#reader.read(packet);
    if (!read) return;
    const isOwn = read.label === this.#label;
    if (read.kind === 'ask') {
      if (!isOwn) this.#crowd.asked(performance.now());
      this.#answerSoon();
    } else if (!isOwn) {
      this.#crowd.heard(read.label, performance.now());
      this.#saw(read.seen);
    }
  }

  #saw(sighting: Sighting): void {
    if (this.#events) this.#events.seen(sighting);
    else if (this.#early.size < waiting) this.#early.set(sighting.node, sighting);
  }

  #answerSoon(): void {
    if (this.#isAnswering || !this.#self) return;
    // Every agent hears an answer, whichever of them asked: one in so many ms is enough.
    const now = performance.now();
    const waitMs = this.#answered + this.#crowd.answerGapMs(now) - now;
    if (waitMs <= 0) return this.#answer();
    this.#isAnswering = true;
    setTimeout(() => {
      this.#isAnswering = false;
      this.#answer();
    }, waitMs).unref();
  }

  #answer(): void {
    const self = this.#self?.();
    if (!self || self.addresses.length === 0) return;
    this.#answered = performance.now();
    this.#sockets.send(answer(this.#label, self));
  }
}
