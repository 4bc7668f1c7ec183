import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { oldContainer } from '../../node/hosting/adopt/old-container.ts';

/** The calls to an engine that answers over a socket as Docker's does. */
let top: string;
let engine: Server;
let old: ReturnType<typeof oldContainer>;
let taken: string[] = [];
let renamed: string[] = [];
let all: { id: string; name: string; data: string; isRunning: boolean }[] = [];

const mountsOf = (data: string) => [
  { Type: 'bind', Source: '/none/config', Destination: '/etc/gitlab' },
  { Type: 'bind', Source: data, Destination: '/var/opt/gitlab' },
];

function answerTo(path: string): [number, unknown] {
  if (path.startsWith('/containers/json'))
    return [
      200,
      all.map(({ id, name, data, isRunning }) => ({
        ...{ Id: id, Names: [`/${name}`], Image: 'gitlab/gitlab-ce:17.5.1-ce.0', Status: '' },
        ...{ State: isRunning ? 'running' : 'exited', Mounts: mountsOf(data) },
      })),
    ];
  const asked = /^\/(?:v[\d.]+\/)?containers\/(\w+)\/(\w+)(?:\?name=(.*))?/.exec(path);
  const one = all.find(({ id }) => id === asked?.[1]);
  if (asked?.[2] === 'rename') {
    const wanted = asked[3] ?? '';
    if (taken.includes(wanted)) return [409, { message: `the container name "/${wanted}" is already in use` }];
    renamed.push(wanted);
    return [204, null];
  }
  if (one === undefined) return [asked ? 404 : 200, { ApiVersion: '1.41', message: 'no such container' }];
  const { id, name, data, isRunning } = one;
  const config = { Image: 'gitlab/gitlab-ce:17.5.1-ce.0', Env: [] };
  return [200, { Id: id, Name: `/${name}`, Config: config, State: { Running: isRunning }, Mounts: mountsOf(data) }];
}

beforeEach(async () => {
  top = mkdtempSync(join(tmpdir(), 't-old-container-'));
  [taken, renamed, all] = [[], [], []];
  engine = createServer((asked, answer) => {
    const [status, body] = answerTo(asked.url ?? '');
    answer.writeHead(status, { 'content-type': 'application/json' }).end(body === null ? '' : JSON.stringify(body));
  });
  await new Promise<void>((done) => engine.listen(join(top, 'docker.sock'), done));
  const clock = { bootMs: () => performance.now() };
  old = oldContainer(`unix://${join(top, 'docker.sock')}`, clock, { stop: async () => undefined });
});
afterEach(async () => {
  engine.closeAllConnections();
  await new Promise((done) => engine.close(done));
  rmSync(top, { recursive: true, force: true });
});

const mine = { id: 'aaaaaaaaaaaa', name: 'gitlab-before-autogit', data: '/srv/data', isRunning: false };
const adoption = {
  container: {
    ...{ id: mine.id, name: 'gitlab', parked: mine.name, restart: { Name: 'always' }, wasRunning: true },
  },
  folders: [{ inside: '/var/opt/gitlab', outside: '/srv/data' }],
};

it('another container that runs on the same data is told by its name; one that stands still or has others is none', async () => {
  const stands = { id: 'bbbbbbbbbbbb', name: 'older', data: '/srv/data', isRunning: false };
  const elsewhere = { id: 'cccccccccccc', name: 'second', data: '/srv/second', isRunning: true };
  all = [{ ...mine, isRunning: true }, stands, elsewhere];
  expect(await old.otherOn(adoption)).toBe(null);
  all = [mine, stands, elsewhere, { id: 'dddddddddddd', name: 'gitlab', data: '/srv/data', isRunning: true }];
  expect(await old.otherOn(adoption)).toBe('gitlab');
});

it('a name that another one has is told, and no failure', async () => {
  all = [mine];
  taken = ['gitlab'];
  expect([await old.rename(mine.id, 'gitlab'), await old.rename(mine.id, 'gitlab-2'), renamed]).toEqual([
    ...[false, true],
    ['gitlab-2'],
  ]);
  await expect(old.setRestart('eeeeeeeeeeee', { Name: 'always' })).rejects.toThrow();
  expect(await old.look('eeeeeeeeeeee')).toBe(null);
});
