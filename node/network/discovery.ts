import type { NodeId } from '../../protocol/ids.ts';
import type { AddressBook } from './address-book.ts';
import type { Dialer } from './dialer.ts';
import type { Stranger } from './enrol-door.ts';
import type { Gate } from './gate.ts';
import { ownInterfaces } from './interfaces.ts';
import type { MdnsDiscovery } from './mdns-discovery.ts';
import type { Sighting } from './mdns-packets.ts';
import type { NetworkLog } from './network-log.ts';
import { StrangerList } from './stranger-list.ts';

interface DiscoveryOptions {
  self: NodeId;
  /** Null when mDNS is switched off. */
  mdns: MdnsDiscovery | null;
  book: AddressBook;
  gate: Gate;
  dialer: Dialer;
  log: NetworkLog;
  /** The addresses that this node announces. */
  own(): string[];
  meshId(): string | null;
}

/** Nodes that mDNS shows: members are dialled at the place where they were seen; strangers are listed for enrolment. */
export class Discovery {
  readonly #options: DiscoveryOptions;
  readonly #strangers = new StrangerList();

  constructor(options: DiscoveryOptions) {
    this.#options = options;
  }

  start(): void {
    const { mdns, dialer } = this.#options;
    mdns?.attend({ seen: (sighting) => this.saw(sighting), moved: () => dialer.moved() });
    this.announce();
  }

  stop(): void {
    this.#options.mdns?.stop();
  }

  announce(): void {
    const { mdns, self, own, meshId } = this.#options;
    mdns?.announce(() => ({ node: self, addresses: own(), mesh: meshId() }));
  }

  saw({ node, addresses, mesh }: Sighting): void {
    const { self, book, gate, dialer, log } = this.#options;
    if (node === self) return;
    book.sighted(node, addresses, (one) => gate.isMember(one));
    if (gate.isMember(node)) return dialer.sighted(node);
    const isNew = this.#strangers.saw(node, mesh, performance.now());
    if (isNew) log.info({ event: 'node-found', node, addresses }, `another agent was seen: ${node}`);
  }

  membersChanged(): void {
    for (const node of this.#options.gate.members) this.#strangers.forget(node);
  }

  strangers(): Stranger[] {
    const { book } = this.#options;
    // The kernel is asked for its interfaces only where there is a stranger: once a second for none it was 6 % of an idle leader.
    const recent = this.#strangers.recent(performance.now());
    const interfaces = recent.length > 0 ? ownInterfaces() : {};
    return recent.map(({ node, mesh }) => ({ node, mesh, addresses: book.toDial(node, interfaces) }));
  }

  change(ms: number): Promise<void> {
    return this.#strangers.change(ms);
  }

  /** When the first question went out to the LAN, monotonic ms; infinite when none did. */
  get lookingSince(): number {
    return this.#options.mdns?.askedAt ?? Number.POSITIVE_INFINITY;
  }

  lookAround(): void {
    this.#options.mdns?.askAgain();
  }

  get problem(): string | null {
    return this.#options.mdns?.problem ?? null;
  }
}
