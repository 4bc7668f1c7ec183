import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { afterEach, expect, it } from 'vitest';
import { systemClock } from '../../node/clock.ts';
import { DockerServiceHost } from '../../node/hosting/docker-service-host.ts';

/** An engine that takes its time to begin what it is told to run, and says nothing more of it. */
let server: Server | null = null;
let folder = '';
const open: Duplex[] = [];

afterEach(() => {
  for (const socket of open) socket.destroy();
  server?.close();
  rmSync(folder, { recursive: true, force: true });
});

async function engine(beginsAfterMs: number): Promise<DockerServiceHost> {
  folder = mkdtempSync(join(tmpdir(), 'autogit-late-engine-'));
  const path = join(folder, 'docker.sock');
  server = createServer((request, response) => {
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify(request.url?.endsWith('/exec') ? { Id: 'e1' } : { ApiVersion: '1.41' }));
  });
  server.on('upgrade', (_request: IncomingMessage, socket: Duplex) => {
    open.push(socket);
    socket.on('error', () => undefined);
    setTimeout(() => {
      socket.write(
        'HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.raw-stream\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n',
      );
    }, beginsAfterMs);
  });
  await new Promise<void>((done) => server?.listen(path, done));
  return new DockerServiceHost(`unix://${path}`, systemClock());
}

it.each([10, 400])(
  'a program in a container that says nothing is given up in its time, also where the engine began it later than that (after %i ms)',
  async (ms) => {
    const host = await engine(ms);
    await expect(host.exec('c1', ['curl'], { timeoutMs: 200 })).rejects.toMatchObject({ code: 'timed-out' });
  },
);
