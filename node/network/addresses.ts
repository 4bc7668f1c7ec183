import { isIP, isIPv4 } from 'node:net';
import type { networkInterfaces } from 'node:os';
import { AutogitError } from '../../protocol/errors.ts';
import { limits } from '../../protocol/limits.ts';
import { defaultPort } from '../../protocol/names.ts';

/** Interfaces as `os.networkInterfaces()` gives them. They are passed in, so that tests can use made-up machines. */
export type Interfaces = ReturnType<typeof networkInterfaces>;

/**
 * Interfaces whose addresses no other machine of the LAN can use: loopback, bridges and pairs of containers and virtual
 * machines (the same 172.17.0.1 is on every Docker host; aggl- is that of our own GitLab), tunnels and VPNs. By name, not by range: a LAN may well be
 * 172.17.0.0/16.
 */
const notLan =
  /^(lo|docker|br-|aggl-|veth|virbr|vnet|vmnet|vboxnet|cni|flannel|cali|kube|podman|nerdctl|lxc|lxd|incus|dummy|ifb|tun|tap|wg|tailscale|zt|ppp|utun|nebula|netbird|wt\d|warp|CloudflareWARP|proton|nordlynx)/i;

/** True when an interface of that name leads to the LAN. */
export const isLanInterface = (name: string): boolean => !notLan.test(name);

/** IPv4 addresses by which other machines of the LAN reach this one, with their interface and subnet. */
export function lanAddresses(interfaces: Interfaces): { name: string; address: string; cidr: string }[] {
  const found: { name: string; address: string; cidr: string }[] = [];
  for (const [name, list] of Object.entries(interfaces))
    for (const one of list ?? [])
      if (one.family === 'IPv4' && !one.internal && isLanInterface(name) && one.cidr !== null)
        found.push({ name, address: one.address, cidr: one.cidr });
  return found;
}

/**
 * The addresses by which mDNS is spoken, one of each interface: those of the LAN, or those that the user named in
 * `--listen` (127.0.0.1 for a mesh on one machine).
 */
export function multicastAddresses(listen: readonly string[], interfaces: Interfaces): string[] {
  const named = listen.map((one) => hostPortOf(one)?.host ?? '').filter((host) => isIPv4(host) && host !== '0.0.0.0');
  const all = Object.entries(interfaces).flatMap(([name, list]) =>
    (list ?? []).map(({ address }) => ({ name, address })),
  );
  const wanted = named.length > 0 ? all.filter(({ address }) => named.includes(address)) : lanAddresses(interfaces);
  return [...new Map(wanted.map(({ name, address }) => [name, address])).values()];
}

export interface HostPort {
  host: string;
  port: number;
}

/** Host and TCP port of a multiaddr such as /ip4/10.0.0.5/tcp/7117[/p2p/ID]; null when it is no such address. */
export function hostPortOf(multiaddr: string): HostPort | null {
  const match = /^\/ip([46])\/([0-9a-fA-F.:]+)\/tcp\/(\d{1,5})(?:\/p2p\/[A-Za-z0-9]+)?$/.exec(multiaddr);
  if (!match) return null;
  const [, version, host, port] = match as unknown as [string, string, string, string];
  if (isIP(host) !== Number(version) || Number(port) > 65_535) return null;
  return { host, port: Number(port) };
}

export const multiaddrOf = ({ host, port }: HostPort): string => `/ip${isIPv4(host) ? 4 : 6}/${host}/tcp/${port}`;

/** `host:port` for people, brackets around IPv6. */
export const shownAddress = ({ host, port }: HostPort): string =>
  host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;

/** An evidence address as nodes announce it beside their multiaddrs. */
export const evidenceAddress = (at: HostPort): string => `evidence://${shownAddress(at)}`;

/** The evidence addresses among announced ones; whatever cannot be read is left out. */
export function evidenceOf(addresses: readonly string[]): HostPort[] {
  const found: HostPort[] = [];
  for (const address of addresses) {
    const match = /^evidence:\/\/(?:\[([0-9a-fA-F:]+)\]|([0-9.]+)):(\d{1,5})$/.exec(address);
    const host = match?.[1] ?? match?.[2];
    const port = Number(match?.[3]);
    if (host !== undefined && isIP(host) !== 0 && port > 0 && port <= 65_535) found.push({ host, port });
  }
  return found;
}

/** The dialable addresses among announced ones, in their order, without the /p2p part, at most `limits.addresses`. */
export function dialableOf(addresses: readonly string[]): string[] {
  const found = new Set<string>();
  for (const address of addresses) {
    const at = hostPortOf(address);
    if (at && at.port > 0 && at.host !== '0.0.0.0' && at.host !== '::') found.add(multiaddrOf(at));
  }
  return [...found].slice(0, limits.addresses);
}

