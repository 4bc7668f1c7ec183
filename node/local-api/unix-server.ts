import { createHash } from 'node:crypto';
import { chmodSync, chownSync, lstatSync, unlinkSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { connect } from 'node:net';
import { dirname } from 'node:path';
import { z } from 'zod';
import { decode } from '../../protocol/codec.ts';
import { AutogitError, type ErrorCode } from '../../protocol/errors.ts';
import { limits } from '../../protocol/limits.ts';
import { socketAccess } from '../home.ts';
import { notApproved } from '../not-approved.ts';
import type { AgentApi } from '../ports.ts';
import { stackOf } from '../source-positions.ts';
import { bodies, type Failure, queries, socketVersion, versionHeader } from './socket-protocol.ts';

export interface ServeSocketOptions {
  path: string;
  api: AgentApi;
  log: { warn(sentence: string): void; error(sentence: string): void };
  /** Who may use it (home.ts, `socketAccess`); without it what that says of the socket's folder. */
  access?: { mode: number; group: number | null };
}

export interface SocketServer {
  close(): Promise<void>;
}

/** A blocked `status` looks every 100 ms whether something changed: not all that it shows is told by an event. */
const lookAgain = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 100));
/** sun_path of Linux, less the closing zero byte. */
const longestPath = 107;
const httpStatus: Partial<Record<ErrorCode, number>> = {
  'bad-message': 400,
  'frame-too-large': 413,
  'not-approved': 409,
  'no-leader': 503,
  'timed-out': 504,
};

/**
 * Serves agent.sock. The socket is made with its final permissions (umask), so nobody else can connect in between; what
 * a dead agent left is replaced, a live agent's is not. Throws `agent-running` or `home-unwritable`.
 */
export async function serveSocket(options: ServeSocketOptions): Promise<SocketServer> {
  const { path, api, log, access = socketAccess(dirname(path)) } = options;
  if (Buffer.byteLength(path) > longestPath)
    throw new AutogitError('home-unwritable', `the path of the socket is longer than ${longestPath} bytes: ${path}`, {
      hint: 'choose a shorter home: --home DIR',
    });
  await removeStale(path);
  const server = createServer({ maxHeaderSize: 8 << 10, headersTimeout: 5_000, requestTimeout: 10_000 });
  server.maxConnections = 64;
  const all = routes(api);
  server.on('request', (request, response) => {
    answer(api, all, request, response).catch((error) => fail(response, error, log));
  });
  server.on('clientError', (_error, socket) => {
    if (socket.writable) socket.end('HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n');
    else socket.destroy();
  });
  await listen(server, path, access);
  return {
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

function listen(
  server: ReturnType<typeof createServer>,
  path: string,
  { mode, group }: { mode: number; group: number | null },
): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (cause: NodeJS.ErrnoException) => {
      const taken = cause.code === 'EADDRINUSE';
      reject(new AutogitError(taken ? 'agent-running' : 'home-unwritable', `${path}: ${cause.message}`, { cause }));
    });
    // The kernel makes the socket inside listen(), in this very tick: the umask is the permission it is born with.
    const before = process.umask(0o177);
    try {
      server.listen(path, () => resolve());
    } finally {
      process.umask(before);
    }
    // It did not bind: the error event says why.
    if (!server.listening) return;
    if (group !== null) chownSync(path, process.getuid?.() ?? 0, group);
    chmodSync(path, mode);
  });
}

/** Removes a socket that nobody answers on. Throws `agent-running` when somebody does. */
async function removeStale(path: string): Promise<void> {
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (!found) return;
  if (!found.isSocket())
    throw new AutogitError('home-unwritable', `${path} is there and is no socket`, {
      hint: `move it away: mv ${path} ${path}.old`,
    });
  const isAlive = await new Promise<boolean>((resolve) => {
    const socket = connect(path);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', (error: NodeJS.ErrnoException) =>
      resolve(error.code !== 'ECONNREFUSED' && error.code !== 'ENOENT'),
    );
  });
  if (isAlive) throw new AutogitError('agent-running', `an agent answers on ${path}`);
  unlinkSync(path);
}

