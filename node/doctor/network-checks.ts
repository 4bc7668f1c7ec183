import { lookup } from 'node:dns/promises';
import { existsSync, readFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { networkInterfaces } from 'node:os';
import type { Ledger } from '../../protocol/ledger.ts';
import { defaultPort } from '../../protocol/names.ts';
import { dialableOf, type HostPort, hostPortOf, type Interfaces, multicastAddresses } from '../network/addresses.ts';
import { discoveryProblems } from '../network/discovery-problems.ts';
import { isFree } from '../network/free-port.ts';
import { echo } from '../network/mdns-echo.ts';
import { probeAddress } from '../network/probe-listener.ts';
import { type Finding, finding } from './finding.ts';
import { type Firewall, multicastVerdict, portVerdict, reachVerdict } from './network-verdicts.ts';

const echoMs = 500;
const reachMs = 1500;
/** Addresses of one node that are tried; more would only repeat what the first say. */
const triedEach = 3;

export interface KnownNode {
  name: string;
  at: HostPort[];
}

export interface Wanted {
  /** An agent runs here: its ports are its own. */
  isRunning: boolean;
  mdns: boolean;
  /** Multiaddrs that `--listen` named. */
  listen: readonly string[];
  /** Other machines that should be reachable: from the ledger, or named by `--peer`. */
  nodes: readonly KnownNode[];
}

/** The ways in which machines find each other (DESIGN §4), each tried. */
export async function checkNetwork(wanted: Wanted): Promise<Finding[]> {
  const interfaces = networkInterfaces();
  const found = discoveryProblems({ interfaces, listen: wanted.listen }).map((problem) => {
    const at = problem.indexOf(': ');
    return finding('discovery', 'warn', problem.slice(0, at), problem.slice(at + 2));
  });
  found.push(...(await checkMulticast(wanted, interfaces)), ...(await checkReach(wanted)), ...wsl());
  if (!wanted.isRunning) found.push(portVerdict(await isFree('0.0.0.0', defaultPort)));
  return found;
}

async function checkMulticast({ mdns, listen }: Wanted, interfaces: Interfaces): Promise<Finding[]> {
  const addresses = multicastAddresses(listen, interfaces);
  if (!mdns)
    return [
      finding(
        'discovery',
        'warn',
        'mDNS is switched off: machines are found by known addresses and --peer only',
        'on is the default; see where mdns was switched off: autogit-node config',
      ),
    ];
  if (addresses.length === 0) return [];
  const { heard, others, problem } = await echo(addresses, echoMs);
  if (problem !== null) {
    const at = problem.indexOf(': ');
    return [finding('discovery', 'warn', problem.slice(0, at), problem.slice(at + 2))];
  }
  const firewall = firewallHere();
  const found = addresses.map((address) => {
    const name = Object.keys(interfaces).find((one) => interfaces[one]?.some((face) => face.address === address)) ?? '';
    return multicastVerdict(
      { name, address },
      { isHeard: heard.includes(address), hasMulticast: hasMulticast(name), firewall },
    );
  });
  const meshes = new Set(others.map(({ mesh }) => mesh).filter((mesh) => typeof mesh === 'string')).size;
  const [is, are] = [others.length === 1 ? 'agent answers' : 'agents answer', meshes === 1 ? 'mesh' : 'meshes'];
  if (heard.length > 0)
    found.push(finding('discovery', 'ok', `${others.length} ${is} by mDNS, this machine's included; ${meshes} ${are}`));
  return found;
}

async function checkReach({ nodes }: Wanted): Promise<Finding[]> {
  const checks = nodes.map(async ({ name, at }) => {
    const [first] = at;
    if (first && isIP(first.host) === 0 && (await lookup(first.host).catch(() => null)) === null)
      return finding(
        'reach',
        'warn',
        `${first.host} is no name that can be looked up here`,
        `getent hosts ${first.host}`,
      );
    const tried = await Promise.all(
      at.slice(0, triedEach).map(async (one) => ({ one, ...(await probeAddress(one, reachMs)) })),
    );
    const best =
      tried.find(({ result }) => result === 'accepted') ?? tried.find(({ result }) => result === 'refused') ?? tried[0];
    return best
      ? reachVerdict(name, best.one, best.result)
      : finding('reach', 'warn', `no address of ${name} is known`);
  });
  return Promise.all(checks);
}

/** Where the other nodes of a ledger are. */
export function nodesOf(ledger: Ledger | null, self: string | null): KnownNode[] {
  return Object.entries(ledger?.nodes ?? {})
    .filter(([node]) => node !== self)
    .map(([, { name, addresses }]) => ({
      name,
      at: dialableOf(addresses)
        .map(hostPortOf)
        .filter((at) => at !== null),
    }));
}

/** Who filters packets here, as far as the installed tools tell. */
function firewallHere(): Firewall | null {
  const has = (tool: string): boolean =>
    ['/usr/sbin', '/sbin', '/usr/bin'].some((path) => existsSync(`${path}/${tool}`));
  if (has('ufw')) return 'ufw';
  if (has('firewall-cmd')) return 'firewalld';
  if (has('iptables')) return 'iptables';
  return has('nft') ? 'nftables' : null;
}

function wsl(): Finding[] {
  const addresses = multicastAddresses([], networkInterfaces());
  if (!/microsoft/i.test(readText('/proc/sys/kernel/osrelease'))) return [];
  if (!addresses.every((address) => address.startsWith('172.'))) return [];
  const sentence = 'this is WSL2 behind NAT: other machines cannot reach it';
  const fix = 'networkingMode=mirrored under [wsl2] in %USERPROFILE%\\.wslconfig; or join with --peer ADDRESS';
  return [finding('discovery', 'warn', sentence, fix)];
}

function readText(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return '';
  }
}

const multicastFlag = 0x1000;
function hasMulticast(name: string): boolean {
  const flags = Number(readText(`/sys/class/net/${name}/flags`).trim() || multicastFlag);
  return (flags & multicastFlag) !== 0;
}