/**
 * Of the addresses that we listen on, those that are announced to other machines: the ones of LAN interfaces, and the
 * ones that the user named in `--listen` (127.0.0.1 for a mesh on one machine, a VPN address).
 */
export function isAnnounced(multiaddr: string, listen: readonly string[], interfaces: Interfaces): boolean {
  const at = hostPortOf(multiaddr);
  if (!at) return false;
  if (listen.some((one) => hostPortOf(one)?.host === at.host)) return true;
  return lanAddresses(interfaces).some((one) => one.address === at.host);
}

const asNumber = (ip: string): number => ip.split('.').reduce((sum, part) => sum * 256 + Number(part), 0);

/** True when an IPv4 address lies in a subnet such as 192.168.1.7/24. */
export function inSubnet(ip: string, cidr: string): boolean {
  const [base, bits] = cidr.split('/') as [string, string | undefined];
  const size = Number(bits);
  if (!isIPv4(ip) || !isIPv4(base) || bits === undefined || !(size >= 0 && size <= 32)) return false;
  const span = 2 ** (32 - size);
  return Math.floor(asNumber(ip) / span) === Math.floor(asNumber(base) / span);
}

/** True when an address is in one of this machine's own LAN subnets, or is loopback where we listen on loopback. */
export function isOnOwnLan(ip: string, listen: readonly string[], interfaces: Interfaces): boolean {
  if (inSubnet(ip, '127.0.0.0/8')) return listen.some((one) => inSubnet(hostPortOf(one)?.host ?? '', '127.0.0.0/8'));
  return lanAddresses(interfaces).some((one) => inSubnet(ip, one.cidr));
}

/** Puts addresses in one of our own subnets before the others. Within both groups the given order stays. */
export function nearestFirst(multiaddrs: readonly string[], interfaces: Interfaces): string[] {
  const lan = lanAddresses(interfaces);
  const isNear = (address: string): boolean => {
    const host = hostPortOf(address)?.host ?? '';
    return lan.some((one) => inSubnet(host, one.cidr));
  };
  return [...multiaddrs.filter(isNear), ...multiaddrs.filter((address) => !isNear(address))];
}

/**
 * Reads what a user gives to `--peer` or `--listen`: a multiaddr, `host:port`, `host`, or `:port`. A host may be a
 * DNS name only in `--peer`, and is resolved at each dial. Throws `bad-flag`.
 */
export function readAddress(text: string, flag: '--peer' | '--listen'): HostPort {
  const wrong = (why: string): AutogitError =>
    new AutogitError('bad-flag', `${flag} ${text}: ${why}`, {
      hint: `write it as 192.168.1.5, 192.168.1.5:${defaultPort} or /ip4/192.168.1.5/tcp/${defaultPort}`,
    });
  if (text.startsWith('/')) {
    const dns = /^\/dns[46]?\/([A-Za-z0-9.-]+)\/tcp\/(\d{1,5})(?:\/p2p\/\w+)?$/.exec(text);
    const at = dns ? { host: dns[1] as string, port: Number(dns[2]) } : hostPortOf(text);
    if (!at) throw wrong('only addresses of the form /ip4/…/tcp/… are understood');
    return checked(at, flag, wrong);
  }
  const match = /^(?:\[([0-9a-fA-F:]+)\]|([A-Za-z0-9._-]*))(?::(\d{1,5}))?$/.exec(text);
  // Node.js takes it for an address; libp2p drops the interface (findings/libp2p-tcp-drops-the-zone-of-an-ipv6-address.sh).
  if (text.includes('%'))
    throw wrong('an address of one interface only (fe80::…%eth0) cannot be used: name another one');
  if (isIP(text) === 6) return { host: text, port: defaultPort };
  if (!match || text === '') throw wrong('is no address');
  const host = match[1] ?? match[2] ?? '';
  return checked(
    { host: host === '' ? '0.0.0.0' : host, port: match[3] === undefined ? defaultPort : Number(match[3]) },
    flag,
    wrong,
  );
}

function checked(at: HostPort, flag: '--peer' | '--listen', wrong: (why: string) => AutogitError): HostPort {
  if (at.port > 65_535 || (flag === '--peer' && at.port === 0)) throw wrong(`${at.port} is no port`);
  const numeric = isIP(at.host) !== 0;
  if (flag === '--listen' && !numeric) throw wrong('listening needs an IP address of this machine');
  if (flag === '--peer' && /^(0\.0\.0\.0|::)$/.test(at.host)) throw wrong('is no address of a machine');
  if (!numeric && !/^[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?$/.test(at.host)) throw wrong('is no address');
  return at;
}

/** The host of `host:port`; undefined for null. */
export const hostIn = (address: string | null): string | undefined => /^\[?([^\]]+)\]?:\d+$/.exec(address ?? '')?.[1];
