import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildSync } from 'esbuild';
import { expect, it, test } from 'vitest';
import { HostingRequests } from '../../node/agent/hosting-requests.ts';
import { unboxedCertificate } from '../../node/hosting/certificate-box.ts';
import { checkCertificate, endsSoon, knownCertificate } from '../../node/hosting/gitlab-certificate.ts';
import { newMeshKey, seal, unseal } from '../../node/secrets/seal.ts';
import type { Ask } from '../../protocol/asks.ts';
import { Change } from '../../protocol/changes.ts';
import { abilities } from '../../protocol/ledger.ts';
import { testCertificate, testChain } from '../hosting/test-certificate.ts';
import { ledgerOf } from '../unit/raft-one.ts';

const good = testCertificate(['git.test', '10.0.0.7']);
const other = testCertificate(['git.test']);
const now = Date.now();
const day = 86_400_000;
const meshKey = newMeshKey();

test.each([
  ['no PEM', { ...good, certificate: 'x' }, 'git.test', now, /has none in it/],
  [
    'no certificate',
    { ...good, certificate: `-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----` },
    'git.test',
    now,
    /cannot be read/,
  ],
  ['too much', { ...good, certificate: good.certificate.repeat(200) }, 'git.test', now, /more than 32 KiB/],
  ['no key', { ...good, key: good.certificate }, 'git.test', now, /no private key/],
  [
    'a key with a password',
    { ...good, key: '-----BEGIN ENCRYPTED PRIVATE KEY-----' },
    'git.test',
    now,
    /has a password/,
  ],
  ["another's key", { ...good, key: other.key }, 'git.test', now, /does not belong/],
  ['another name', good, 'git.example', now, /not for git\.example: it names DNS:git\.test, IP Address:10\.0\.0\.7/],
  ['another address', good, '10.0.0.8', now, /not for 10\.0\.0\.8/],
  ['ended', good, 'git.test', now + 91 * day, /ended at/],
  ['not yet', good, 'git.test', now - day, /counts from/],
  ['nobody believes', good, 'git.test', now, /does not believe the certificate \(.*self-signed/],
])('%s is refused with what to do', async (_, given, hostname, at, words) => {
  const failed = await checkCertificate(given, hostname, at).catch((error) => error);
  expect([failed.code, failed.message, failed.hint.length > 10]).toEqual([
    'bad-flag',
    expect.stringMatching(words),
    true,
  ]);
});

/** In a process that believes it: whom Node believes is settled as it starts. What that said, line by line. */
function whereItIsBelieved(file: string, names: string, code: string): string[] {
  const folder = mkdtempSync(join(tmpdir(), 't-certificate-'));
  const source = fileURLToPath(new URL(`../../node/${file}`, import.meta.url));
  const contents = `import { ${names} } from '${source}';
const given = JSON.parse(process.env.GIVEN);
${code}`;
  const outfile = join(folder, 'check.cjs');
  buildSync({
    ...{ stdin: { contents, resolveDir: folder }, outfile, bundle: true, logLevel: 'error' },
    ...{ platform: 'node', format: 'cjs' },
  });
  writeFileSync(join(folder, 'ca.pem'), good.certificate);
  const env = {
    ...process.env,
    NODE_EXTRA_CA_CERTS: join(folder, 'ca.pem'),
    GIVEN: JSON.stringify(good),
    HOME: folder,
  };
  const said = execFileSync(process.execPath, [outfile], { env, encoding: 'utf8' });
  rmSync(folder, { recursive: true });
  return said.trim().split('\n');
}

it('one that this agent believes is taken, by name and by address', () => {
  const code = `(async () => {
for (const name of ['git.test', '10.0.0.7']) console.log((await checkCertificate(given, name, Date.now())).issuer);
})();`;
  expect(whereItIsBelieved('hosting/gitlab-certificate.ts', 'checkCertificate', code)).toEqual([
    'git.test',
    'git.test',
  ]);
});

it('of a CA that is named for it, it is taken by whoever believes nobody else; that CA is nothing but certificates', async () => {
  const { certificate } = good;
  const known = await checkCertificate({ ...good, ca: certificate }, 'git.test', now);
  expect(known.issuer).toBe('git.test');
  const refused = async (ca: string): Promise<string> =>
    checkCertificate({ ...good, ca }, 'git.test', now).then(String, ({ message }) => message);
  expect(await refused(other.certificate)).toMatch(/is not one of that CA \(.*self-signed/);
  expect(await refused(`${certificate}${good.key}`)).toContain('has a private key in it');
  expect(await refused('x')).toContain('has no certificate in it');
  expect(await refused('-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----')).toContain('cannot be read');
  expect(await refused(certificate.repeat(30))).toContain('more than 16 KiB');
});

it('a chain without what is between it and its CA is refused, whole it is taken; a key that is too short is no crash', async () => {
  const { root, between, end } = testChain('git.test');
  const [given, made] = [{ key: end.key, ca: root }, Date.now()];
  await checkCertificate({ ...given, certificate: `${end.certificate}${between}` }, 'git.test', made);
  const short = checkCertificate({ ...given, certificate: end.certificate }, 'git.test', made);
  await expect(short).rejects.toThrow(/is not one of that CA \(unable to verify the first certificate\)/);
  const weak = testCertificate(['git.test'], 90, ['rsa:512']);
  await expect(checkCertificate({ ...weak, ca: weak.certificate }, 'git.test', Date.now())).rejects.toThrow(
    /key too small/,
  );
});

it('a deployment with it is one for https: its key is in the ledger, for the voters and the host, and goes nowhere else', async () => {
  const ledger = ledgerOf({ A: 2, B: 2 });
  for (const node of Object.values(ledger.nodes)) node.can = [...abilities];
  const place = { kind: 'folder' as const, path: '/srv/gitlab', data: null };
  const asks: Ask[] = [];
  const changes: Change[] = [];
  const lines = new HostingRequests({
    ...{ self: 'A', wallMs: () => now, ledger: () => ledger, addressOf: () => null, unseal: () => null },
    others: () => [],
    fenced: () => [],
    ask: async (_, ask) => {
      asks.push(ask);
      return { kind: 'deploy-checked', checks: [], place, address: '10.0.0.7' };
    },
    change: async (change) => {
      changes.push(Change.parse(change));
      return { state: 'done', because: 'done' };
    },
    nodeNamed: (name) => name.toUpperCase(),
    sealFor: (node, text) => `for ${node}: ${seal(meshKey, text)}`,
  });
  const asked = { image: 'gitlab/gitlab-ce:19.4.1-ce.0', preset: 'homelab' as const, port: 8443, sshPort: 2222 };
  const tls = { ...good, ca: good.certificate };
  const wish = { ...asked, data: null, on: 'b', hostname: 'git.test', tls, copies: [] };
  const plan = await lines.gitlabPlan(wish);
  const said = plan.lines.find(({ what }) => what === 'certificate')?.sentence;
  expect([plan.url, said]).toEqual(['https://git.test:8443', 'for git.test, by git.test, good for 89 days more']);
  expect((await lines.gitlabDeploy(wish)).state).toBe('done');
  const https = (changes[0] as Change & { kind: 'deploy-gitlab' }).hosted.https!;
  expect([https.ca, https.key]).toEqual([good.certificate, expect.stringMatching(/^for B: /)]);
  const pem = unboxedCertificate(https, unseal(meshKey, https.key.slice('for B: '.length)));
  expect(pem).toBe(good.key + good.certificate);
  expect(() => unboxedCertificate({ ...https, mark: '0123456789abcdef' }, unseal(meshKey, https.key.slice(7)))).toThrow(
    'not the one that was brought',
  );
  for (const part of good.key.split('\n').filter((line) => line.length > 20))
    expect(JSON.stringify([asks, changes])).not.toContain(part);
});

it('that it ends is said from three weeks before on', () => {
  const known = knownCertificate(`${good.key}${good.certificate}`);
  expect([endsSoon(known, now), endsSoon(known, now + 60 * day)]).toEqual([null, null]);
  expect(endsSoon(known, now + 70 * day)).toMatch(/ends in (19|20) days/);
  expect(endsSoon(known, now + 91 * day)).toContain('has ended');
  expect(endsSoon(null, now)).toContain('cannot be read');
});
