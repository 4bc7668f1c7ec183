import { randomBytes } from 'node:crypto';
import { decode, encode } from 'dns-packet';
import { names } from '../../protocol/names.ts';
import { readPacket, type Sighting } from './mdns-packets.ts';
import { MdnsSockets } from './mdns-sockets.ts';

const sendAtMs = [0, 50, 150, 300];

interface Echo {
  /** Interface addresses whose own packets came back: the kernel loops them through the firewall's way in. */
  heard: string[];
  /** Agents that answered on any interface. */
  others: Sighting[];
  /** Why port 5353 cannot be bound; null when it can. */
  problem: string | null;
}

/** Sends packets on each interface for `forMs` and listens which come back and which agents answer. Never throws. */
export async function echo(addresses: readonly string[], forMs: number): Promise<Echo> {
  const tokens = new Map(addresses.map((address) => [randomBytes(8).toString('hex'), address]));
  const heard = new Set<string>();
  const others = new Map<string, Sighting>();
  const hear = (packet: Buffer): void => {
    const address = tokens.get(tokenIn(packet));
    if (address !== undefined) heard.add(address);
    const read = readPacket(packet);
    if (read?.kind === 'seen' && others.size < 64) others.set(read.seen.node, read.seen);
  };
  const all = await Promise.all(
    [...tokens].map(async ([token, address]) => {
      const sockets = new MdnsSockets(hear);
      await sockets.use([address]);
      const questions = [
        { name: `${token}.${names.mdnsTag}`, type: 'PTR' as const },
        { name: names.mdnsTag, type: 'PTR' as const },
      ];
      const packet = encode({ type: 'query', id: 0, questions });
      for (const afterMs of sendAtMs) setTimeout(() => sockets.send(packet), afterMs);
      return sockets;
    }),
  );
  await new Promise((resolve) => setTimeout(resolve, Math.max(forMs, ...sendAtMs)));
  const problem = all.find((sockets) => sockets.problem !== null)?.problem ?? null;
  for (const sockets of all) sockets.close();
  return { heard: [...heard], others: [...others.values()], problem };
}

function tokenIn(packet: Buffer): string {
  try {
    const [first] = decode(packet).questions ?? [];
    return first?.name.endsWith(`.${names.mdnsTag}`) ? (first.name.split('.')[0] ?? '') : '';
  } catch {
    return '';
  }
}
