import { chmodSync, chownSync, lstatSync, unlinkSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { connect } from 'node:net';
import { dirname } from 'node:path';
import { AutogitError } from '../../protocol/errors.ts';
import { stackOf } from '../source-positions.ts';
import { socketAccess } from '../store/home.ts';
import type { AgentApi } from './agent-api.ts';
import { bodyOf, drained } from './http-body.ts';
import { type ApiAnswer, allRoutes, answerRequest, type Routes, refusal, refusalOf } from './routes.ts';
import { callerOf, pidHeader } from './socket-caller.ts';
import { socketVersion, versionHeader } from './socket-queries.ts';

interface ServeSocketOptions {
  path: string;
  api: AgentApi;
  log: { warn(sentence: string): void; error(sentence: string): void };
  /** Who may use it (home.ts, `socketAccess`); without it what that says of the socket's folder. */
  access?: { mode: number; group: number | null };
}

export interface SocketServer {
  close(): Promise<void>;
}

/** sun_path of Linux, less the closing zero byte. */
const longestPath = 107;
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
  const routes = allRoutes(api);
  server.on('request', (request, response) => {
    answer(api, routes, request, response).catch((error) => fail(response, error, log));
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

async function answer(
  api: AgentApi,
  routes: Routes,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  response.setHeader(versionHeader, socketVersion);
  const gone = new AbortController();
  response.once('close', () => gone.abort());
  request.once('aborted', () => gone.abort());
  const url = new URL(request.url ?? '/', 'http://agent');
  const isOurs = request.headers[versionHeader] === socketVersion || !Object.hasOwn(routes, url.pathname);
  const said = isOurs
    ? await answerRequest(api, routes, {
        method: request.method ?? '',
        path: url.pathname,
        query: url.searchParams,
        body: () => bodyOf(request),
        signal: gone.signal,
        who: () => callerOf(request.headers[pidHeader]),
      })
    : refusal(400, 'bad-message', `say the version of the socket: ${versionHeader}: ${socketVersion}`);
  if ('text' in said) await stream(said.text, response, gone.signal);
  else send(response, said);
}

/** Text as it comes; ends when the agent says so, or as soon as the caller hangs up. */
async function stream(text: AsyncIterable<string>, response: ServerResponse, signal: AbortSignal): Promise<void> {
  response.setHeader('content-type', 'text/plain; charset=utf-8');
  for await (const part of text) {
    if (signal.aborted) break;
    if (!response.write(part)) await drained(response, signal);
  }
  response.end();
}

function send(response: ServerResponse, said: Extract<ApiAnswer, { json: unknown }>): void {
  const text = JSON.stringify(said.json);
  if (said.tag !== undefined) response.setHeader('etag', `"${said.tag}"`);
  if (said.allow !== undefined) response.setHeader('allow', said.allow);
  if (said.status >= 400) response.setHeader('connection', 'close');
  response.writeHead(said.status, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) });
  response.end(text);
}

/** In the middle of a stream only the cut connection can tell; before its first word it may still be refused. */
function fail(response: ServerResponse, error: unknown, log: ServeSocketOptions['log']): void {
  if (response.headersSent || response.destroyed) return void response.destroy();
  if (error instanceof AutogitError) return send(response, refusalOf(error));
  log.error(`agent.sock: ${stackOf(error)}`);
  send(response, refusal(500, 'internal', 'the agent failed at this', 'autogit-node logs'));
}
