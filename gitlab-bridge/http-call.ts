import http, { type IncomingHttpHeaders, type IncomingMessage } from 'node:http';
import type https from 'node:https';
import { countCall } from './call-tally.ts';
import { ownCaOf } from './own-ca.ts';
import { lookupOf, ownPlaceOf } from './own-place.ts';

/**
 * One HTTP call with a limit on everything. Written on node:http because the callers must know whether a request that
 * failed had gone out (a job may then be taken, SAFETY J3), which `fetch` does not tell.
 */
interface CallRequest {
  method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  url: string;
  headers?: Record<string, string>;
  /** `open`: what goes out chunk by chunk; each is sent before the next one is asked for, so its memory may be used again. */
  body?: string | Uint8Array | { open: () => AsyncIterable<Uint8Array>; lengthBytes: number };
  /** ms for the whole call; for `openCall` and streamed bodies it limits silence on the wire instead. */
  timeoutMs: number;
  /** Most bytes of an answer's body that are read; more is a failure. */
  limitBytes?: number;
  signal?: AbortSignal | undefined;
  /** A connection of its own: a kept one may have been closed by the server, and then nobody knows what was done. */
  fresh?: boolean;
}

export interface CallReply {
  status: number;
  headers: IncomingHttpHeaders;
  body: Buffer;
}

/** The call brought no whole answer. `sent`: the request may have reached the server. `status`: an answer had begun. */
export class CallFailure extends Error {
  override readonly name = 'CallFailure';
  readonly sent: boolean;
  readonly status: number | null;
  constructor(message: string, more: { sent: boolean; status: number | null; cause?: unknown }) {
    super(message, { cause: more.cause });
    this.sent = more.sent;
    this.status = more.status;
  }
}

const defaultLimitBytes = 4 << 20;
const keeping = { keepAlive: true, maxSockets: 16, maxFreeSockets: 4, timeout: 60_000 };

/** How a kind of address is called, and the connections that are kept. */
interface Way {
  request: typeof http.request;
  kept: http.Agent;
  /** What its socket says when bytes go out. */
  ready: 'connect' | 'secureConnect';
}
const plain: Way = { request: http.request, kept: new http.Agent(keeping), ready: 'connect' };
let secure: Way | null = null;

/** Node's TLS is loaded with the first call that needs it: 1 MiB of an agent, of which only the leader and who runs a job call GitLab. */
function wayTo(url: URL): Way {
  if (url.protocol !== 'https:') return plain;
  if (secure === null) {
    const { request, Agent }: typeof https = process.getBuiltinModule('node:https');
    secure = { request, kept: new Agent(keeping), ready: 'secureConnect' };
  }
  return secure;
}

/** Opens a call and answers when the head is there; the caller reads or destroys `body`. Throws CallFailure. */
export async function openCall(
  request: CallRequest,
): Promise<{ status: number; headers: IncomingHttpHeaders; body: IncomingMessage }> {
  try {
    return await attempt(request, request.fresh === true);
  } catch (error) {
    const isStale = error instanceof StaleSocket;
    if (!isStale) throw error;
    return await attempt(request, true);
  }
}

/** A kept connection that the server had closed meanwhile: only callers whose call may be repeated use kept ones. */
class StaleSocket extends CallFailure {}

function headersOf(request: CallRequest): Record<string, string> {
  const { body } = request;
  const length =
    body === undefined
      ? request.method === 'GET'
        ? undefined
        : 0
      : typeof body === 'string'
        ? Buffer.byteLength(body)
        : 'open' in body
          ? body.lengthBytes
          : body.byteLength;
  // A proxy that compresses unasked breaks lengths and zips.
  return {
    'Accept-Encoding': 'identity',
    ...request.headers,
    ...(length === undefined ? {} : { 'Content-Length': String(length) }),
  };
}

function attempt(
  request: CallRequest,
  isFresh: boolean,
): Promise<{ status: number; headers: IncomingHttpHeaders; body: IncomingMessage }> {
  return new Promise((resolve, reject) => {
    let url: URL;
    try {
      url = new URL(request.url);
    } catch (cause) {
      return reject(new CallFailure(`${request.url} is no address`, { sent: false, status: null, cause }));
    }
    let sent = false;
    let isAnswered = false;
    const failed = (message: string, cause?: unknown): CallFailure => {
      const more = { sent, status: null, cause };
      const isStale = !isFresh && req.reusedSocket && sent && !request.signal?.aborted;
      return isStale ? new StaleSocket(message, more) : new CallFailure(message, more);
    };
    const began = performance.now();
    const ended = (status: number | null): void => countCall(url.pathname, status, performance.now() - began);
    const [way, ca, place] = [wayTo(url), ownCaOf(request.url), ownPlaceOf(request.url)];
    const req = way.request(url, {
      method: request.method,
      headers: headersOf(request),
      agent: isFresh ? false : way.kept,
      ...(request.signal ? { signal: request.signal } : {}),
      ...(ca === null ? {} : { ca: ca.pem }),
      ...(place === null ? {} : { lookup: lookupOf(place) }),
    });
    req.setTimeout(request.timeoutMs, () =>
      req.destroy(new Error(`no sign of life for ${request.timeoutMs} ms from ${url.host}`)),
    );
    req.on('socket', (socket) => {
      if (!socket.connecting) sent = true;
      else
        socket.once(way.ready, () => {
          sent = true;
        });
    });
    req.on('error', (error) => {
      const failure = failed(`${url.host}: ${reasonOf(error)}`, error);
      // One that is tried again, or that we gave up ourselves, says nothing of GitLab.
      if (!isAnswered && !(failure instanceof StaleSocket) && !isGivenUp(request.signal)) ended(null);
      reject(failure);
    });
    req.on('response', (body) => {
      isAnswered = true;
      ended(body.statusCode ?? null);
      resolve({ status: body.statusCode ?? 0, headers: body.headers, body });
    });
    const { body } = request;
    if (body === undefined) req.end();
    else if (typeof body === 'string' || body instanceof Uint8Array) req.end(body);
    else void sendChunks(req, body.open());
  });
}

