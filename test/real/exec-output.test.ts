import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import Docker from 'dockerode';
import { afterEach, describe, expect, it } from 'vitest';
import { framesOf } from '../../node/executors/docker-files.ts';
import { execOutput } from '../../node/executors/exec-output.ts';

/** An engine that answers one call, and what a command prints through it. */
const folder = mkdtempSync(join(tmpdir(), 't-exec-output-'));
let server: Server | null = null;
afterEach(() => {
  server?.closeAllConnections();
  server?.close();
  rmSync(folder, { recursive: true, force: true, maxRetries: 3 });
});

const socketPath = join(mkdtempSync(join(tmpdir(), 't-exec-')), 's');
async function engine(answer: (socket: Duplex) => void): Promise<Docker.Exec> {
  rmSync(socketPath, { force: true });
  server = createServer();
  server.on('upgrade', (request, socket) => {
    socket.on('error', () => undefined);
    expect(request.url).toBe('/exec/abc/start');
    answer(socket);
  });
  server.listen(socketPath);
  await once(server, 'listening');
  return new Docker({ socketPath }).getExec('abc');
}
const upgraded = 'HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n';
const frame = (output: 1 | 2, payload: Buffer): Buffer => {
  const head = Buffer.alloc(8);
  head[0] = output;
  head.writeUInt32BE(payload.length, 4);
  return Buffer.concat([head, payload]);
};
async function printed(exec: Docker.Exec, signal = new AbortController().signal): Promise<[Buffer, string, number]> {
  const parts: Buffer[] = [];
  let errors = '';
  for await (const { isError, payload } of framesOf(await execOutput(exec, signal)))
    if (isError) errors += payload.toString();
    else parts.push(Buffer.from(payload));
  return [Buffer.concat(parts), errors, parts.length];
}

describe('what a command in a container prints', () => {
  it('is all there, with what came with the answer’s head, in whatever pieces the engine sends it', async () => {
    const payloads = [1, 7, 8, 9, 32_768, 100_000, 262_144, 262_136, 1_000_000, 3].map((size) => randomBytes(size));
    const all = Buffer.concat(payloads.flatMap((payload, at) => [frame(1, payload), frame(2, Buffer.from(`e${at} `))]));
    for (const piece of [5, 11_111, all.length]) {
      const bytes = piece === 5 ? all.subarray(0, 9000) : all;
      const exec = await engine(async (socket) => {
        socket.write(upgraded + bytes.toString('latin1', 0, 3), 'latin1');
        for (let at = 3; at < bytes.length; at += piece)
          if (!socket.write(bytes.subarray(at, at + piece))) await once(socket, 'drain');
        socket.end();
      });
      const [output, errors] = await printed(exec);
      const expected = Buffer.concat(payloads);
      expect(output.equals(piece === 5 ? expected.subarray(0, output.length) : expected)).toBe(true);
      if (piece === 5) expect(output.length).toBeGreaterThan(8800);
      else expect(errors).toBe(payloads.map((_, at) => `e${at} `).join(''));
      server?.close();
    }
  });

  it('takes few pieces and no memory for thousands of small writes', async () => {
    const many = Buffer.concat(Array.from({ length: 300_000 }, () => frame(1, Buffer.from('x'))));
    const exec = await engine((socket) => socket.end(Buffer.concat([Buffer.from(upgraded), many])));
    const [output, , pieces] = await printed(exec);
    expect(output.equals(Buffer.alloc(300_000, 'x'))).toBe(true);
    expect(pieces).toBeLessThan(2000);
  });

  it('is not read before somebody wants it', async () => {
    let sent = 0;
    const exec = await engine(async (socket) => {
      socket.write(upgraded);
      const bytes = frame(1, Buffer.alloc(65_528));
      while (sent < 64 << 20 && !socket.destroyed) {
        if (!socket.write(bytes))
          await Promise.race([once(socket, 'drain'), once(socket, 'close')]).catch(() => undefined);
        sent += bytes.length;
      }
      socket.end();
    });
    const output = (await execOutput(exec, new AbortController().signal))[Symbol.asyncIterator]();
    expect((await output.next()).done).toBe(false);
    await new Promise((later) => setTimeout(later, 300));
    expect(sent).toBeLessThan(4 << 20);
    await output.return?.();
    await expect.poll(() => sent).toBeLessThan(8 << 20);
  });

  it('ends with its reason: a refusal, an engine that goes, a reader that gives up', async () => {
    const body = '{"message":"No such exec instance: abc"}';
    const refused = await engine((socket) =>
      socket.end(
        `HTTP/1.1 404 Not Found\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
      ),
    );
    await expect(printed(refused)).rejects.toMatchObject({
      statusCode: 404,
      message: expect.stringContaining('No such exec instance'),
    });
    server?.close();
    const gone = await engine((socket) => socket.destroy());
    await expect(printed(gone)).rejects.toThrow(/hang up|ECONNRESET/);
    server?.close();
    const stuck = await engine((socket) => socket.write(upgraded));
    const stop = new AbortController();
    const reading = printed(stuck, stop.signal);
    setTimeout(() => stop.abort(), 50);
    await expect(reading).rejects.toThrow('cut');
  });
});
