import { setTimeout as pause } from 'node:timers/promises';
import type { NodeId } from '../../protocol/ids.ts';
import type { ProbeResult } from '../../scheduler/inputs.ts';
import type { AddressBook } from './address-book.ts';
import type { NetworkLog } from './network-log.ts';
import { probeAddress } from './probe-listener.ts';

/** After so many failed tries, a second apart, a firewall is suspected. */
const checks = 3;
const checkMs = 1000;
/** After so many ms each, a node that answers although its link has ended is probed again: soon at first, when its process is most likely ending. */
const dyingMs = [1, 2, 4, 8, 25];

/**
 * Probes other nodes, and knows which probes prove anything: a node whose evidence port does not answer *while its link
 * is up* is behind a firewall, so its silence proves nothing later.
 */
export class Probes {
  #book: AddressBook;
  #log: NetworkLog;
  #isUp: (node: NodeId) => boolean;
  readonly firewalled = new Set<NodeId>();

  constructor(book: AddressBook, log: NetworkLog, isUp: (node: NodeId) => boolean) {
    this.#book = book;
    this.#log = log;
    this.#isUp = isUp;
  }

  /** Probes a node once. A node without a known address, or behind a firewall, counts as `accepted`, since nothing is proven. Never throws. */
  async probe(node: NodeId): Promise<{ result: ProbeResult; tookMs: number }> {
    const at = this.#book.evidence(node);
    if (!at) return { result: 'accepted', tookMs: 0 };
    let found = await probeAddress(at);
    // A kernel closes the sockets of a dying process one after the other: the link may go before the evidence port.
    for (const afterMs of dyingMs) {
      if (found.result !== 'accepted' || this.#isUp(node)) break;
      await pause(afterMs, undefined, { ref: false });
      found = await probeAddress(at);
    }
    if (found.result === 'accepted') this.firewalled.delete(node);
    else if (this.firewalled.has(node)) return { result: 'accepted', tookMs: found.tookMs };
    return found;
  }

  /** Called when a link came up. */
  async check(node: NodeId): Promise<void> {
    this.firewalled.delete(node);
    for (let attempt = 0; attempt < checks; attempt++) {
      const at = this.#book.evidence(node);
      if (at && (await probeAddress(at, checkMs)).result === 'accepted') return;
      await pause(checkMs, undefined, { ref: false });
      if (!this.#isUp(node)) return;
    }
    this.firewalled.add(node);
    this.#log.warn({ event: 'evidence-blocked', node }, `the evidence port of ${node} does not answer`);
  }
}
