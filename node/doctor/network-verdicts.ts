import { defaultPort } from '../../protocol/names.ts';
import { type HostPort, shownAddress } from '../network/addresses.ts';
import { type Finding, finding } from './finding.ts';

/** A packet filter that a person may have set up here, the one that manages the others first. */
export type Firewall = 'ufw' | 'firewalld' | 'nftables' | 'iptables';

/** The command that lets a port in. */
export function allow(firewall: Firewall | null, port: number, protocol: 'tcp' | 'udp'): string {
  switch (firewall) {
    case 'ufw':
      return `sudo ufw allow ${port}/${protocol}`;
    case 'firewalld':
      return `sudo firewall-cmd --permanent --add-port=${port}/${protocol} && sudo firewall-cmd --reload`;
    case 'nftables':
      return `sudo nft insert rule inet filter input ${protocol} dport ${port} accept`;
    default:
      return `sudo iptables -I INPUT -p ${protocol} --dport ${port} -j ACCEPT`;
  }
}

/** One LAN interface: does what it says by multicast come back? `hasMulticast`: the interface's own flag. */
export function multicastVerdict(
  face: { name: string; address: string },
  found: { isHeard: boolean; hasMulticast: boolean; firewall: Firewall | null },
): Finding {
  const where = `${face.address} (${face.name})`;
  if (found.isHeard) return finding('discovery', 'ok', `mDNS works on ${where}`);
  if (!found.hasMulticast)
    return finding(
      'discovery',
      'warn',
      `${where} has no multicast, so machines there are not found by themselves`,
      `join with --peer ADDRESS, or: sudo ip link set ${face.name} multicast on`,
    );
  return finding(
    'discovery',
    'warn',
    `mDNS does not come back on ${where}: a firewall on this machine drops UDP 5353`,
    allow(found.firewall, 5353, 'udp'),
  );
}

/** One address of another node, by one connect: its kernel answers, refuses, or nothing comes. */
export function reachVerdict(node: string, at: HostPort, result: 'accepted' | 'refused' | 'silent'): Finding {
  const where = `${node} at ${shownAddress(at)}`;
  if (result === 'accepted') return finding('reach', 'ok', `${where} answers`);
  if (result === 'refused')
    return finding(
      'reach',
      'warn',
      `${where} refuses: the machine is up, but no agent listens there`,
      `join --peer ADDRESS:PORT if it has another port now; else, on ${node}: autogit-node status`,
    );
  return finding(
    'reach',
    'warn',
    `${where} does not answer: it is off, elsewhere now, or its firewall drops ${at.port}/tcp`,
    `doctor on ${node} says more; where ufw is its firewall: ${allow('ufw', at.port, 'tcp')}`,
  );
}

/** The port that others reach us by, while no agent runs here. */
export function portVerdict(isFree: boolean, port: number = defaultPort): Finding {
  if (isFree) return finding('port', 'ok', `${port}/tcp is free`);
  return finding(
    'port',
    'warn',
    `${port}/tcp is taken: join will use the next free one`,
    `sudo ss -ltnp 'sport = :${port}'`,
  );
}
