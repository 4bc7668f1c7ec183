import { type Identify, identify } from '@libp2p/identify';
import type { PrivateKey } from '@libp2p/interface';
import { noise } from '@libp2p/noise';
import { tcp } from '@libp2p/tcp';
import { createLibp2p, type Libp2p } from 'libp2p';
import { version } from '../version.ts';
import { hostPortOf, isAnnounced } from './addresses.ts';
import type { Gate } from './gate.ts';
import type { Gossip } from './gossip.ts';
import { ownInterfaces } from './interfaces.ts';
import { muxer } from './muxer.ts';
import { noiseCipher } from './noise-cipher.ts';
import { orderPlainly } from './plain-order.ts';
import { wholeWrites } from './whole-writes.ts';

export type Host = Libp2p<{ identify: Identify }>;
type IdentifyComponents = Parameters<ReturnType<typeof identify>>[0];

/**
 * libp2p with the settings that were measured (`libp2p.md`): window 1 MiB, or pings and frames starve behind a bulk
 * stream; own limits instead of five inbound connections a second and host; addresses filtered by interface. Without
 * its connection monitor (`MeshLink` watches), without peer discovery and reconnecting of its own (`Dialer`).
 */
export function createHost(from: {
  privateKey: PrivateKey;
  listen: readonly string[];
  gate: Gate;
  gossip: Gossip;
  /** Called with the TCP port that libp2p listens on, also when no address is announced. */
  ports: { listening: number };
}): Promise<Host> {
  const { gate, listen } = from;
  orderPlainly();
  return createLibp2p({
    privateKey: from.privateKey,
    start: false,
    nodeInfo: { name: 'autogit-node', version, userAgent: `autogit-node/${version}` },
    addresses: {
      listen: [...listen],
      announceFilter: (all) => {
        const first = all[0];
        from.ports.listening = (first && hostPortOf(first.toString())?.port) ?? from.ports.listening;
        return all.filter((one) => isAnnounced(one.toString(), listen, ownInterfaces()));
      },
    },
    transports: [tcp({ dialOpts: { noDelay: true, keepAlive: true }, listenOpts: { noDelay: true, keepAlive: true } })],
    connectionEncrypters: [wholeWrites(noise({ crypto: noiseCipher }))],
    streamMuxers: [muxer()],
    connectionGater: gate.connectionGater(),
    connectionManager: {
      dialTimeout: 6000,
      addressDialTimeout: 3000,
      inboundUpgradeTimeout: 5000,
      inboundConnectionThreshold: 50,
      maxIncomingPendingConnections: 100,
      inboundStreamProtocolNegotiationTimeout: 5000,
      reconnectRetries: 0,
    },
    connectionMonitor: { enabled: false },
    services: {
      identify: (components: IdentifyComponents) =>
        identify({ runOnConnectionOpen: false, maxInboundStreams: 2, maxOutboundStreams: 2 })(
          forMembers(components, gate),
        ),
      gossip: from.gossip.service(),
    },
  });
}

/** The same components with a registrar whose handlers are for members only. */
function forMembers(components: IdentifyComponents, gate: Gate): IdentifyComponents {
  const real = components.registrar;
  const registrar = Object.create(real, {
    handle: {
      value: (protocol: string, handler: Parameters<typeof real.handle>[1], options?: object) =>
        real.handle(protocol, gate.membersOnly(protocol, handler), options),
    },
  }) as typeof real;
  return Object.create(components, { registrar: { value: registrar } }) as IdentifyComponents;
}
