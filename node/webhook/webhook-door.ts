import { once } from 'node:events';
import { createServer, type IncomingMessage, type RequestListener, type Server, type ServerResponse } from 'node:http';
import type https from 'node:https';
import type { BlockList, Socket } from 'node:net';
import { AutogitError, sentenceOf } from '../../protocol/errors.ts';
import { ClientShare, clientOf } from '../hosting/gate/client-share.ts';
import { SourceRates } from '../source-rates.ts';
import { isAllowed } from './allowed-sources.ts';
import {
  type BodyRead,
  deliveryLimits,
  type Judged,
  judgeBody,
  judgeHead,
  judgeToken,
  newMemory,
  type RefusalKind,
  type Refused,
  type Signed,
} from './webhook-delivery.ts';
import { type DoorSecrets, signing } from './webhook-secrets.ts';

/** GitLab gives up on a delivery after 10 s. */
export const doorLimits = {
  headMs: 5_000,
  wholeMs: 10_000,
  restMs: 5_000,
  connections: 64,
  /** Deliveries of one source: 60 at once, and one more each second. */
  rate: { burst: 60, refillMs: 1_000, sources: 1024 },
  headerBytes: 16_384,
  /** Of a refused body so much is read all the same, so that the reason is heard: GitLab sends no longer ones. */
  drainBytes: 25_000_000,
};

/** What Node says of a request that never was a whole one. */
const brokenBy: Readonly<Record<string, readonly [status: string, because: string]>> = {
  ERR_HTTP_REQUEST_TIMEOUT: ['408 Request Timeout', 'it came too slowly'],
  HPE_HEADER_OVERFLOW: ['431 Request Header Fields Too Large', 'its headers are too long'],
};

interface DoorOptions {
  host: string;
  port: number;
  /** Certificate with its chain and key, as PEM; null: plain HTTP. */
  pem: string | null;
  /** Null: from anywhere. */
  allow: BlockList | null;
  /** Null: no GitLab, or this machine has not its token. */
  secrets(): DoorSecrets | null;
  /** A hint; answers what comes of it. */
  onHint(): string;
  onRefused(because: string, from: string): void;
  wallMs(): number;
}

/** Since the door opened. */
export interface DoorCounts {
  /** Wall time, ms, of the last delivery that had the secret. */
  lastAt: number | null;
  hints: number;
  ignored: number;
  refused: Partial<Record<RefusalKind, number>>;
  lastRefusal: string | null;
}

/** The door for GitLab's webhooks. Nothing but `onHint` comes of whatever is sent to it. */
export class WebhookDoor {
  readonly #options: DoorOptions;
  readonly #server: Server;
  readonly #share = new ClientShare(doorLimits.connections);
  readonly #rates = new SourceRates(doorLimits.rate);
  #memory = newMemory();
  #memoryOf: string | null = null;
  readonly counts: DoorCounts = { lastAt: null, hints: 0, ignored: 0, refused: {}, lastRefusal: null };

