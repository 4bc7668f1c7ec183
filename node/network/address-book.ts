import type { NodeId } from '../../protocol/ids.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import { limits } from '../../protocol/limits.ts';
import { dialableOf, evidenceOf, type HostPort, hostPortOf, type Interfaces, nearestFirst } from './addresses.ts';

/** Strangers that are remembered at most; the LAN may claim anything. */
const strangersKept = 64;
const sightedTried = 6;

interface Entry {
  /** As the node said itself, when it last opened a link or reported; the freshest word there is. */
  said: string[];
  /** From the ledger and from what was remembered on disk. */
  recorded: string[];
  /** From mDNS. */
  sighted: string[];
  /** The multiaddr that worked last. */
  worked: string | null;
  /** A sighting told of other addresses after it had spoken for itself. */
  hasMoved: boolean;
}

/** Where nodes are: everything that was heard about it, freshest first. */
export class AddressBook {
  #entries = new Map<NodeId, Entry>();

  #entry(node: NodeId): Entry {
    let entry = this.#entries.get(node);
    if (!entry) {
      entry = { said: [], recorded: [], sighted: [], worked: null, hasMoved: false };
      this.#entries.set(node, entry);
    }
    return entry;
  }

  recorded(node: NodeId, addresses: readonly string[]): void {
    this.#entry(node).recorded = addresses.slice(0, limits.addresses);
  }

  said(node: NodeId, addresses: readonly string[]): void {
    const entry = this.#entry(node);
    entry.said = addresses.slice(0, limits.addresses);
    entry.hasMoved = false;
  }

  /** Also keeps the number of strangers small: the one seen longest ago goes. */
  sighted(node: NodeId, addresses: readonly string[], isMember: (node: NodeId) => boolean): void {
    const entry = this.#entry(node);
    entry.sighted = addresses.slice(0, limits.addresses);
    entry.hasMoved = !entry.sighted.every((one) => entry.said.some((said) => said.startsWith(one)));
    this.#entries.delete(node);
    this.#entries.set(node, entry);
    const strangers = [...this.#entries.keys()].filter((one) => !isMember(one));
    for (const one of strangers.slice(0, Math.max(0, strangers.length - strangersKept))) this.#entries.delete(one);
  }

  worked(node: NodeId, multiaddr: string): void {
    const at = dialableOf([multiaddr])[0];
    if (at !== undefined) this.#entry(node).worked = at;
  }

  setLedger(ledger: Ledger): void {
    for (const [node, { addresses }] of Object.entries(ledger.nodes)) {
      const entry = this.#entry(node);
      if (addresses.length > 0) entry.recorded = addresses;
    }
    for (const node of Object.keys(ledger.forgotten)) if (!(node in ledger.nodes)) this.#entries.delete(node);
  }

  /**
   * Multiaddrs to dial, best first: what worked, then what it said, what was just seen, what is on record; the sighting
   * first when it tells of a place that the node had not yet when it last spoke. Anybody on
   * the LAN can claim anything by mDNS, and dead addresses cost seconds each: so every other attempt begins with the
   * record, and only a few sighted ones are tried.
   */
  toDial(node: NodeId, interfaces: Interfaces, attempt = 0): string[] {
    const entry = this.#entries.get(node);
    if (!entry) return [];
    const sighted = entry.sighted.slice(0, sightedTried);
    const heard = entry.hasMoved ? [...sighted, ...entry.said] : [...entry.said, ...sighted];
    const fresh = nearestFirst(dialableOf(heard), interfaces);
    const recorded = nearestFirst(dialableOf(entry.recorded), interfaces);
    const all = attempt % 2 === 0 ? [...fresh, ...recorded] : [...recorded, ...fresh];
    // The last address that worked goes first only while nobody says that the node has moved to another port.
    const isStillThere = fresh.length === 0 || (fresh.includes(entry.worked ?? '') && !entry.hasMoved);
    const first = entry.worked !== null && isStillThere ? [entry.worked] : [];
    return [...new Set([...first, ...all, ...(entry.worked ? [entry.worked] : [])])].slice(0, limits.addresses);
  }

  /** Everything known of a node, evidence addresses included. */
  all(node: NodeId): string[] {
    const entry = this.#entries.get(node);
    if (!entry) return [];
    return [...new Set([...entry.said, ...entry.sighted, ...entry.recorded])].slice(0, limits.addresses);
  }

  /** Where to probe: on the address that we last spoke with it, when it announced evidence there. */
  evidence(node: NodeId): HostPort | null {
    const entry = this.#entries.get(node);
    if (!entry) return null;
    const said = evidenceOf(entry.said);
    const known = said.length > 0 ? said : evidenceOf(entry.recorded);
    const host = entry.worked ? hostPortOf(entry.worked)?.host : undefined;
    return known.find((at) => at.host === host) ?? known[0] ?? null;
  }
}
