import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { AdoptRoom } from '../../node/agent/adopt-room.ts';
import type { Adoption } from '../../node/hosting/adopt/adoption-journal.ts';
import { foundedMesh } from '../fixtures/founded-mesh.ts';

/** What a machine says of a container that it takes over, and does of it when the mesh removes it; an engine in small. */
let home: string;
let engine: Server;
let room: AdoptRoom;
let ledger = foundedMesh({ store: 's' });
let container = { name: 'gitlab', isRunning: true, restart: 'always' };
const stopMs = 800;

const begun: Adoption = {
  ...{ step: 'parking', because: 'it was asked for', at: Date.now(), dataBytes: 1, needBytes: 1 },
  container: {
    ...{ id: 'aaaaaaaaaaaa', name: 'gitlab', parked: 'gitlab-before-autogit' },
    ...{ restart: { Name: 'always' }, wasRunning: true },
  },
  folders: [{ inside: '/var/opt/gitlab', outside: '/srv/data' }],
  hosted: {
    ...{ data: 'data-one', image: 'gitlab/gitlab-ce:17.5.1-ce.0', preset: 'minimal', port: 8929, sshPort: null },
    ...{ hostname: 'kang.lan', place: { kind: 'folder', path: '/none' } },
  },
};

function answerTo(path: string): [number, unknown] {
  if (path.includes('/containers/json')) return [200, []];
  const [, verb = '', query = ''] = /containers\/a{12}\/(\w+)(?:\?name=(.*))?/.exec(path) ?? [];
  if (verb === 'rename') container.name = query;
  if (verb === 'start') container.isRunning = true;
  if (verb === 'rename' || verb === 'start') return [204, null];
  if (verb === 'update') return [200, { Warnings: [] }];
  const State = { Running: container.isRunning, StartedAt: 'then' };
  return [200, { Id: 'aaaaaaaaaaaa', Name: `/${container.name}`, State, ApiVersion: '1.41' }];
}

beforeEach(async () => {
  home = mkdtempSync(join(tmpdir(), 't-adopt-room-'));
  container = { name: 'gitlab', isRunning: true, restart: 'always' };
  engine = createServer((asked, answer) => {
    const [status, body] = answerTo(asked.url ?? '');
    answer.writeHead(status, { 'content-type': 'application/json' }).end(body === null ? '' : JSON.stringify(body));
  });
  await new Promise<void>((done) => engine.listen(join(home, 'docker.sock'), done));
});
afterEach(async () => {
  await room.stop();
  engine.closeAllConnections();
  await new Promise((done) => engine.close(done));
  rmSync(home, { recursive: true, force: true });
});

const step = (): string => JSON.parse(readFileSync(join(home, 'adopted-gitlab.json'), 'utf8')).step;
function roomAt(adoption: Partial<Adoption>): AdoptRoom {
  writeFileSync(join(home, 'adopted-gitlab.json'), JSON.stringify({ ...begun, ...adoption }));
  const clock = { bootMs: () => performance.now(), wallMs: () => Date.now() };
  const log = { info: () => {}, warn: () => {}, error: () => {} };
  const stop = async (): Promise<void> => {
    await sleep(stopMs);
    container.isRunning = false;
  };
  const sources = {
    ...{ nodeId: 'K', home, dockerHost: `unix://${join(home, 'docker.sock')}`, clock, log },
    ...{ ledger: () => ledger, change: () => Promise.reject(new Error('no majority')) },
    network: { addresses: () => [] },
  };
  return new AdoptRoom(sources as never, { stop } as never, () => null);
}

it('one that is being stopped when the mesh removes its machine is back before its agent ends, however little time that has', async () => {
  room = roomAt({ step: 'parking' });
  room.start();
  await sleep(200);
  expect(container.isRunning).toBe(true);
  await room.removed(50);
  expect([step(), container]).toEqual(['returned', { name: 'gitlab', isRunning: true, restart: 'always' }]);
});

it('one that serves is not said to be away', () => {
  room = roomAt({ step: 'served' });
  expect(room.attention()).toEqual([]);
  room = roomAt({ step: 'copying' });
  expect(room.attention()).toMatchObject([{ sentence: expect.stringContaining('is being taken over and is away') }]);
});

it('of one that serves what is left to do and does not end is said as such', async () => {
  // It was protected, which ends by a change that finds no majority.
  const guarded = { node: 'K', folder: '/srv/data', data: 'd1d1d1d1', container: 'gitlab', since: 1, because: 'asked' };
  ledger = { ...ledger, gitlab: { ...ledger.gitlab, protected: guarded } };
  room = roomAt({ step: 'served' });
  room.start();
  await expect
    .poll(() => room.attention())
    .toMatchObject([
      {
        severity: 'warn',
        sentence: expect.stringMatching(/is the mesh's and serves; what is left .* does not end: no majority/),
      },
    ]);
});
