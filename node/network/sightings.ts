import { createSocket } from 'node:dgram';
import { mdns } from '@libp2p/mdns';
import type { NodeId } from '../../protocol/ids.ts';
import { names } from '../../protocol/names.ts';
import { dialableOf } from './addresses.ts';
import type { NetworkLog } from './network-log.ts';

/** ms between questions to the LAN; members are redialled without it, so it may be slow. */
const intervalMs = 10_000;
/** Questions at the start, ms: one lost packet must not cost a whole interval. The first goes out by itself at 0. */
const burstMs = [100, 500, 2000, 5000];

type MdnsComponents = Parameters<ReturnType<typeof mdns>>[0];
/** The part of multicast-dns that we use ourselves. */
interface Asker {
  mdns?: { query(packet: { questions: { name: string; type: 'PTR' }[] }): void };
}

/**
 * libp2p's mDNS as a plain service. Not as its `peerDiscovery`: that tells each node only once, keeps every address
 * that anybody on the LAN claims, and a healed partition would stay apart (`libp2p.md` §0.3). Its own `peer` event
 * comes with every answer.
 */
export class Sightings {
  #seen: (node: NodeId, addresses: string[]) => void;
  #log: NetworkLog;
  #asker: Asker | null = null;
  #timers: NodeJS.Timeout[] = [];
  /** Why mDNS cannot work here; null while nothing is known against it. */
  problem: string | null = null;

  constructor(log: NetworkLog, seen: (node: NodeId, addresses: string[]) => void) {
    this.#log = log;
    this.#seen = seen;
  }

  service(): (components: MdnsComponents) => object {
    const build = mdns({ serviceTag: names.mdnsTag, interval: intervalMs });
    return (components) => {
      const service = build(components);
      service.addEventListener('peer', (event) => {
        const { id, multiaddrs } = event.detail;
        this.#seen(id.toString(), dialableOf(multiaddrs.map(String)));
      });
      this.#asker = service as unknown as Asker;
      return service;
    };
  }

  /** After libp2p has started. */
  async start(): Promise<void> {
    this.askAgain();
    this.problem = await portProblem();
    if (this.problem) this.#log.warn({ event: 'discovery-problem' }, this.problem);
  }

  /** A burst of questions, now and over the next seconds. */
  askAgain(): void {
    this.#clear();
    for (const afterMs of burstMs) {
      const timer = setTimeout(() => {
        try {
          this.#asker?.mdns?.query({ questions: [{ name: names.mdnsTag, type: 'PTR' }] });
        } catch {
          // The socket is gone while stopping; the interval asks again otherwise.
        }
      }, afterMs);
      timer.unref();
      this.#timers.push(timer);
    }
  }

  stop(): void {
    this.#clear();
    this.#asker = null;
  }

  #clear(): void {
    for (const timer of this.#timers.splice(0)) clearTimeout(timer);
  }
}

/** UDP 5353 must be shareable: a mDNS daemon that forbids it (avahi: disallow-other-stacks) makes libp2p fail silently. */
function portProblem(): Promise<string | null> {
  return new Promise((resolve) => {
    const socket = createSocket({ type: 'udp4', reuseAddr: true });
    socket.once('error', (error) => {
      socket.close();
      resolve(
        `UDP port 5353 cannot be shared (${error.message}), so machines are not found by mDNS: ` +
          'in /etc/avahi/avahi-daemon.conf set disallow-other-stacks=no and restart avahi-daemon, or join with --peer ADDRESS',
      );
    });
    socket.bind({ port: 5353, address: '0.0.0.0', exclusive: false }, () => socket.close(() => resolve(null)));
  });
}
