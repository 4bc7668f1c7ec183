import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { sentenceOf } from '../../../protocol/errors.ts';
import { type KeptFiles, type KeptName, type KeptType, keptTypes, NotKept } from './kept-files.ts';

/** What a machine that came may do: `begin` sees whether a repository is there and makes one, and brings nothing else. */
export type Scope = 'begin' | 'use';

export const restTimings = {
  /** A connection on which nothing moves. */
  silentMs: 60_000,
  /** One file, however slowly it trickles. */
  fileMs: 1_800_000,
};

export const restLimits = {
  /** A longer list goes out piece by piece: it is never in memory as a whole. */
  wholeListBytes: 4 << 20,
};

/** Bytes of a refused file that are read all the same. */
const drainMost = 512 << 20;

/** restic asks one thing at a time on each connection; one that has ended here may not have been seen to. */
const underMost = 4;

const begins: ReadonlySet<string> = new Set(['config', 'keys', 'locks']);
const types = keptTypes.join('|');
const aFile = new RegExp(`^/(${types})/([0-9a-f]{64})$`);
const aFolder = new RegExp(`^/(${types})/$`);
const listing = 'application/vnd.x.restic.rest.v2';

type Asked = { kind: 'make' } | { kind: 'list'; type: KeptType } | { kind: 'file'; one: KeptName };

/** As it was sent, byte for byte: nothing in it is decoded, so nothing leads out of the folder. Null: no path of restic's. */
function askedBy(method: string, url: string): Asked | null {
  if (url === '/?create=true' && method === 'POST') return { kind: 'make' };
  if (url === '/config') return { kind: 'file', one: { type: 'config' } };
  const [, type, name] = aFile.exec(url) ?? [];
  if (type !== undefined && name !== undefined) return { kind: 'file', one: { type: type as KeptType, name } };
  const folder = aFolder.exec(url)?.[1];
  return folder !== undefined && method === 'GET' ? { kind: 'list', type: folder as KeptType } : null;
}

/**
 * restic's REST protocol (v2), append-only, for one connection whose other end is known by its key. Ends with the connection, and
 * ends it where nothing moves. https://restic.readthedocs.io/en/stable/100_references.html#rest-backend
 */
export function serveRest(socket: Socket, files: KeptFiles, scope: Scope): Promise<void> {
  let under = 0;
  const server: Server = createServer({ maxHeaderSize: 8192, keepAlive: true }, (request, response) => {
    if (under >= underMost) return void request.socket.destroy();
    under += 1;
    void answer(request, response, files, scope).finally(() => {
      under -= 1;
    });
  });
  // By its activity, as it listens nowhere itself: then Node looks at no other limit of these.
  server.timeout = restTimings.silentMs;
  server.keepAliveTimeout = restTimings.silentMs;
  server.on('clientError', (_error, one) => one.destroy());
  return new Promise((resolve) => {
    socket.on('error', () => {});
    socket.once('close', () => resolve());
    server.emit('connection', socket);
  });
}

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  files: KeptFiles,
  scope: Scope,
): Promise<void> {
  const deadline = setTimeout(() => request.socket.destroy(), restTimings.fileMs);
  response.on('error', () => {});
  try {
    const asked = askedBy(request.method ?? '', request.url ?? '');
    if (asked === null) throw new NotKept(400, "that is no question of restic's");
    await answered(asked, request, response, files, scope);
  } catch (error) {
    refuse(request, response, error);
    await drained(request);
  } finally {
    clearTimeout(deadline);
  }
}

/** What of a refused file is on its way is nobody's. Closed over unread bytes the connection would be reset, and the reason lost. */
async function drained(request: IncomingMessage): Promise<void> {
  if (request.complete || request.destroyed) return;
  if (Number(request.headers['content-length'] ?? 0) > drainMost) return void request.socket.destroySoon();
  request.resume();
  await once(request, 'close').catch(() => {});
}

