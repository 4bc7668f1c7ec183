import { describe, expect, it } from 'vitest';
import { AddressBook } from '../../node/network/address-book.ts';
import {
  dialableOf,
  evidenceAddress,
  evidenceOf,
  type Interfaces,
  inSubnet,
  isAnnounced,
  isLanInterface,
  isOnOwnLan,
  multicastAddresses,
  readAddress,
} from '../../node/network/addresses.ts';
import { discoveryProblems } from '../../node/network/discovery-problems.ts';
import { OwnLan } from '../../node/network/own-lan.ts';
import { resultOf } from '../../node/network/probe-listener.ts';
import { AutogitError } from '../../protocol/errors.ts';

const face = (address: string, bits: number, internal = false) => ({
  address,
  netmask: '',
  family: 'IPv4' as const,
  mac: '00:00:00:00:00:01',
  internal,
  cidr: `${address}/${bits}`,
});
const machine: Interfaces = {
  lo: [face('127.0.0.1', 8, true)],
  enp5s0: [face('192.168.77.5', 24)],
  docker0: [face('172.17.0.1', 16)],
  'br-12ab': [face('172.18.0.1', 16)],
  tailscale0: [face('100.64.0.9', 32)],
};
const everywhere = ['/ip4/0.0.0.0/tcp/7117'];

