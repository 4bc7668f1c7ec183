import { type ChildProcess, execFile, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { systemClock } from '../../node/clock.ts';
import { boxedCertificate } from '../../node/hosting/certificate-box.ts';
import { certificateMark } from '../../node/hosting/gate/gate-certificate.ts';
import { doorWord, gateNow, makeGateFolder, problemFileIn } from '../../node/hosting/gate/gate-files.ts';
import { writeLease } from '../../node/hosting/gate/gate-lease.ts';
import { doorsOf } from '../../node/hosting/service-doors.ts';
import setUpBundle from '../e2e/bundle.ts';
import { hostedGitlab } from '../fixtures/hosted-gitlab.ts';
import { testCertificate } from '../hosting/test-certificate.ts';
import { until } from '../real/run-lab.ts';

/** The published gate with a certificate, as a process: it reads the key as root, and serves as somebody who may not. */
const home = mkdtempSync('/var/tmp/t-gate-tls-process-');
const bin = fileURLToPath(new URL('../../dist/autogit-node.cjs', import.meta.url));
const user = 64_712;
const given = testCertificate(['127.0.0.1']);
const https = boxedCertificate(given, (text) => `sealed ${text}`);
const keys = { home, canOpen: () => true, unseal: (sealed: string) => sealed.replace('sealed ', '') };
const children: ChildProcess[] = [];
const pages = createServer((socket) => {
  socket
    .on('error', () => undefined)
    .once('data', (head) => {
      const [text = ''] = head.toString('latin1').split('\r\n');
      socket.end(`HTTP/1.1 200 OK\r\nContent-Length: ${text?.length}\r\nConnection: close\r\n\r\n${text}`);
    });
});
let port = 0;

const start = (words: string[]): void => {
  const folder = makeGateFolder(home);
  const args = [bin, '__gate', folder, String(user), '1', ...words];
  children.push(spawn(process.execPath, args, { stdio: ['ignore', 'ignore', 2] }));
};

beforeAll(async () => {
  setUpBundle();
  pages.listen(0, '127.0.0.1');
  const free = createServer().listen(0, '127.0.0.1');
  await Promise.all([once(pages, 'listening'), once(free, 'listening')]);
  port = (free.address() as AddressInfo).port;
  free.close();
  const clock = systemClock();
  const lease = { id: '1', bootId: clock.bootId(), epoch: 1, until: clock.bootMs() + 600_000 };
  const rest = { upstream: '127.0.0.1', isServing: true, because: '', tellsClient: true };
  await writeLease(makeGateFolder(home), { ...lease, ...rest });
}, 120_000);
afterAll(() => {
  for (const child of children) child.kill('SIGKILL');
  pages.close();
  rmSync(home, { recursive: true, force: true });
});

it('without its certificate no door is opened in its place, and with another one than was meant neither', async () => {
  const hosted = hostedGitlab({ data: 'k3v9q2m4', hostname: '127.0.0.1', port, sshPort: null, https });
  expect(() => doorsOf(hosted, null, { ...keys, canOpen: () => false })).toThrow(
    /certificate .* is sealed for others than this machine\n-> .*autogit-node gitlab certificate/,
  );
  const [door] = doorsOf(hosted, null, keys);
  // Whatever lies there instead: the ledger's is served.
  writeFileSync(join(home, 'gitlab-tls.pem'), 'x');
  expect(doorsOf(hosted, null, keys)).toEqual([door]);
  expect(door).toMatchObject({ kind: 'https', behind: 80, proxy: true });
  start([doorWord({ ...door!, certificate: '0123456789abcdef' })]);
  await until('it says why', () => spawnSync('test', ['-s', problemFileIn(makeGateFolder(home))]).status === 0);
  expect(readFileSync(problemFileIn(makeGateFolder(home)), 'utf8')).toContain('has changed');
});

it('with it GitLab is served in TLS by a process that may not read the key', async () => {
  const pem = readFileSync(join(home, 'gitlab-tls.pem'), 'utf8');
  expect(statSync(join(home, 'gitlab-tls.pem')).mode & 0o777).toBe(0o600);
  const behind = (pages.address() as AddressInfo).port;
  start([doorWord({ kind: 'https', port, behind, proxy: true, certificate: certificateMark(pem) })]);
  await until('it is there', () => gateNow(home).pid !== null);
  writeFileSync(join(home, 'ca.pem'), given.certificate);
  const asked = ['-s', '--max-time', '5', '--cacert', join(home, 'ca.pem'), `https://127.0.0.1:${port}/`];
  // The server that it asks is in this process.
  expect((await promisify(execFile)('curl', asked)).stdout).toMatch(/^PROXY TCP4 127\.0\.0\.1 127\.0\.0\.1 \d+ \d+$/);
  await until('it has a user of its own', () =>
    readFileSync(`/proc/${gateNow(home).pid}/status`, 'utf8').includes(`Uid:\t${user}\t${user}\t${user}`),
  );
  const who = [`--reuid=${user}`, `--regid=${user}`, '--clear-groups'];
  expect(spawnSync('setpriv', [...who, 'cat', join(home, 'gitlab-tls.pem')]).status).not.toBe(0);
  expect(spawnSync('setpriv', [...who, 'cat', `/proc/${gateNow(home).pid}/mem`]).status).not.toBe(0);
  expect(spawnSync('grep', ['-rl', 'PRIVATE KEY', makeGateFolder(home)]).status).toBe(1);
});