/** Ends the call where the body breaks, and reads no more of it once the call has ended. */
async function sendChunks(req: http.ClientRequest, chunks: AsyncIterable<Uint8Array>): Promise<void> {
  let isOver = false;
  let go = (): void => undefined;
  req.once('close', () => {
    isOver = true;
    go();
  });
  try {
    for await (const chunk of chunks) {
      if (isOver) return;
      await new Promise<void>((sent) => {
        go = sent;
        req.write(chunk, () => sent());
      });
    }
    if (!isOver) req.end();
  } catch (error) {
    req.destroy(error as Error);
  }
}

/** A whole call. Throws CallFailure when there was no whole answer within the limits. */
export async function call(request: CallRequest): Promise<CallReply> {
  const isStreamed = typeof request.body === 'object' && 'open' in request.body;
  // A timer of our own: Node 20 may collect `AbortSignal.any` of a timeout signal before it fires.
  const deadline = new AbortController();
  const cut = (): void => deadline.abort(request.signal?.reason);
  const timer = isStreamed ? null : setTimeout(() => deadline.abort(timedOut()), request.timeoutMs);
  if (request.signal?.aborted) cut();
  request.signal?.addEventListener('abort', cut, { once: true });
  try {
    return await wholeReply(request, await openCall({ ...request, signal: deadline.signal }));
  } finally {
    if (timer) clearTimeout(timer);
    request.signal?.removeEventListener('abort', cut);
  }
}

/** By whoever called, not by the deadline of the call. */
const isGivenUp = (signal: AbortSignal | undefined): boolean =>
  signal?.aborted === true && (signal.reason as Error | undefined)?.name !== 'TimeoutError';
const timedOut = (): Error => new DOMException('no answer in time', 'TimeoutError');

async function wholeReply(request: CallRequest, reply: Awaited<ReturnType<typeof openCall>>): Promise<CallReply> {
  const { status, headers, body } = reply;
  const limit = request.limitBytes ?? defaultLimitBytes;
  const parts: Buffer[] = [];
  let size = 0;
  try {
    for await (const part of body as AsyncIterable<Buffer>) {
      size += part.byteLength;
      if (size > limit) throw new Error(`the answer is longer than ${limit} bytes`);
      parts.push(part);
    }
    if (!body.complete) throw new Error('the answer was cut off');
  } catch (cause) {
    throw new CallFailure(`${new URL(request.url).host}: ${reasonOf(cause)}`, { sent: true, status, cause });
  }
  return { status, headers, body: Buffer.concat(parts) };
}

/** The sentence of a failed call, without the noise of nested errors. */
export function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  if (error.name === 'TimeoutError') return 'no answer in time';
  if (error.name === 'AbortError') return error.cause instanceof Error ? reasonOf(error.cause) : 'given up';
  const code = (error as NodeJS.ErrnoException).code;
  if (code === 'ECONNREFUSED') return 'connection refused';
  if (code === 'ECONNRESET') return 'the connection was cut';
  if (code === 'ENOTFOUND' || code === 'EAI_AGAIN') return 'the name does not resolve';
  if (error instanceof AggregateError && error.errors.length > 0) return reasonOf(error.errors[0]);
  return error.message || code || error.name;
}

/** One header as a string. */
export function headerOf(headers: IncomingHttpHeaders, name: string): string | null {
  const value = headers[name.toLowerCase()];
  return value === undefined ? null : Array.isArray(value) ? (value[0] ?? null) : value;
}

export function isJson(headers: IncomingHttpHeaders): boolean {
  return /^application\/([a-z0-9.+-]*\+)?json\b/i.test(headerOf(headers, 'content-type') ?? '');
}

export function isHtml(headers: IncomingHttpHeaders): boolean {
  return /^text\/html\b/i.test(headerOf(headers, 'content-type') ?? '');
}

/** The same may work later: a GitLab that is overloaded or starts, or the page of a proxy in front of it. */
export const mayWorkLater = ({ status, headers }: Pick<CallReply, 'status' | 'headers'>): boolean =>
  status >= 500 || status === 429 || isHtml(headers);

/** GitLab itself says that there is none of that, or none that the caller may see. */
export const isMissing = ({ status, headers }: Pick<CallReply, 'status' | 'headers'>): boolean =>
  status === 404 && !isHtml(headers);

/** Null for what is no JSON. */
export function jsonOf(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString('utf8'));
  } catch {
    return null;
  }
}

/** What `Retry-After` asks for, in seconds or as a date; null without one. At most an hour: nobody means more. */
export function retryAfterMs(headers: IncomingHttpHeaders): number | null {
  const text = headerOf(headers, 'retry-after')?.trim() ?? '';
  const asked = /^\d{1,9}$/.test(text) ? Number(text) * 1000 : /[a-z]/i.test(text) ? Date.parse(text) - Date.now() : 0;
  return asked > 0 ? Math.min(asked, 3_600_000) : null;
}
