import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it, test } from 'vitest';
import { addressIn } from '../../node/cli/certificate-command.ts';
import { resolveSettings } from '../../node/settings/settings.ts';

const folder = mkdtempSync(join(tmpdir(), 't-certificate-command-'));
const [cert, key] = [join(folder, 'a.crt'), join(folder, 'a.key')];
writeFileSync(cert, 'CERTIFICATE');
writeFileSync(key, 'KEY');
afterAll(() => rmSync(folder, { recursive: true }));

const addressOf = (given: Record<string, string>) => {
  const sources = { command: 'gitlab deploy', env: {}, file: new Map(), fileName: 'autogit.yml' };
  const named = Object.fromEntries(Object.entries(given).map(([name, value]) => [`gitlab.${name}`, value]));
  return addressIn(resolveSettings({ ...sources, given: named }));
};

it('an address of https has a certificate, and a port of its own', () => {
  const tls = { certificate: 'CERTIFICATE', key: 'KEY' };
  const files = { tlsCert: cert, tlsKey: key };
  expect(addressOf({ hostname: 'https://git.lan', ...files })).toEqual({ hostname: 'git.lan', port: 8443, tls });
  expect(addressOf({ hostname: 'HTTPS://git.lan', port: '443', ...files })).toEqual({
    ...{ hostname: 'git.lan', port: 443, tls },
  });
  expect(addressOf({ hostname: 'https://git.lan', httpPort: '80', ...files })).toMatchObject({
    port: 8443,
    httpPort: 80,
  });
  expect(addressOf({ hostname: 'git.lan' })).toEqual({ hostname: 'git.lan', port: 8080 });
  expect(addressOf({})).toEqual({ hostname: null, port: 8080 });
  expect(() => addressOf({ port: '0' })).toThrow("--port 0 is none, and GitLab's pages need one");
  for (const named of ['fd00::7', '[FD00:0::7]'])
    expect(addressOf({ hostname: named })).toEqual({ hostname: null, ipv6: 'fd00::7', port: 8080 });
  expect(addressOf({ hostname: 'https://[fd00::7]', ...files })).toEqual({
    ...{ hostname: null, ipv6: 'fd00::7', port: 8443, tls },
  });
});

test.each([
  ['no certificate', { hostname: 'https://git.lan' }, /needs a certificate of that name/],
  ['no key', { hostname: 'https://git.lan', tlsCert: cert }, /come together/],
  ['no file', { hostname: 'https://git.lan', tlsCert: `${cert}x`, tlsKey: key }, /--tls-cert: ENOENT/],
  ['a folder', { hostname: 'https://git.lan', tlsCert: cert, tlsKey: folder }, /--tls-key: EISDIR/],
  ['a device', { hostname: 'https://git.lan', tlsCert: '/dev/zero', tlsKey: key }, /is a device/],
  ['http', { hostname: 'git.lan', tlsCert: cert, tlsKey: key }, /for an address of https/],
  ['a key for http', { hostname: 'git.lan', tlsKey: key }, /for an address of https/],
  ['a CA for http', { tlsCa: cert }, /for an address of https/],
  ['http led to http', { hostname: 'git.lan', httpPort: '80' }, /nothing leads from http to http/],
  ['no name', { tlsCert: cert, tlsKey: key }, /for an address of https/],
])('%s is refused in words', (_, given, words) => {
  expect(() => addressOf(given)).toThrow(words);
});
