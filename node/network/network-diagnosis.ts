import type { NodeId } from '../../protocol/ids.ts';
import type { Asks } from './ask-streams.ts';
import type { Dialer } from './dialer.ts';
import type { Discovery } from './discovery.ts';
import { discoveryProblems } from './discovery-problems.ts';
import type { EnrolStreams } from './enrol-door.ts';
import type { Gate } from './gate.ts';
import type { Gossip } from './gossip.ts';
import { ownInterfaces } from './interfaces.ts';
import type { Host } from './libp2p-host.ts';
import type { MeshLinks } from './mesh-links.ts';
import type { Probes } from './probes.ts';

interface Looked {
  libp2p: Host;
  listen: readonly string[];
  links: MeshLinks;
  gate: Gate;
  asks: Asks;
  enrols: EnrolStreams;
  dialer: Dialer;
  gossip: Gossip;
  probes: Probes;
  discovery: Discovery;
  nameOf(node: NodeId): string;
}

/** What `doctor`, `status` and tests may see of the network from outside. Changes nothing. */
export class NetworkDiagnosis {
  readonly #of: Looked;

  constructor(of: Looked) {
    this.#of = of;
  }

  /** Why machines may not find each other here, as sentences with what to type; empty when all looks well. */
  problems(): string[] {
    const { listen, discovery, probes, nameOf } = this.#of;
    const found = discoveryProblems({ interfaces: ownInterfaces(), listen });
    if (discovery.problem) found.push(discovery.problem);
    for (const node of probes.firewalled)
      found.push(
        `the evidence port of ${nameOf(node)} does not answer although its agent is connected: ` +
          'allow all of its TCP ports that addresses begin with evidence:// in its firewall, or failover will be slower',
      );
    return found;
  }

  /** Members of our ledger that do not take this node for a member. When all do so, this machine was probably removed. */
  refusedBy(): NodeId[] {
    return [...this.#of.links.refusedBy];
  }

  /** Open connections, of members and strangers. */
  connections(): number {
    return this.#of.libp2p.getConnections().length;
  }

  /** Nodes that are known to hear our gossip. */
  listeners(): NodeId[] {
    return this.#of.gossip.listeners();
  }

  /** How often each thing happened that doctor and tests ask about. */
  counters(): Record<string, number> {
    const { links, gate, asks, enrols, dialer, gossip } = this.#of;
    return {
      ...links.counters,
      ...gate.counters,
      ...asks.counters,
      ...enrols.counters,
      ...dialer.counters,
      reportsHeard: gossip.counters.heard,
      reportsRejected: gossip.counters.rejected,
      reportsOld: gossip.counters.old,
      gossipRepaired: gossip.counters.repaired,
      strangers: gate.strangers,
    };
  }
}