/** A reason in words. */
function refuse(request: IncomingMessage, response: ServerResponse, error: unknown): void {
  if (response.headersSent || response.destroyed) return void request.socket.destroy();
  const status = error instanceof NotKept ? error.status : 500;
  const text = Buffer.from(sentenceOf(error).slice(0, 1000));
  response.writeHead(status, { 'content-type': 'text/plain; charset=utf-8', 'content-length': text.length });
  response.end(request.method === 'HEAD' ? undefined : text);
}

async function answered(
  asked: Asked,
  request: IncomingMessage,
  response: ServerResponse,
  files: KeptFiles,
  scope: Scope,
): Promise<void> {
  const type = asked.kind === 'file' ? asked.one.type : asked.kind === 'list' ? asked.type : 'config';
  if (scope === 'begin' && !begins.has(type))
    throw new NotKept(403, 'the mesh has not agreed yet that backups come here');
  if (asked.kind === 'make') return void response.writeHead(200).end();
  if (asked.kind === 'list') return listed(response, files, asked.type);
  const { one } = asked;
  switch (request.method) {
    case 'HEAD':
    case 'GET':
      return sent(request, response, files, one);
    case 'POST': {
      const bytes = Number(request.headers['content-length'] ?? Number.NaN);
      if (!Number.isSafeInteger(bytes)) throw new NotKept(411, 'how long it is was not said');
      // A refusal in its midst must not end the connection before it is told.
      await files.put(one, bytes, request.iterator({ destroyOnReturn: false }));
      return void response.writeHead(200).end();
    }
    case 'DELETE':
      if (!(await files.remove(one))) throw new NotKept(404, 'there is none');
      return void response.writeHead(200).end();
    default:
      throw new NotKept(405, "that is no question of restic's");
  }
}

async function listed(response: ServerResponse, files: KeptFiles, type: KeptType): Promise<void> {
  const pieces = listText(files.list(type));
  let text = '';
  let next = await pieces.next();
  for (; !next.done && text.length < restLimits.wholeListBytes; next = await pieces.next()) text += next.value;
  const isWhole = next.done === true;
  response.writeHead(200, { 'content-type': listing, ...(isWhole && { 'content-length': text.length }) });
  if (isWhole) return void response.end(text);
  response.write(text + next.value);
  await pipeline(Readable.from(pieces, { objectMode: false }), response);
}

/** A list of JSON, some at a time. */
async function* listText(rows: AsyncIterable<object>): AsyncGenerator<string> {
  let [text, rest] = ['[', ''];
  for await (const row of rows) {
    text += rest + JSON.stringify(row);
    rest = ',';
    if (text.length < 32_768) continue;
    yield text;
    text = '';
  }
  yield `${text}]`;
}

async function sent(
  request: IncomingMessage,
  response: ServerResponse,
  files: KeptFiles,
  one: KeptName,
): Promise<void> {
  const size = await files.sizeOf(one);
  if (size === null) throw new NotKept(404, 'there is none');
  const range = rangeOf(request.headers.range, size);
  const bytes = range === null ? size : range.to - range.from + 1;
  response.writeHead(range === null ? 200 : 206, {
    'content-type': 'application/octet-stream',
    'content-length': bytes,
    ...(range && { 'content-range': `bytes ${range.from}-${range.to}/${size}` }),
  });
  if (request.method === 'HEAD' || bytes === 0) return void response.end();
  const stream = await files.bytes(one, range?.from ?? 0, range?.to ?? size - 1);
  if (stream === null) throw new NotKept(404, 'there is none');
  await pipeline(stream, response);
}

/** Null: all of it. `to` counts too. */
function rangeOf(header: string | undefined, size: number): { from: number; to: number } | null {
  if (header === undefined) return null;
  const [, first, last] = /^bytes=(\d{1,15})-(\d{0,15})$/.exec(header) ?? [];
  const from = Number(first ?? Number.NaN);
  const to = last === '' || last === undefined ? size - 1 : Math.min(Number(last), size - 1);
  if (!(from <= to)) throw new NotKept(416, 'it has no such bytes');
  return { from, to };
}
