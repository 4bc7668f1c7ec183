import { describe, expect, it } from 'vitest';
import { nodesOf } from '../../node/doctor/network-checks.ts';
import { allow, multicastVerdict, portVerdict, reachVerdict } from '../../node/doctor/network-verdicts.ts';
import { answer, question, readPacket } from '../../node/network/mdns-packets.ts';
import { names } from '../../protocol/names.ts';
import { foundedMesh } from '../fixtures/founded-mesh.ts';

const eth0 = { name: 'eth0', address: '10.0.0.5' };
const kang = '12D3KooWQotew7UCHiCKTFXJS66A5d1m3dkm93TXr76apT8gDpiM';

describe('what doctor says of the network', () => {
  it('tells a firewall from an interface without multicast', () => {
    const found = (isHeard: boolean, hasMulticast: boolean) =>
      multicastVerdict(eth0, { isHeard, hasMulticast, firewall: 'ufw' });
    expect(found(true, true)).toMatchObject({ state: 'ok', fix: null });
    expect(found(false, true)).toMatchObject({
      state: 'warn',
      sentence: expect.stringContaining('a firewall on this machine drops UDP 5353'),
      fix: 'sudo ufw allow 5353/udp',
    });
    expect(found(false, false)).toMatchObject({
      sentence: '10.0.0.5 (eth0) has no multicast, so machines there are not found by themselves',
      fix: 'join with --peer ADDRESS, or: sudo ip link set eth0 multicast on',
    });
  });

  it('names the command of the firewall that is there', () => {
    expect(allow('firewalld', 7117, 'tcp')).toContain('firewall-cmd --permanent --add-port=7117/tcp');
    expect(allow('nftables', 5353, 'udp')).toBe('sudo nft insert rule inet filter input udp dport 5353 accept');
    for (const unknown of ['iptables', null] as const)
      expect(allow(unknown, 5353, 'udp')).toBe('sudo iptables -I INPUT -p udp --dport 5353 -j ACCEPT');
  });

  it('knows a machine without an agent from one behind a firewall', () => {
    const at = { host: '10.0.0.1', port: 7117 };
    expect(reachVerdict('kang', at, 'accepted')).toMatchObject({
      state: 'ok',
      sentence: 'kang at 10.0.0.1:7117 answers',
    });
    expect(reachVerdict('kang', at, 'refused').sentence).toContain('the machine is up, but no agent listens there');
    expect(reachVerdict('kang', at, 'silent')).toMatchObject({
      state: 'warn',
      sentence: expect.stringContaining('its firewall drops 7117/tcp'),
      fix: expect.stringContaining('where ufw is its firewall: sudo ufw allow 7117/tcp'),
    });
    expect(portVerdict(true)).toMatchObject({ state: 'ok' });
    expect(portVerdict(false)).toMatchObject({ state: 'warn', fix: "sudo ss -ltnp 'sport = :7117'" });
  });

  it('takes the other nodes from the ledger', () => {
    const ledger = foundedMesh({
      meshId: 'mesh-1',
      era: 'era-1',
      node: kang,
      store: 'store',
      addresses: ['/ip4/10.0.0.1/tcp/7117', 'evidence://10.0.0.1:4000'],
    });
    expect(nodesOf(ledger, kang)).toEqual([]);
    expect(nodesOf(ledger, 'me')).toEqual([{ name: 'kang', at: [{ host: '10.0.0.1', port: 7117 }] }]);
    expect(nodesOf(null, null)).toEqual([]);
  });
});

describe('packets of mDNS', () => {
  const addresses = ['/ip4/10.0.0.1/tcp/7117', '/ip4/10.1.0.1/tcp/7117'];
  const seen = (mesh: string | null | undefined) =>
    readPacket(Buffer.from(answer('me', { node: kang, addresses, mesh })));

  it('carry a node, where it is and its mesh', () => {
    expect(readPacket(Buffer.from(question('me')))).toEqual({ kind: 'ask', label: 'me' });
    for (const mesh of ['mesh-1', null, undefined])
      expect(seen(mesh)).toEqual({ kind: 'seen', label: 'me', seen: { node: kang, addresses, mesh } });
  });

  it('are not cut in pieces: addresses that do not fit are left out', () => {
    const many = Array.from({ length: 60 }, (_, i) => `/ip4/10.0.0.${i + 1}/tcp/7117`);
    const packet = answer('me', { node: kang, addresses: many, mesh: 'mesh-1' });
    expect(packet.byteLength).toBeLessThanOrEqual(1400);
    const read = readPacket(Buffer.from(packet));
    expect(read?.kind === 'seen' && read.seen.addresses.length).toBeGreaterThan(5);
  });

  it('are passed over when they are rubbish, of others, or cut anywhere', () => {
    const whole = Buffer.from(answer('me', { node: kang, addresses, mesh: 'mesh-1' }));
    for (let bytes = 0; bytes < whole.byteLength; bytes++)
      expect(() => readPacket(whole.subarray(0, bytes))).not.toThrow();
    for (let at = 0; at < whole.byteLength; at++) {
      const bent = Buffer.from(whole);
      bent[at] = (bent[at] ?? 0) ^ 0xff;
      expect(() => readPacket(bent)).not.toThrow();
    }
    const other = Buffer.from(whole.toString('latin1').replaceAll(names.mdnsTag.slice(1, 8), 'printer'), 'latin1');
    expect(readPacket(other)).toBeNull();
    expect(readPacket(Buffer.from('no packet'))).toBeNull();
  });
});