  private constructor(options: DoorOptions) {
    this.#options = options;
    this.#server = this.#made((request, response) => void this.#answer(request, response));
    this.#server.maxConnections = doorLimits.connections;
    this.#server.maxRequestsPerSocket = 100;
    this.#server.on('connection', (socket: Socket) => this.#entered(socket));
    this.#server.on('clientError', (error: NodeJS.ErrnoException, socket) => {
      const [status, because] = brokenBy[error.code ?? ''] ?? ['400 Bad Request', 'it is no HTTP'];
      const from = 'remoteAddress' in socket ? String(socket.remoteAddress ?? '') : '';
      // One that ends without a word is no refusal.
      if (error.code !== 'ECONNRESET')
        this.#refuse({ kind: 'refused', status: Number.parseInt(status, 10), why: 'form', because }, from);
      if (socket.writable) socket.end(`HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
      else socket.destroy();
    });
  }

  /** Listens. Throws `port-taken`, or `bad-config` for a certificate that is none. */
  static async open(options: DoorOptions): Promise<WebhookDoor> {
    let door: WebhookDoor;
    try {
      door = new WebhookDoor(options);
    } catch (cause) {
      throw new AutogitError('bad-config', `the door for webhooks has no usable certificate: ${sentenceOf(cause)}`, {
        cause,
        hint: 'one file of PEM with the certificate, its chain and its key without a password',
      });
    }
    door.#server.listen(options.port, options.host);
    try {
      await once(door.#server, 'listening');
    } catch (cause) {
      throw new AutogitError(
        'port-taken',
        `the door for webhooks cannot listen on ${options.host}:${options.port}: ${sentenceOf(cause)}`,
        { cause, hint: 'name another: --webhook HOST:PORT' },
      );
    }
    // Such as too many open files: the next connection may find room.
    door.#server.on('error', () => {});
    return door;
  }

  get port(): number {
    const address = this.#server.address();
    return address !== null && typeof address === 'object' ? address.port : this.#options.port;
  }

  async close(): Promise<void> {
    const closed = once(this.#server, 'close');
    this.#server.close();
    this.#server.closeAllConnections();
    await closed;
  }

  /** Throws where it is no certificate; the one of before is served on then. */
  renew(pem: string): void {
    if ('setSecureContext' in this.#server) (this.#server as https.Server).setSecureContext({ cert: pem, key: pem });
  }

  #made(listener: RequestListener): Server {
    const { headMs, wholeMs, restMs, headerBytes } = doorLimits;
    const limits = {
      headersTimeout: headMs,
      requestTimeout: wholeMs,
      keepAliveTimeout: restMs,
      connectionsCheckingInterval: 500,
      maxHeaderSize: headerBytes,
    };
    const { pem } = this.#options;
    if (pem === null) return createServer(limits, listener);
    const { createServer: secure }: typeof https = process.getBuiltinModule('node:https');
    return secure({ ...limits, cert: pem, key: pem, handshakeTimeout: headMs }, listener);
  }

  #entered(socket: Socket): void {
    const client = clientOf(socket.remoteAddress ?? '');
    socket.on('error', () => {});
    if (!this.#share.enter(client)) {
      this.#refuse({ kind: 'refused', status: 0, why: 'rate', because: 'it has too many connections' }, client);
      return void socket.destroy();
    }
    socket.once('close', () => this.#share.leave(client));
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    response.on('error', () => {});
    const from = request.socket.remoteAddress ?? '';
    const deadline = setTimeout(() => request.socket.destroy(), doorLimits.wholeMs);
    try {
      const verdict = await this.#verdict(request, from);
      if (verdict === null) return void request.socket.destroy();
      const [status, said] = this.#count(verdict, from);
      if (response.destroyed) return;
      const isRead = request.complete || request.readableEnded;
      const text = Buffer.from(`${said}\n`);
      response.writeHead(status, {
        'content-type': 'text/plain; charset=utf-8',
        'content-length': text.length,
        ...(status === 429 && { 'retry-after': '60' }),
        ...(status === 405 && { allow: 'POST' }),
        ...(!isRead && { connection: 'close' }),
      });
      response.end(text);
      if (!isRead) await drained(request);
    } catch {
      request.socket.destroy();
    } finally {
      clearTimeout(deadline);
    }
  }

  /** Null: it broke off. */
  async #verdict(request: IncomingMessage, from: string): Promise<Judged | null> {
    const { allow, wallMs } = this.#options;
    const { headers } = request;
    const may = this.#rates.take(clientOf(from), performance.now());
    const tooMany: Refused = { kind: 'refused', status: 429, why: 'rate', because: 'more than 60 a minute' };
    if (allow !== null && !isAllowed(allow, from))
      return may
        ? { kind: 'refused', status: 403, why: 'address', because: 'its address is not among those of webhookAllow' }
        : tooMany;
    if (request.method !== 'POST')
      return may ? { kind: 'refused', status: 405, why: 'method', because: 'webhooks come by POST' } : tooMany;
    const secrets = this.#options.secrets();
    const stranger = judgeToken(headers, secrets);
    if (stranger !== null || secrets === null) return may ? stranger : tooMany;
    // GitLab switches a hook off that is refused several times: more than that are heard, but not read.
    if (!may) return { kind: 'hint', because: 'more than 60 events a minute' };
    if (this.#memoryOf !== secrets.token) [this.#memoryOf, this.#memory] = [secrets.token, newMemory()];
    const memory = this.#memory;
    const head = judgeHead(headers, memory, wallMs());
    if (head.kind === 'refused') return head;
    const body = await readBody(request, secrets.key, head.signed);
    if (body === 'cut') return null;
    if (body === 'long')
      return {
        kind: 'refused',
        status: 413,
        why: 'size',
        because: `it is larger than ${deliveryLimits.bodyBytes / 1e6} MB`,
      };
    return judgeBody(headers, head.signed, body, memory);
  }

  #count(verdict: Judged, from: string): [number, string] {
    if (verdict.kind === 'refused') {
      this.#refuse(verdict, from);
      return [verdict.status, `refused: ${verdict.because}`];
    }
    this.counts.lastAt = this.#options.wallMs();
    if (verdict.kind === 'ignored') {
      this.counts.ignored += 1;
      return [200, `ignored: ${verdict.because}`];
    }
    this.counts.hints += 1;
    return [200, this.#options.onHint()];
  }

  #refuse({ why, because }: Refused, from: string): void {
    this.counts.refused[why] = (this.counts.refused[why] ?? 0) + 1;
    this.counts.lastRefusal = because;
    this.#options.onRefused(because, from);
  }
}

/** Only the start of it stays in memory. */
async function readBody(
  request: IncomingMessage,
  key: Buffer,
  signed: Signed | null,
): Promise<BodyRead | 'cut' | 'long'> {
  const mac = signed === null ? null : signing(key, signed.id, signed.seconds);
  const parts: Buffer[] = [];
  let [bytes, kept] = [0, 0];
  try {
    for await (const part of request.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
      bytes += part.length;
      if (bytes > deliveryLimits.bodyBytes) return 'long';
      mac?.update(part);
      const more = part.subarray(0, deliveryLimits.parsedBytes - kept);
      kept += more.length;
      if (more.length > 0) parts.push(more);
    }
  } catch {
    return 'cut';
  }
  return { start: Buffer.concat(parts), bytes, mac: mac?.digest() ?? null };
}

/** Closed over unread bytes the connection would be reset, and the reason lost. */
function drained(request: IncomingMessage): Promise<void> {
  let bytes = 0;
  return new Promise((resolve) => {
    request.on('data', (part: Buffer) => {
      bytes += part.length;
      if (bytes > doorLimits.drainBytes) request.socket.destroy();
    });
    request.once('close', () => resolve());
    request.once('end', () => resolve());
    request.resume();
  });
}
