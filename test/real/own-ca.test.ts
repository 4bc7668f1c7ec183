import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { call } from '../../gitlab-bridge/http-call.ts';
import { ownCaOf } from '../../gitlab-bridge/own-ca.ts';
import { GitlabTrust } from '../../node/agent/gitlab-trust.ts';
import { git } from '../../node/runs/git-command.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import { foundedMesh } from '../fixtures/founded-mesh.ts';
import { hostedGitlab } from '../fixtures/hosted-gitlab.ts';
import { testCertificate } from '../hosting/test-certificate.ts';

/** The CA that a person named for the mesh's GitLab, as agent and git go by it. */
const home = mkdtempSync(join(tmpdir(), 't-own-ca-'));
const { certificate, key } = testCertificate(['127.0.0.1', 'localhost']);
const warned: string[] = [];
let server: Server;
let port: number;

const hosting = (ca: string | null): Ledger => {
  const ledger = foundedMesh({ node: 'K' });
  const https = { mark: '0123456789abcdef', box: 'boxed', key: 'sealed', ...(ca !== null && { ca }) };
  const hosted = hostedGitlab({ hostname: '127.0.0.1', port, https });
  return { ...ledger, gitlab: { ...ledger.gitlab, mode: 'hosted', host: 'K', epoch: 1, hosted } };
};
const asks = (host: string): Promise<string> =>
  call({ method: 'GET', url: `https://${host}:${port}/`, timeoutMs: 5000 }).then(
    ({ status }) => String(status),
    ({ message }) => message,
  );
const fetches = (host: string): Promise<string> => {
  const remote = `https://${host}:${port}/a.git`;
  return git(['ls-remote', remote], { cwd: home, host: remote, speaks: 'http' }).catch(({ message }) => message);
};

beforeAll(async () => {
  server = createServer({ cert: certificate, key }, (_, answer) => answer.writeHead(404).end()).listen(0, '127.0.0.1');
  await once(server, 'listening');
  port = (server.address() as AddressInfo).port;
});
afterAll(() => {
  server.close();
  rmSync(home, { recursive: true });
});

it('is believed for that address alone, by calls and by git, for as long as the ledger names it', async () => {
  const trust = new GitlabTrust(home, { warn: (sentence) => void warned.push(sentence) });
  const file = join(home, 'gitlab-ca.pem');
  trust.ledgerChanged(hosting(null));
  expect([await asks('127.0.0.1'), await fetches('127.0.0.1')]).toEqual([
    expect.stringMatching(/self-signed/),
    expect.stringMatching(/certificate/),
  ]);
  trust.ledgerChanged(hosting(certificate));
  trust.ledgerChanged(hosting(certificate));
  expect([readFileSync(file, 'utf8'), statSync(file).mode & 0o777]).toEqual([certificate, 0o644]);
  expect([await asks('127.0.0.1'), await fetches('127.0.0.1')]).toEqual(['404', expect.stringContaining('not found')]);
  expect([await asks('localhost'), await fetches('localhost')]).toEqual([
    expect.stringMatching(/self-signed/),
    expect.stringMatching(/certificate/),
  ]);
  const another = testCertificate(['127.0.0.1']).certificate;
  trust.ledgerChanged(hosting(another));
  expect([await asks('127.0.0.1'), readFileSync(file, 'utf8')]).toEqual([
    expect.stringMatching(/self-signed/),
    another,
  ]);
  trust.ledgerChanged(foundedMesh({ node: 'K' }));
  expect([existsSync(file), ownCaOf(`https://127.0.0.1:${port}/x`)]).toEqual([false, null]);
  expect(warned).toEqual([]);
});

it('is believed by calls where the disk does not take it for git, which is said', async () => {
  const trust = new GitlabTrust(join(home, 'gone'), { warn: (sentence) => void warned.push(sentence) });
  trust.ledgerChanged(hosting(certificate));
  expect([await asks('127.0.0.1'), warned]).toEqual([
    '404',
    [expect.stringMatching(/cannot be written for git: ENOENT/)],
  ]);
  trust.ledgerChanged(null);
});
