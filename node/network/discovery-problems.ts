import { hostPortOf, type Interfaces, isLanInterface, multicastAddresses } from './addresses.ts';

/**
 * Why machines may not find each other here, each as a sentence that ends in what to type. Routes are not looked at: mDNS
 * names the interface that it leaves by, and needs none.
 */
export function discoveryProblems(at: { interfaces: Interfaces; listen: readonly string[] }): string[] {
  const { interfaces, listen } = at;
  const named = listen.map((one) => hostPortOf(one)?.host ?? '').filter((host) => !/^(0\.0\.0\.0|::|)$/.test(host));
  const own = Object.values(interfaces).flatMap((list) => (list ?? []).map(({ address }) => address));
  const foreign = named.filter((host) => !own.includes(host));
  if (foreign.length > 0)
    return [
      `--listen names ${foreign.join(', ')}, which this machine has not: choose one of those that are shown by: ip -br addr`,
    ];
  if (multicastAddresses(listen, interfaces).length > 0 || named.length > 0) return [];
  const others = Object.entries(interfaces)
    .filter(([name, list]) => !isLanInterface(name) && list?.some((one) => one.family === 'IPv4' && !one.internal))
    .map(([name]) => name);
  const only = others.length > 0 ? `only ${others.join(', ')}, which are containers or VPNs` : 'only loopback';
  return [
    `no LAN interface has an IPv4 address here, ${only}: plug in the cable or join the Wi-Fi; ` +
      'to use a VPN all the same: --listen /ip4/ITS-ADDRESS/tcp/7117 here and --peer on the others',
  ];
}
