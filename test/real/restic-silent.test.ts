import { randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, connect, createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { KeptFiles } from '../../node/hosting/keep/kept-files.ts';
import { serveRest } from '../../node/hosting/keep/rest-door.ts';
import { Restic, resticTimings } from '../../node/hosting/vault/restic.ts';
import { install } from '../bench/debian.ts';

/** A target that hangs in the midst, and one that is slow, by the real restic: which of the two it is has to be told. */
const folder = mkdtempSync(join(tmpdir(), 'autogit-restic-silent-'));
const data = join(folder, 'data');
const { signal } = new AbortController();
const usual = { ...resticTimings };
const MiB = 2 ** 20;
/** Bytes a second of both ways; null: as they come. 0: nothing moves any more. */
let pace: number | null = null;
let files: KeptFiles;
const servers: Server[] = [];

const listening = async (server: Server): Promise<number> => {
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return (server.address() as AddressInfo).port;
};

/** Its connections at that pace, as a network does it. */
async function carry(from: NodeJS.ReadWriteStream, to: NodeJS.ReadWriteStream): Promise<void> {
  for await (const piece of from) {
    const bytes = piece as Buffer;
    for (let at = 0; at < bytes.length; at += 16_384) {
      while (pace === 0) await sleep(50);
      const part = bytes.subarray(at, at + 16_384);
      if (pace !== null) await sleep((part.length / pace) * 1000);
      to.write(part);
    }
  }
  to.end();
}

let restic: Restic;
beforeAll(async () => {
  await install({ restic: 'restic' });
  mkdirSync(data);
  for (const name of ['a', 'b', 'c', 'd']) writeFileSync(join(data, name), randomBytes(8 * MiB));
}, 300_000);
beforeEach(async () => {
  Object.assign(resticTimings, usual);
  pace = null;
  const home = mkdtempSync(join(folder, 'home-'));
  files = new KeptFiles(home, () => 0);
  await files.open();
  const door = await listening(createServer((socket) => void serveRest(socket, files, 'use')));
  const way = createServer((socket) => {
    const far = connect(door, '127.0.0.1');
    for (const one of [socket, far])
      one.on('error', () => undefined).on('close', () => [socket, far].map((it) => it.destroy()));
    for (const [from, to] of [
      [socket, far],
      [far, socket],
    ] as const)
      void carry(from, to).catch(() => undefined);
  });
  const target = `rest:http://127.0.0.1:${await listening(way)}/`;
  restic = new Restic({ target, password: 'a-password-of-the-test', credentials: {} }, join(home, 'cache'));
  await restic.init(signal);
});
afterAll(() => {
  Object.assign(resticTimings, usual);
  pace = null;
  for (const server of servers) server.close();
  rmSync(folder, { recursive: true, force: true });
});

const backedUp = (onPercent: (done: number) => void = () => undefined): Promise<string> =>
  restic.backup(data, { tags: ['data=d'], parent: null, onPercent, signal });

it('a target that hangs in the midst of a backup is given up, though restic tells its progress twice a second', async () => {
  resticTimings.silentMs = 3_000;
  let told = 0;
  const ended = backedUp((done) => {
    told += 1;
    if (done > 0.2) pace = 0;
    else pace = 8 * MiB;
  });
  await expect(ended).rejects.toThrow('restic backup has done nothing for 3 s');
  expect(told).toBeGreaterThan(2);
});

it('a restore that says nothing for longer than that goes on as long as it reads', async () => {
  const id = await backedUp();
  resticTimings.silentMs = 2_000;
  pace = 4 * MiB;
  const out = join(folder, 'out');
  const began = performance.now();
  await restic.restore(id, out, signal);
  expect(performance.now() - began).toBeGreaterThan(4_000);
  for (const name of ['a', 'b', 'c', 'd'])
    expect(readFileSync(join(out, name)).equals(readFileSync(join(data, name)))).toBe(true);
});
