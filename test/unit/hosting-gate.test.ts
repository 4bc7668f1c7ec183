import { describe, expect, it } from 'vitest';
import { doorOf, doorWord } from '../../node/hosting/gate/gate-files.ts';
import { guardRules } from '../../node/hosting/gate/gate-guard.ts';
import { type GateLease, newerLease, passage } from '../../node/hosting/gate/gate-lease.ts';
import { proxyLine, sshDisconnect } from '../../node/hosting/gate/gate-words.ts';

const lease: GateLease = {
  id: '1-1',
  bootId: 'b',
  epoch: 3,
  until: 1000,
  upstream: '172.20.0.2',
  isServing: true,
  because: 'GitLab boots',
};

describe('what may pass', () => {
  const at = (more: Partial<GateLease>, now = 999): string => {
    const found = passage({ ...lease, ...more }, now, 'b');
    return found.kind === 'open' ? `open ${found.epoch}` : found.because;
  };
  it('is open until the millisecond of its end, and says why where it is not', () => {
    expect(at({})).toBe('open 3');
    expect(at({}, 1000)).toContain('lost touch');
    expect(at({ isServing: false })).toBe('GitLab boots');
    expect(at({ upstream: null })).toBe('GitLab boots');
    expect(at({ until: 0, because: 'it has moved' })).toBe('it has moved');
    expect(at({ bootId: 'the boot before' })).toContain('not served from this machine');
    expect(passage(lease, 999, 'b')).toMatchObject({ tellsClient: false });
    expect(passage({ ...lease, tellsClient: true }, 999, 'b')).toMatchObject({ tellsClient: true });
    expect(passage(null, 0, 'b')).toMatchObject({ kind: 'page' });
  });
});

describe('which lease is in force', () => {
  it('never an earlier epoch, nor one that was closed; a boot begins anew', () => {
    const read = (more: Partial<GateLease>, had: Partial<GateLease> = {}): GateLease | null =>
      newerLease({ ...lease, ...had }, { ...lease, id: 'new', ...more });
    expect(read({})?.id).toBe('new');
    expect(read({ epoch: 2 })?.id).toBe('1-1');
    expect(read({}, { until: 0 })?.id).toBe('1-1');
    expect(read({ until: 0 }, { until: 0 })?.id).toBe('new');
    expect(read({ epoch: 4 }, { until: 0 })?.id).toBe('new');
    expect(read({ epoch: 1, bootId: 'next' }, { until: 0 })?.id).toBe('new');
    expect(newerLease(lease, null)).toBe(lease);
  });
});

describe('the words of a gate', () => {
  it('are read back as they were, and nothing else is a door', () => {
    for (const proxy of [true, false]) {
      const door = { kind: 'http' as const, port: 80, behind: 8181, proxy };
      expect(doorOf(doorWord(door))).toEqual(door);
    }
    const leads = { kind: 'redirect' as const, port: 80, behind: 443, proxy: false };
    expect(doorOf(doorWord(leads))).toEqual(leads);
    const secure = { kind: 'https' as const, port: 443, behind: 80, proxy: true, certificate: '0123456789abcdef' };
    expect(doorOf(doorWord(secure))).toEqual(secure);
    for (const word of [
      'https/443/80/proxy',
      'https/443/80/proxy/0123',
      'http/0/80/plain',
      'http/80/65536/plain',
      'ftp/21/21/plain',
      'http/80/80',
      '--help',
    ])
      expect(() => doorOf(word)).toThrow('not a door');
  });

  it('tell GitLab the client, also one of IPv4 at a door of both', () => {
    const from = (remoteAddress: string, localAddress: string): string =>
      proxyLine({ remoteAddress, remotePort: 5, localAddress, localPort: 80 });
    expect(from('::ffff:10.0.0.7', '::ffff:10.0.0.1')).toBe('PROXY TCP4 10.0.0.7 10.0.0.1 5 80\r\n');
    expect(from('fd00::7', 'fd00::1')).toBe('PROXY TCP6 fd00::7 fd00::1 5 80\r\n');
    // By a name of mDNS a browser often comes so; nginx takes no address with an interface behind it, and ends the connection.
    expect(from('fe80::7%eth0', 'fe80::1%eth0')).toBe('PROXY TCP6 fe80::7 fe80::1 5 80\r\n');
    expect(from('', '10.0.0.1')).toBe('PROXY UNKNOWN\r\n');
  });

  it('disconnect an ssh client in whole blocks', () => {
    for (let length = 0; length < 20; length++) expect(sshDisconnect('x'.repeat(length)).length % 8).toBe(0);
  });

  it('never write a rule with a name that is none', () => {
    expect(guardRules({ table: 't_x', bridge: 'autogit-gl0', uid: 69_443 })).toContain('meta skuid != 69443');
    for (const wrong of [{ bridge: 'a"b' }, { table: 'x y' }, { uid: 0 }, { bridge: 'longer-than-a-name' }])
      expect(() => guardRules({ table: 't', bridge: 'b', uid: 1, ...wrong })).toThrow('not a guard');
  });
});
