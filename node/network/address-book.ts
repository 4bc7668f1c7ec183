import type { NodeId } from '../../protocol/ids.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import { limits } from '../../protocol/limits.ts';
import { dialableOf, evidenceOf, type HostPort, hostPortOf, type Interfaces, nearestFirst } from './addresses.ts';

/** At most so many strangers are remembered, since anybody on the LAN can claim to be any number of nodes. */
const strangersKept = 64;
const sightedTried = 6;

interface Entry {
  /** What the node said of itself when it last opened a link or sent a report. Nothing fresher is known. */
  said: string[];
  /** What the ledger and the file of remembered addresses say. */
  recorded: string[];
  /** What was last seen of the node by mDNS. */
  sighted: string[];
  /** The multiaddr that worked last. */
  worked: string | null;
  /** True when mDNS showed other addresses after the node had last spoken for itself. */
  hasMoved: boolean;
}

/** The addresses of all nodes, from every source, the freshest source first. */
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

  /** Notes what mDNS showed. When there are too many strangers, the one that was seen longest ago is forgotten. */
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
   * Multiaddrs to dial, best first: the one that worked, then what the node said of itself, what mDNS showed, what is
   * on record. What mDNS showed comes first when the node has moved since it last spoke. Anybody on the LAN can claim
   * anything by mDNS, and a dead address costs seconds: so every other attempt begins with the record, and only a few
   * addresses from mDNS are tried.
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

  /** Where to probe the node: at the host where we last spoke with it, when it announced an evidence port there. */
  evidence(node: NodeId): HostPort | null {
    const entry = this.#entries.get(node);
    if (!entry) return null;
    const said = evidenceOf(entry.said);
    const known = said.length > 0 ? said : evidenceOf(entry.recorded);
    const host = entry.worked ? hostPortOf(entry.worked)?.host : undefined;
    return known.find((at) => at.host === host) ?? known[0] ?? null;
  }
}