type Handler = (request: IncomingMessage, response: ServerResponse, url: URL) => Promise<void>;
interface Route {
  method: 'GET' | 'POST';
  /** May be asked while the machine waits for its approval. */
  early?: boolean;
  handle: Handler;
}

async function answer(
  api: AgentApi,
  all: Record<string, Route>,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  response.setHeader(versionHeader, socketVersion);
  const url = new URL(request.url ?? '/', 'http://agent');
  const found = all[url.pathname];
  if (!found)
    return send(response, 404, failure('bad-message', `the agent has nothing at ${url.pathname.slice(0, 100)}`));
  if (request.headers[versionHeader] !== socketVersion)
    return send(
      response,
      400,
      failure('bad-message', `say the version of the socket: ${versionHeader}: ${socketVersion}`),
    );
  if (request.method !== found.method) {
    response.setHeader('allow', found.method);
    return send(response, 405, failure('bad-message', `${url.pathname} takes ${found.method}`));
  }
  if (!found.early) refuseWhileWaiting(api);
  await found.handle(request, response, url);
}

function refuseWhileWaiting(api: AgentApi): void {
  const phase = api.phase();
  if (phase.phase === 'joined') return;
  throw notApproved(phase);
}

function routes(api: AgentApi): Record<string, Route> {
  const get = (handle: Handler, early = false): Route => ({ method: 'GET', handle, early });
  const post = (handle: Handler, early = false): Route => ({ method: 'POST', handle, early });
  return {
    '/v1/phase': get(async (_request, response, url) => {
      query(queries.phase, url);
      send(response, 200, api.phase());
    }, true),
    '/v1/status': get(
      (_request, response, url) => sendNews(query(queries.status, url), response, () => api.status(), lookAgain),
      true,
    ),
    '/v1/jobs': get(async (_request, response, url) =>
      send(response, 200, await api.jobs(query(queries.jobs, url).all)),
    ),
    '/v1/why': get(async (_request, response, url) =>
      send(response, 200, { why: await api.why(query(queries.why, url).job) }),
    ),
    '/v1/settings': get((_request, response, url) =>
      sendNews(
        query(queries.settings, url),
        response,
        () => api.settings(),
        (leftMs, signal) => api.nextCommit(leftMs, signal),
      ),
    ),
    '/v1/recovery': get(async (_request, response, url) => {
      query(queries.recovery, url);
      send(response, 200, api.recovery());
    }),
    '/v1/recover': post(async (request, response) => {
      send(response, 200, await api.recover((await body(bodies.recover, request)).off));
    }),
    '/v1/logs': get(async (request, response, url) => logs(api, request, response, query(queries.logs, url))),
    '/v1/change': post(async (request, response) => {
      const { change } = await body(bodies.change, request);
      send(response, 200, await api.change(change));
    }),
    '/v1/invite': post(async (request, response) => {
      send(response, 200, await api.invite((await body(bodies.invite, request)).ttlMs));
    }),
    '/v1/gitlab/connect': post(async (request, response) => {
      send(response, 200, await api.gitlabConnect(await body(bodies.gitlabConnect, request)));
    }),
    '/v1/gitlab/disconnect': post(async (request, response) => {
      send(response, 200, await api.gitlabDisconnect(await body(bodies.gitlabDisconnect, request)));
    }),
    '/v1/wish': post(async (request, response) => {
      send(response, 200, await api.wish(await body(bodies.wish, request)));
    }),
    '/v1/pause': post(async (request, response) => {
      const { what, forMs, now = false } = await body(bodies.pause, request);
      send(response, 200, { said: await api.pause(what, forMs, now) });
    }),
    '/v1/resume': post(async (request, response) => {
      send(response, 200, { said: await api.resume((await body(bodies.resume, request)).what) });
    }),
    '/v1/leave': post(async (request, response) => {
      await body(bodies.leave, request);
      send(response, 200, { said: await api.leave() });
    }, true),
  };
}

