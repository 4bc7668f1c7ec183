import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { processesOfUid } from '../../node/executors/run-processes.ts';
import { listeningPorts, socketList } from '../../node/executors/service-health.ts';
import { readKernelFile } from '../../node/machine/kernel-file.ts';

it('is all of a file, however long, a character for each byte, and nothing of the file before', () => {
  const folder = mkdtempSync(join(tmpdir(), 'autogit-kernel-file-'));
  try {
    const file = join(folder, 'f');
    for (const length of [300_000, 16_384, 3, 0, 65_537]) {
      const bytes = Buffer.from(Array.from({ length }, (_, at) => (at * 7 + length) % 256));
      writeFileSync(file, bytes);
      expect(readKernelFile(file) === bytes.toString('latin1')).toBe(true);
      for (const most of [1, 16_384, 20_000, 70_000])
        expect(readKernelFile(file, most) === bytes.subarray(0, most).toString('latin1')).toBe(true);
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  expect(readKernelFile('/proc/self/environ')).toBe(readFileSync('/proc/self/environ', 'latin1'));
  expect(() => readKernelFile('/proc/self/none')).toThrow(/ENOENT/);
  expect(() => readKernelFile('/proc/self')).toThrow(/EISDIR/);
});

it('a look at every process of this computer takes no buffer for each', () => {
  processesOfUid(4_000_000_000);
  const before = process.memoryUsage().arrayBuffers;
  for (let look = 0; look < 20; look++) processesOfUid(4_000_000_000);
  expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(100_000);
});

it('of a list of sockets what listens is found in its first part, however many connections somebody has', async () => {
  const server = createServer().listen(0, '0.0.0.0');
  const { port } = await new Promise<AddressInfo>((done) =>
    server.once('listening', () => done(server.address() as AddressInfo)),
  );
  const sockets: Socket[] = [];
  server.on('connection', (socket) => sockets.push(socket.on('error', () => undefined)));
  try {
    for (let count = 0; count < 1200; count++) {
      const socket = connect({ port, host: '127.0.0.1' }).on('error', () => undefined);
      sockets.push(socket);
      if (count % 100 === 99) await new Promise((done) => socket.once('connect', done));
    }
    expect(readKernelFile('/proc/self/net/tcp').length).toBeGreaterThan(300_000);
    const seen = socketList('/proc/self/net/tcp');
    expect(seen.length).toBe(256 << 10);
    expect([...listeningPorts(seen)]).toContain(port);
  } finally {
    for (const socket of sockets) socket.destroy();
    server.close();
  }
});
