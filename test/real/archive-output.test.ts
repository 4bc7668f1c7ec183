import { randomBytes } from 'node:crypto';
import { getEventListeners, once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Docker from 'dockerode';
import { afterAll, afterEach, describe, expect, it, vi } from 'vitest';
import { archiveOutput } from '../../node/executors/archive-output.ts';
import { isEngineAway } from '../../node/executors/docker-engine.ts';
import { DockerFiles } from '../../node/executors/docker-files.ts';
import { madeEntry, readTar, writeTar } from '../../node/executors/tar-format.ts';

/** An engine that has an archive for each path, or an answer of its own. */
const folder = mkdtempSync(join(tmpdir(), 't-archive-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
let server: Server | null = null;
const open = new Set<Socket>();
afterEach(() => {
  for (const socket of open) socket.destroy();
  server?.close();
});

async function engine(
  answer: (path: string | null, socket: Socket, request: string) => void,
): Promise<Docker.Container> {
  const socketPath = join(folder, `s${Math.random()}`);
  server = createServer((socket) => {
    open.add(socket);
    socket.on('error', () => undefined);
    let head = '';
    socket.on('data', (data) => {
      head += data.toString();
      if (!head.includes('\r\n\r\n')) return;
      const [, method, target] = /^(\S+) (\S+)/.exec(head) ?? [];
      const url = new URL(`http://docker${target}`);
      const isArchive = method === 'GET' && url.pathname === '/containers/abc/archive';
      if (isArchive) answer(url.searchParams.get('path'), socket, head);
      // No command can be run in it.
      else if (method === 'PUT') socket.end('HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n');
      else
        socket.end(
          'HTTP/1.1 409 Conflict\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: 24\r\n\r\n{"message":"it is away"}\n',
        );
      head = '';
    });
  });
  server.listen(socketPath);
  await once(server, 'listening');
  return new Docker({ socketPath }).getContainer('abc');
}

const good = 'HTTP/1.0 200 OK\r\nContent-Type: application/x-tar\r\n\r\n';
const never = new AbortController().signal;
const gone = '{"message":"Could not find the file /no in container abc"}';
const missing = `HTTP/1.0 404 Not Found\r\nContent-Type: application/json\r\n\r\n${gone}`;

async function tarOf(files: [string, Buffer][]): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  for await (const part of writeTar(files.map(([name, content]) => madeEntry(name, { content })))) parts.push(part);
  return Buffer.concat(parts);
}

async function bytesOf(container: Docker.Container, path: string, signal = never): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const chunk of await archiveOutput(container, path, signal)) parts.push(Buffer.from(chunk));
  return Buffer.concat(parts);
}