/** Changes when something in the answer did that is not merely its age. */
export function tagOf(value: unknown): string {
  const still = JSON.stringify(value, (key, part) => (['at', 'ageMs', 'lastHeardMs'].includes(key) ? undefined : part));
  return createHash('sha256').update(still).digest('base64url').slice(0, 22);
}

/** Sends what `look` finds as soon as it is not what the caller has already, or when the caller's wait is over. */
async function sendNews(
  { wait = 0, tag }: { wait?: number | undefined; tag?: string | undefined },
  response: ServerResponse,
  look: () => unknown,
  pause: (leftMs: number, signal: AbortSignal) => Promise<void>,
): Promise<void> {
  const gone = new AbortController();
  response.once('close', () => gone.abort());
  const end = performance.now() + wait;
  let value = look();
  while (tag !== undefined && tagOf(value) === tag && performance.now() < end && !gone.signal.aborted) {
    await pause(end - performance.now(), gone.signal);
    value = look();
  }
  response.setHeader('etag', `"${tagOf(value)}"`);
  send(response, 200, value);
}

/** Streams text as it comes; ends when the agent says so, or as soon as the caller hangs up. */
async function logs(
  api: AgentApi,
  request: IncomingMessage,
  response: ServerResponse,
  { job, node, follow }: { job?: number | undefined; node?: string | undefined; follow: boolean },
): Promise<void> {
  const gone = new AbortController();
  response.once('close', () => gone.abort());
  request.once('aborted', () => gone.abort());
  response.setHeader('content-type', 'text/plain; charset=utf-8');
  for await (const text of api.logs({ job: job ?? null, node: node ?? null, follow }, gone.signal)) {
    if (gone.signal.aborted) break;
    if (!response.write(text)) await drained(response, gone.signal);
  }
  response.end();
}

function drained(response: ServerResponse, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    response.once('drain', resolve);
    signal.addEventListener('abort', () => resolve(), { once: true });
  });
}

function query<S extends z.ZodType>(schema: S, url: URL): z.output<S> {
  const parsed = schema.safeParse(Object.fromEntries(url.searchParams));
  if (parsed.success) return parsed.data;
  throw new AutogitError(
    'bad-message',
    `the query is not of the agreed form: ${z.prettifyError(parsed.error).slice(0, 300)}`,
  );
}

async function body<S extends z.ZodType>(schema: S, request: IncomingMessage): Promise<z.output<S>> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > limits.socketRequestBytes)
      throw new AutogitError('frame-too-large', `a request has at most ${limits.socketRequestBytes} bytes`);
    chunks.push(chunk);
  }
  return decode(schema, Buffer.concat(chunks), limits.socketRequestBytes);
}

const failure = (
  code: ErrorCode,
  message: string,
  hint = 'the command and the agent may be of different versions',
): Failure => ({
  error: { code, message: message.slice(0, limits.sentenceChars), hint: hint.slice(0, limits.sentenceChars) },
});

function send(response: ServerResponse, code: number, value: unknown): void {
  const text = JSON.stringify(value);
  response.writeHead(code, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) });
  response.end(text);
}

/** A failure as JSON; in the middle of a stream only the cut connection can tell. */
function fail(response: ServerResponse, error: unknown, log: ServeSocketOptions['log']): void {
  if (response.headersSent || response.destroyed) return void response.destroy();
  response.setHeader('connection', 'close');
  if (error instanceof AutogitError) {
    send(response, httpStatus[error.code] ?? 500, failure(error.code, error.message, error.hint));
    return;
  }
  log.error(`agent.sock: ${stackOf(error)}`);
  send(response, 500, { error: { code: 'internal', message: 'the agent failed at this', hint: 'autogit-node logs' } });
}
