import { readFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { fileURLToPath } from 'node:url';
import type { TimelineEvent } from '../../protocol/history.ts';
import type { JobRow } from '../../protocol/job-rows.ts';
import type { StatusSnapshot } from '../../protocol/status.ts';
import { history, house, jobs, movePlan, timeline, trace, usage, why } from './sample-house.ts';

const files = fileURLToPath(new URL('../../dist/page/', import.meta.url));
const types: Record<string, string> = {
  'index.html': 'text/html; charset=utf-8',
  'page.js': 'text/javascript',
  'page.css': 'text/css',
  'icon.svg': 'image/svg+xml',
};

/** As strict as the agent's own. */
const policy =
  "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'";

/**
 * What an agent answers to its page, with a house of our own: GitLab with copies, strangers with names of markup, an agent that falls
 * silent. What a real agent can be made to show is tried with real ones.
 */
export class PlayedAgent {
  status: StatusSnapshot = house();
  jobs: JobRow[] = jobs();
  timeline: TimelineEvent[] = timeline();
  role: 'viewer' | 'operator' | 'owner' = 'owner';
  trace = trace;
  movePlan = movePlan;
  /** Nobody knows the session any more. */
  isOver = false;
  /** What was asked to be done, in order. */
  readonly acts: { name: string; body: unknown }[] = [];
  /** Every path that was asked for. */
  readonly asked: string[] = [];
  readonly #streams = new Set<ServerResponse>();
  readonly #sockets = new Set<Socket>();
  #server: Server | null = null;
  #port = 0;

  get url(): string {
    return `http://127.0.0.1:${this.#port}/p/`;
  }

  /** Connections for news that are open now. */
  get streams(): number {
    return this.#streams.size;
  }

  /** On the port of before, where it has had one. */
  async start(): Promise<void> {
    const server = createServer((request, response) => this.#answer(request, response));
    server.on('connection', (socket) => {
      this.#sockets.add(socket);
      socket.once('close', () => this.#sockets.delete(socket));
    });
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(this.#port, '127.0.0.1', resolve);
    });
    this.#server = server;
    this.#port = (server.address() as AddressInfo).port;
  }

  /** As when it is killed: every connection breaks. */
  async stop(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => (this.#server ? this.#server.close(resolve) : resolve(null)));
    this.#server = null;
  }

  say(event: 'status' | 'jobs' | 'timeline', data: unknown): void {
    for (const stream of this.#streams) stream.write(`event: ${event}\ndata: ${JSON.stringify(data)}\n\n`);
  }

  /** When nothing that was said waits for a browser any more. */
  async taken(): Promise<void> {
    for (const stream of this.#streams)
      if (stream.writableNeedDrain)
        await new Promise<void>((resolve) => {
          const goOn = (): void => {
            stream.off('drain', goOn).off('close', goOn);
            resolve();
          };
          stream.on('drain', goOn).on('close', goOn);
        });
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const url = new URL(request.url ?? '/', this.url);
    const path = url.pathname.replace(/^\/p\//, '');
    this.asked.push(path);
    if (!path.startsWith('api/')) return this.#file(path === '' ? 'index.html' : path, request, response);
    if (this.isOver)
      return json(response, 401, {
        error: { code: 'not-approved', message: 'no session', hint: 'autogit-node dashboard' },
      });
    const name = path.slice(4);
    if (name === 'events') return this.#stream(response);
    if (name === 'logs') return void response.writeHead(200, { 'content-type': 'text/plain' }).write(this.trace);
    if (name.startsWith('acts/')) return this.#act(name.slice(5), request, response);
    const job = Number(url.searchParams.get('job'));
    const until = new Date(Date.now() + 3_600_000).toISOString();
    const { seenFrom, mesh } = this.status;
    const answers: Record<string, () => unknown> = {
      me: () => ({ node: seenFrom, mesh: mesh.name, role: this.role, version: '0.1.0', until }),
      status: () => this.status,
      timeline: () => ({ events: this.timeline }),
      usage: () => usage(),
      'gitlab/history': () => ({ rows: history(), problem: null }),
      'gitlab/move-plan': () => this.movePlan(url.searchParams.get('to') ?? ''),
      why: () => ({ why: why(job) }),
    };
    const answer = answers[name];
    json(
      response,
      answer ? 200 : 404,
      answer ? answer() : { error: { code: 'bad-message', message: 'nothing here', hint: '' } },
    );
  }

  #stream(response: ServerResponse): void {
    response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' });
    for (const [event, data] of Object.entries({ status: this.status, jobs: { rows: this.jobs } }))
      response.write(`event: ${event}\ndata: ${JSON.stringify(data)}\n\n`);
    this.#streams.add(response);
    response.once('close', () => this.#streams.delete(response));
  }

  #act(name: string, request: IncomingMessage, response: ServerResponse): void {
    const pieces: Buffer[] = [];
    request.on('data', (piece: Buffer) => pieces.push(piece));
    request.on('end', () => {
      const isOurs = request.headers['x-autogit'] === 'page' && request.headers.origin === new URL(this.url).origin;
      if (!isOurs)
        return json(response, 403, { error: { code: 'bad-message', message: 'not from the page', hint: '' } });
      this.acts.push({ name, body: JSON.parse(Buffer.concat(pieces).toString()) });
      json(response, 200, { said: `${name} is done` });
    });
  }

  #file(name: string, request: IncomingMessage, response: ServerResponse): void {
    const type = types[name];
    if (type === undefined) return void response.writeHead(404).end();
    const isBrotli = String(request.headers['accept-encoding']).includes('br');
    const [ending, encoding] = isBrotli ? ['.br', 'br'] : ['.gz', 'gzip'];
    response.writeHead(200, { 'content-type': type, 'content-encoding': encoding, 'content-security-policy': policy });
    response.end(readFileSync(`${files}${name}${ending}`));
  }
}

function json(response: ServerResponse, status: number, value: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(value));
}