describe('addresses', () => {
  it('knows interfaces of the LAN from those of containers and VPNs, by name', () => {
    for (const name of ['eth0', 'enp5s0', 'wlan0', 'wlp3s0', 'bond0', 'br0', 'end0', 'vmbr0', 'ag3'])
      expect(isLanInterface(name), name).toBe(true);
    for (const name of [
      'lo',
      'docker0',
      'aggl-0093704228',
      'br-0a1b',
      'veth12',
      'virbr0',
      'cni0',
      'wg0',
      'tailscale0',
      'tun0',
      'zt7n',
    ])
      expect(isLanInterface(name), name).toBe(false);
  });

  it('announces LAN addresses only, by interface and not by range', () => {
    expect(isAnnounced('/ip4/192.168.77.5/tcp/7117', everywhere, machine)).toBe(true);
    for (const hidden of ['127.0.0.1', '172.17.0.1', '172.18.0.1', '100.64.0.9'])
      expect(isAnnounced(`/ip4/${hidden}/tcp/7117`, everywhere, machine), hidden).toBe(false);
    const lan = { eth0: [face('172.17.0.1', 16)] };
    expect(isAnnounced('/ip4/172.17.0.1/tcp/7117', everywhere, lan)).toBe(true);
  });

  it('announces whatever address the user named himself', () => {
    expect(isAnnounced('/ip4/127.0.0.1/tcp/41001', ['/ip4/127.0.0.1/tcp/0'], machine)).toBe(true);
    expect(isAnnounced('/ip4/100.64.0.9/tcp/7117', ['/ip4/100.64.0.9/tcp/7117'], machine)).toBe(true);
  });

  it('reads what people type', () => {
    expect(readAddress('192.168.1.5', '--peer')).toEqual({ host: '192.168.1.5', port: 7117 });
    expect(readAddress('kang.local:7200', '--peer')).toEqual({ host: 'kang.local', port: 7200 });
    expect(readAddress('/ip4/10.0.0.2/tcp/99/p2p/12D3KooWabc', '--peer')).toEqual({ host: '10.0.0.2', port: 99 });
    expect(readAddress('/dns4/kang/tcp/99', '--peer')).toEqual({ host: 'kang', port: 99 });
    expect(readAddress('[fd00::1]:80', '--peer')).toEqual({ host: 'fd00::1', port: 80 });
    expect(readAddress(':7200', '--listen')).toEqual({ host: '0.0.0.0', port: 7200 });
    expect(readAddress('/ip4/127.0.0.1/tcp/0', '--listen')).toEqual({ host: '127.0.0.1', port: 0 });
  });

  it('refuses what it cannot use, in words', () => {
    const wrong: [string, '--peer' | '--listen'][] = [
      ['', '--peer'],
      ['0.0.0.0', '--peer'],
      ['10.0.0.1:0', '--peer'],
      ['10.0.0.1:70000', '--peer'],
      ['/ip4/10.0.0.1/udp/5', '--peer'],
      ['/ip4/10.0.0.999/tcp/5', '--peer'],
      ['a b', '--peer'],
      ['-x', '--peer'],
      ['kang.local', '--listen'],
      ['fe80::1%eth0', '--peer'],
      ['[fe80::1%eth0]:7117', '--peer'],
    ];
    for (const [text, flag] of wrong) {
      const read = () => readAddress(text, flag);
      expect(read, text).toThrow(AutogitError);
      expect(read, text).toThrow(`${flag} ${text}`);
    }
  });

  it('takes only dialable addresses and evidence out of what nodes claim', () => {
    const claimed = [
      '/ip4/10.0.0.1/tcp/5/p2p/12D3Koo',
      '/ip4/10.0.0.1/tcp/5',
      '/ip4/0.0.0.0/tcp/5',
      '/ip4/10.0.0.1/tcp/0',
      '/dns4/evil/tcp/5',
      'evidence://10.0.0.1:99',
      'evidence://[fd00::1]:98',
      'evidence://evil:98',
      'evidence://10.0.0.1:99999',
      'rubbish',
    ];
    expect(dialableOf(claimed)).toEqual(['/ip4/10.0.0.1/tcp/5']);
    expect(evidenceOf(claimed)).toEqual([
      { host: '10.0.0.1', port: 99 },
      { host: 'fd00::1', port: 98 },
    ]);
    expect(evidenceOf([evidenceAddress({ host: 'fd00::1', port: 98 })])).toEqual([{ host: 'fd00::1', port: 98 }]);
    expect(dialableOf(Array.from({ length: 99 }, (_, i) => `/ip4/10.0.0.${i}/tcp/5`))).toHaveLength(16);
  });

  it('knows its own subnets', () => {
    expect(inSubnet('192.168.77.200', '192.168.77.5/24')).toBe(true);
    expect(inSubnet('192.168.78.1', '192.168.77.5/24')).toBe(false);
    expect(inSubnet('10.9.9.9', '10.0.0.1/8')).toBe(true);
    expect(inSubnet('255.255.255.255', '192.168.1.1/0')).toBe(true);
    expect(inSubnet('fd00::1', '192.168.1.1/0')).toBe(false);
    expect(isOnOwnLan('192.168.77.9', everywhere, machine)).toBe(true);
    expect(isOnOwnLan('172.17.0.9', everywhere, machine)).toBe(false);
    expect(isOnOwnLan('127.0.0.1', everywhere, machine)).toBe(false);
    expect(isOnOwnLan('127.0.0.1', ['/ip4/127.0.0.1/tcp/0'], machine)).toBe(true);
  });
});

describe('the address book', () => {
  it('dials what the node said last before what is on record, and what worked first', () => {
    const book = new AddressBook();
    book.recorded('a', ['/ip4/10.0.0.1/tcp/1', 'evidence://10.0.0.1:2']);
    expect(book.toDial('a', {})).toEqual(['/ip4/10.0.0.1/tcp/1']);
    book.worked('a', '/ip4/10.0.0.1/tcp/1/p2p/12D3Koo');
    book.said('a', ['/ip4/10.0.0.1/tcp/7', 'evidence://10.0.0.1:8']);
    expect(book.toDial('a', {})).toEqual(['/ip4/10.0.0.1/tcp/7', '/ip4/10.0.0.1/tcp/1']);
    expect(book.evidence('a')).toEqual({ host: '10.0.0.1', port: 8 });
    expect(book.evidence('nobody')).toBeNull();
  });

  it('keeps few strangers, whatever the LAN claims', () => {
    const book = new AddressBook();
    book.recorded('member', ['/ip4/10.0.0.1/tcp/1']);
    for (let i = 0; i < 500; i++)
      book.sighted(`stranger${i}`, [`/ip4/10.0.1.1/tcp/${i + 1}`], (node) => node === 'member');
    expect(book.toDial('stranger0', {})).toEqual([]);
    expect(book.toDial('stranger499', {})).toHaveLength(1);
    expect(book.toDial('member', {})).toHaveLength(1);
  });
});

