import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, describe, expect, it } from 'vitest';
import { call } from '../../gitlab-bridge/http-call.ts';
import { fileChunks } from '../../node/runs/file-chunks.ts';

const folder = mkdtempSync(join(tmpdir(), 't-file-chunks-'));
const file = join(folder, 'file');
const bytes = randomBytes((20 << 20) + 17);
writeFileSync(file, bytes);
const server = createServer();
afterAll(() => {
  server.closeAllConnections();
  server.close();
  rmSync(folder, { recursive: true, force: true });
});

async function sent(open: () => AsyncIterable<Uint8Array>, lengthBytes: number) {
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
  return call({ method: 'POST', url, body: { open, lengthBytes }, timeoutMs: 5000, fresh: true });
}

describe('a file that goes up by two buffers', () => {
  it('arrives as it is, also at a server that is slow to take it', async () => {
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    for (const isSlow of [false, true]) {
      server.removeAllListeners('request').on('request', async (request, response) => {
        const parts: Buffer[] = [];
        for await (const part of request) {
          parts.push(part as Buffer);
          if (isSlow && parts.length % 20 === 0) await sleep(5);
        }
        response.end(String(Buffer.concat(parts).equals(bytes)));
      });
      const { body } = await sent(() => fileChunks(file), bytes.length);
      expect(body.toString()).toBe('true');
    }
  });

  it('whose memory is filled with other bytes as soon as the next chunk is asked for: none of them goes out', async () => {
    server.removeAllListeners('request').on('request', async (request, response) => {
      response.end(String((await buffer(request)).equals(bytes)));
    });
    async function* kept(): AsyncGenerator<Uint8Array> {
      const memory = Buffer.alloc(100_000);
      for (let at = 0; at < bytes.length; at += memory.length) {
        const count = bytes.copy(memory, 0, at);
        yield memory.subarray(0, count);
        memory.fill(0xa5);
      }
    }
    expect((await sent(kept, bytes.length)).body.toString()).toBe('true');
  });

  it('is read no further once the server has answered and gone, or where it breaks', async () => {
    let chunks = 0;
    const endless = async function* (): AsyncGenerator<Uint8Array> {
      try {
        for (; ; chunks++) yield bytes.subarray(0, 65_536);
      } finally {
        chunks = -1;
      }
    };
    server.removeAllListeners('request').on('request', (request, response) => {
      response.writeHead(413, { Connection: 'close' }).end('too large');
      request.resume();
      request.socket.end();
    });
    await sent(endless, 2 ** 40).catch(() => undefined);
    await expect.poll(() => chunks, { timeout: 10_000 }).toBe(-1);
    server.removeAllListeners('request').on('request', (request) => request.resume());
    const broken = async function* (): AsyncGenerator<Uint8Array> {
      yield bytes.subarray(0, 65_536);
      throw new Error('the disk is gone');
    };
    await expect(sent(broken, 1 << 20)).rejects.toThrow('the disk is gone');
  });
});
