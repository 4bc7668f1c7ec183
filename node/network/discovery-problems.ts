import { readFileSync } from 'node:fs';
import { type Interfaces, lanAddresses } from './addresses.ts';

/**
 * Why machines may not find each other here, each as a sentence with what to type. `routes` is the text of
 * /proc/net/route. Multicast leaves by the route to 224.0.0.0/4 or the default route only; without one, mDNS fails
 * without a word (`libp2p.md` §2).
 */
export function discoveryProblems(at: { interfaces: Interfaces; routes: string; mdns: boolean }): string[] {
  const found: string[] = [];
  const lan = lanAddresses(at.interfaces);
  const names = [...new Set(lan.map((one) => one.name))];
  if (names.length === 0) {
    found.push(
      'no LAN interface has an IPv4 address here (loopback, containers and VPNs do not count): ' +
        'plug in the cable or join the Wi-Fi (ip -4 addr), or name an address with --listen',
    );
    return found;
  }
  if (!at.mdns) return found;
  const by = multicastInterfaces(at.routes);
  if (by.length === 0)
    found.push(
      `there is no default route and none for multicast, so mDNS cannot send: sudo ip route add 224.0.0.0/4 dev ${names[0]}`,
    );
  else if (names.length > 1)
    found.push(
      `there are several LAN interfaces (${names.join(', ')}), and mDNS questions leave by ${by[0]} only: ` +
        'machines on the others are found when they ask, or join with --peer ADDRESS',
    );
  else if (!names.includes(by[0] as string))
    found.push(
      `mDNS questions leave by ${by[0]}, which is no LAN interface: sudo ip route add 224.0.0.0/4 dev ${names[0]}`,
    );
  return found;
}

/** Interfaces by which 224.0.0.251 would leave, the most specific route first, then the lowest metric. */
export function multicastInterfaces(routes: string): string[] {
  const group = 0xe0_00_00_fb;
  return routes
    .split('\n')
    .slice(1)
    .map((line) => line.split('\t'))
    .filter((columns) => columns.length >= 8)
    .map((columns) => ({
      name: (columns[0] ?? '').trim(),
      to: swapped(columns[1] ?? ''),
      isUp: (Number.parseInt(columns[3] ?? '0', 16) & 1) === 1,
      metric: Number(columns[6]),
      mask: swapped(columns[7] ?? ''),
    }))
    .filter((route) => route.isUp && (group & route.mask) >>> 0 === route.to)
    .sort((a, b) => b.mask - a.mask || a.metric - b.metric)
    .map((route) => route.name);
}

/** The kernel prints addresses as hex in host order (little endian on everything that we run on). */
const swapped = (hex: string): number => {
  const value = Number.parseInt(hex, 16);
  return (((value & 0xff) << 24) | ((value & 0xff00) << 8) | ((value >>> 8) & 0xff00) | ((value >>> 24) & 0xff)) >>> 0;
};

export function readRoutes(): string {
  try {
    return readFileSync('/proc/net/route', 'utf8');
  } catch {
    return '';
  }
}