describe("the engine's archive of a path", () => {
  it('is all there in whatever pieces it comes, asked by its own name, in one memory whatever its size', async () => {
    const body = randomBytes(40 << 20);
    const asked: (string | null)[] = [];
    const container = await engine(async (path, socket) => {
      asked.push(path);
      socket.write(good.slice(0, 9));
      await new Promise((later) => setTimeout(later, 20));
      socket.write(Buffer.concat([Buffer.from(good.slice(9)), body.subarray(0, 3)]));
      for (let at = 3; at < body.length; at += 100_001)
        if (!socket.write(body.subarray(at, at + 100_001))) await once(socket, 'drain');
      socket.end();
    });
    const path = '/builds/a b/ä?&%2F#+x';
    expect((await bytesOf(container, path)).equals(body)).toBe(true);
    expect(asked).toEqual([path]);
    const memories = new Set<ArrayBufferLike>();
    let pieces = 0;
    for await (const chunk of await archiveOutput(container, path, never)) {
      memories.add(chunk.buffer);
      pieces++;
    }
    // Some hundred bytes of promises each, in everybody who hands it on.
    expect(pieces).toBeLessThan(body.length / (64 << 10));
    // Each chunk of a stream of its own: V8 lets 32 MiB of them lie. The first has what came with the head.
    expect(memories.size).toBeLessThanOrEqual(2);
  });

  it('is forgotten by the signal of its run once it has ended, however many there are', async () => {
    const container = await engine((_, socket) => socket.end(`${good}some`));
    const ofRun = new AbortController();
    for (let count = 0; count < 15; count++) await bytesOf(container, '/x', ofRun.signal);
    await vi.waitFor(() => expect(getEventListeners(ofRun.signal, 'abort')).toEqual([]));
  });

  it('is refused with the engine’s word and status, and an engine that goes or is none is told from one that refuses', async () => {
    const refused = await engine((_, socket) => socket.end(missing));
    await expect(bytesOf(refused, '/no')).rejects.toMatchObject({
      statusCode: 404,
      message: expect.stringContaining('Could not find the file'),
    });
    server?.close();
    const away = await engine((_, socket) => socket.destroy());
    const error = await bytesOf(away, '/x').catch((cause: unknown) => cause);
    expect(isEngineAway(error)).toBe(true);
    server?.close();
    const none = await engine((_, socket) => socket.end('SSH-2.0-OpenSSH_9.2\r\n\r\n'));
    await expect(bytesOf(none, '/x')).rejects.toThrow('no Docker Engine');
    server?.close();
    const nobody = new Docker({ socketPath: join(folder, 'nobody') }).getContainer('abc');
    expect(isEngineAway(await bytesOf(nobody, '/x').catch((cause: unknown) => cause))).toBe(true);
  });

  it('is left by whoever gives up, and the engine sees it', async () => {
    let isOver = (): void => undefined;
    const over = new Promise<void>((resolve) => {
      isOver = resolve;
    });
    const stuck = await engine((_, socket) => {
      socket.on('close', isOver);
      socket.write(`${good}some`);
    });
    const stop = new AbortController();
    const reading = bytesOf(stuck, '/x', stop.signal);
    setTimeout(() => stop.abort(), 50);
    await expect(reading).rejects.toThrow('cut');
    await over;
  });
});

describe('files of a container in which no command can be run', () => {
  const small = randomBytes(60_000);
  const large = randomBytes(3_000_000);
  const trees: Record<string, [string, Buffer][]> = {
    '/p/d': [
      ['d/', Buffer.alloc(0)],
      ['d/beside', large],
    ],
    '/p/one': [['one', small]],
    '/p/two': [['two', large]],
  };

  async function files(): Promise<DockerFiles> {
    const container = await engine(async (path, socket) => {
      const tree = trees[path ?? ''];
      if (tree === undefined) return socket.end(missing);
      const bytes = Buffer.concat([Buffer.from(good), await tarOf(tree)]);
      // So that files lie across the ends of what is read at once.
      for (let at = 0; at < bytes.length && !socket.destroyed; at += 7001) {
        socket.write(bytes.subarray(at, at + 7001));
        if (at % 70_010 === 0) await new Promise((later) => setImmediate(later));
      }
      return socket.end();
    });
    return new DockerFiles(container, 'r1');
  }

  it('arrive byte for byte, one archive a name, and what is missing is left out', async () => {
    const names = Buffer.from('./one\0./gone\0./two\0');
    const { bytes } = await (await files()).read('/p', names, ['.'], '/c');
    const found: [string, boolean][] = [];
    for await (const { name, body } of readTar(bytes)) {
      const parts: Buffer[] = [];
      for await (const part of body) parts.push(Buffer.from(part));
      found.push([name, Buffer.concat(parts).equals(name === 'one' ? small : large)]);
    }
    expect(found).toEqual([
      ['one', true],
      ['two', true],
    ]);
  });

  it('are listed with what is in a folder, and an archive that is cut short is an error', async () => {
    const listed = await (await files()).list('/p', ['d', 'gone', 'one']);
    let names = '';
    for await (const chunk of listed.bytes) names += Buffer.from(chunk).toString();
    expect(names.split('\0')).toEqual(['d', 'd/beside', 'one', '']);
    server?.close();
    const tar = await tarOf(trees['/p/two'] as [string, Buffer][]);
    const cut = await engine((_, socket) => socket.end(Buffer.concat([Buffer.from(good), tar.subarray(0, 1_000_000)])));
    const { bytes } = await new DockerFiles(cut, 'r1').read('/p', Buffer.from('./two\0'), ['.'], '/c');
    await expect(
      (async () => {
        for await (const _ of bytes);
      })(),
    ).rejects.toThrow('ended early');
  });
});
