import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { call } from '../../gitlab-bridge/http-call.ts';
import { byAddress, containerHosts, gitResolveOf, lookUpSo, ownPlaceOf } from '../../gitlab-bridge/own-place.ts';
import { git } from '../../node/runs/git-command.ts';
import { heardGitVersion } from '../../node/runs/git-way.ts';

/** A name that no DNS knows leads to where the mesh says that its GitLab is: this agent's own calls, the machine's git, and containers. */
const name = 'adas-home.local';
const asked: string[] = [];
const basic = `Basic ${Buffer.from('gitlab-ci-token:secret').toString('base64')}`;
const folder = mkdtempSync('/var/tmp/t-own-place-');
const server = createServer((request, response) => {
  const by = request.headers.authorization;
  asked.push(`${request.headers.host} ${request.url}${by === undefined ? '' : ` by ${by}`}`);
  response.writeHead(404).end();
});
let url = '';

beforeAll(async () => {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  url = `http://${name}:${(server.address() as AddressInfo).port}`;
});
afterEach(() => lookUpSo(name, null));
afterAll(() => {
  server.close();
  rmSync(folder, { recursive: true, force: true });
});

it('calls of this agent, anew each time', async () => {
  const places = ['127.0.0.9', '127.0.0.1'];
  lookUpSo(name, () => ({ address: places.shift() ?? '127.0.0.1', forContainers: null }));
  await expect(call({ method: 'GET', url: `${url}/one`, timeoutMs: 2000, fresh: true })).rejects.toThrow(
    /connection refused/,
  );
  expect((await call({ method: 'GET', url: `${url}/two`, timeoutMs: 2000 })).status).toBe(404);
  expect(asked).toEqual([`${new URL(url).host} /two`]);
});

it('git, which asks nobody for it', async () => {
  lookUpSo(name, () => ({ address: '127.0.0.1', forContainers: null }));
  const words = ['-c', `http.curloptResolve=${gitResolveOf(url)}`, 'ls-remote', `${url}/a.git`];
  const asking = promisify(execFile)('git', words, { cwd: folder, env: { PATH: process.env.PATH } });
  await expect(asking).rejects.toThrow(/not found/);
  expect(asked.at(-1)).toContain('/a.git/info/refs');
});

it('a git of before 2.37 by its address, with the token for it alone', async () => {
  lookUpSo(name, () => ({ address: '127.0.0.1', forContainers: null }));
  const ask = (): Promise<string> =>
    git(['ls-remote', `${url}/b.git`], { cwd: folder, host: url, speaks: 'http', token: 'secret', limitMs: 5000 });
  for (const version of ['git version 2.34.1', 'git version 2.37.0']) {
    heardGitVersion(version);
    asked.length = 0;
    await expect(ask()).rejects.toThrow(/not found/);
    const at = version.includes('2.34') ? `127.0.0.1:${new URL(url).port}` : new URL(url).host;
    expect(asked).toEqual([`${at} /b.git/info/refs?service=git-upload-pack by ${basic}`]);
  }
  expect(byAddress(`https://${name}`)).toBe(null);
});

it('only that name, in the words of git and of an engine', () => {
  lookUpSo(name, () => ({ address: 'fd00::7', forContainers: '192.168.1.11' }));
  expect(gitResolveOf(`https://${name}`)).toBe(`${name}:443:[fd00::7]`);
  expect(containerHosts()).toEqual([`${name}:192.168.1.11`]);
  expect([ownPlaceOf('http://kang.local/'), gitResolveOf('not a url')]).toEqual([null, null]);
  lookUpSo(name, () => null);
  expect([gitResolveOf(url), containerHosts()]).toEqual([null, []]);
});
