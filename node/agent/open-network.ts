import { AutogitError } from '../../protocol/errors.ts';
import type { Log } from '../log.ts';
import type { MdnsDiscovery } from '../network/mdns-discovery.ts';
import type { LanNetwork } from '../network/network.ts';
import type { Store } from '../ports.ts';
import type { Identity } from '../secrets/identity.ts';
import type { JoinOptions } from '../settings/settings.ts';
import { knownNodes, remember } from './known-nodes.ts';
import type { Member } from './member.ts';
import { networkLog } from './network-lines.ts';

const portFact = 'port';
const evidencePortFact = 'evidence-port';
const portRetriesMost = 8;
/** Of this process, over all its lives. */
let portRetries = 0;

interface AgentNetwork {
  privateKey: Identity['privateKey'];
  options: Pick<JoinOptions, 'listen' | 'peers'>;
  store: Store;
  discovery: MdnsDiscovery | null;
  log: Log;
  /** Null until this machine is one: what comes before is lost, or refused. */
  member(): Member | null;
}

/** The network of this agent, not started yet. It prefers the ports that it had before, since others remember them. */
export async function openNetwork({
  privateKey,
  options,
  store,
  discovery,
  log,
  member,
}: AgentNetwork): Promise<LanNetwork> {
  const { createNetwork } = await import('../network/network.ts');
  return createNetwork({
    privateKey,
    listen: options.listen,
    peers: options.peers,
    mdns: discovery,
    port: Number(await store.get(portFact)) || null,
    evidencePort: Number(await store.get(evidencePortFact)) || null,
    known: () => knownNodes(store),
    remember: (node, addresses) => remember(store, node, addresses),
    log: networkLog(log),
    events: {
      message: (from, message, era) => member()?.heard(from, message, era),
      report: (from, report) => member()?.reported(from, report),
      connected: (node) => member()?.loop.feed({ kind: 'connected', node }),
      disconnected: (node) => member()?.loop.feed({ kind: 'disconnected', node }),
      ask: async (from, ask) =>
        (await member()?.answer(from, ask)) ?? { kind: 'refused', because: 'this node is starting' },
    },
  });
}

/** Two agents that start at once may find the same port free: the second begins a new life, with the next port. False then. */
export async function startNetwork(
  network: LanNetwork,
  { listen }: Pick<JoinOptions, 'listen'>,
  log: Log,
): Promise<boolean> {
  try {
    await network.start();
    return true;
  } catch (error) {
    const isTaken = error instanceof AutogitError && error.code === 'port-taken' && listen.length === 0;
    if (!isTaken || portRetries >= portRetriesMost) throw error;
    portRetries += 1;
    log.warn(`${error.message}: begins again with the next port`);
    return false;
  }
}

export async function rememberPorts(store: Store, network: LanNetwork): Promise<void> {
  await store.put(portFact, String(network.port));
  await store.put(evidencePortFact, String(network.evidencePort));
}