describe('discovery problems', () => {
  it('says what to type', () => {
    const problems = (interfaces: Interfaces, listen: string[] = []) => discoveryProblems({ interfaces, listen });
    expect(problems(machine)).toEqual([]);
    expect(problems(machine, ['/ip4/0.0.0.0/tcp/7117'])).toEqual([]);
    expect(problems({ lo: machine.lo })[0]).toContain('only loopback: plug in the cable');
    expect(problems({ lo: machine.lo }, ['/ip4/127.0.0.1/tcp/0'])).toEqual([]);
    expect(problems({ lo: machine.lo, wg0: [face('10.9.0.1', 24)], docker0: [face('172.17.0.1', 16)] })[0]).toContain(
      'only wg0, docker0, which are containers or VPNs',
    );
    expect(problems({ lo: machine.lo, wg0: [face('10.9.0.1', 24)] }, ['/ip4/10.9.0.1/tcp/7117'])).toEqual([]);
    expect(problems(machine, ['/ip4/10.77.7.7/tcp/7117'])[0]).toContain('10.77.7.7, which this machine has not');
  });

  it('speaks mDNS once on every LAN interface, or where the user said', () => {
    const two = { ...machine, wlan0: [face('10.1.1.1', 24), face('10.1.1.2', 24)], wg0: [face('10.9.0.1', 24)] };
    const lan = multicastAddresses([], two);
    expect(lan).toHaveLength(multicastAddresses([], machine).length + 1);
    expect(lan.filter((one) => one.startsWith('10.1.1.'))).toHaveLength(1);
    expect(lan).not.toContain('10.9.0.1');
    expect(multicastAddresses(['/ip4/10.9.0.1/tcp/1'], two)).toEqual(['10.9.0.1']);
    expect(multicastAddresses(['/ip4/127.0.0.1/tcp/1'], two)).toEqual(['127.0.0.1']);
  });
});

describe('evidence', () => {
  it('takes only an answer of the other kernel for proof', () => {
    expect(resultOf('ECONNREFUSED')).toBe('refused');
    for (const code of ['EHOSTUNREACH', 'ENETUNREACH', 'ETIMEDOUT']) expect(resultOf(code)).toBe('silent');
    for (const code of ['EMFILE', 'ECONNRESET', 'EADDRNOTAVAIL', undefined]) expect(resultOf(code)).toBe('accepted');
  });
});

describe('where this machine is', () => {
  const at = (...addresses: string[]) => addresses.map((address) => ({ name: 'eth0', address, cidr: `${address}/24` }));
  const moves = (...all: string[][]): string[][] => {
    const own = new OwnLan(at(...(all[0] ?? [])));
    return all.slice(1).map((now) => own.moved(at(...now)));
  };
  it('another address in its place: connections by the old one are dead', () =>
    expect(moves(['10.0.0.5'], ['10.0.0.9'], ['10.0.0.9'])).toEqual([['10.0.0.5/24'], []]));
  it('gone for a moment: they may outlive it', () => expect(moves(['10.0.0.5'], [], ['10.0.0.5'])).toEqual([[], []]));
  it('gone, and another one later', () => expect(moves(['10.0.0.5'], [], ['10.0.0.9'])).toEqual([[], ['10.0.0.5/24']]));
  it('one more, or one of two gone, says nothing', () =>
    expect(moves(['10.0.0.5'], ['10.0.0.5', '10.0.1.5'], ['10.0.1.5'], ['10.0.1.5', '10.0.0.5'])).toEqual([
      [],
      [],
      [],
    ]));
});
