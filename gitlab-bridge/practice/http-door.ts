import { createReadStream, statSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { pipeline } from 'node:stream/promises';
import { type Answer, type Call, parseBody, type Route, readBody } from './api-call.ts';
import { practiceVersion, standInSentence } from './practice-identity.ts';
import { Refusal } from './refusal.ts';

interface Compiled {
  route: Route;
  segments: string[];
}

interface DoorOptions {
  routes: Route[];
  /** ms to wait before an answer, by kind of route (`--pace real`). */
  paceMs(kind: Route['kind']): number;
  base(request: IncomingMessage): string;
  /** After every handler, before the answer leaves: what it changed is written to disk. */
  flush(): void;
  log(line: string): void;
  /** For what no route matches, with the path decoded; null = 404. */
  fallback(call: Call & { path: string }): Promise<Answer | null>;
  stopping: AbortSignal;
}

const decoded = (segment: string): string => {
  try {
    return decodeURIComponent(segment);
  } catch {
    throw new Refusal(400, { message: '400 Bad request - the path is not decodable' });
  }
};

const match = (
  compiled: Compiled[],
  method: string,
  segments: string[],
): { route: Route; params: Call['params'] } | 'other-method' | null => {
  let other = false;
  for (const { route, segments: pattern } of compiled) {
    if (pattern.length !== segments.length) continue;
    if (!pattern.every((part, at) => part.startsWith(':') || part === segments[at])) continue;
    if (route.method !== method) {
      other = true;
      continue;
    }
    const params: Call['params'] = {};
    for (const [at, part] of pattern.entries())
      if (part.startsWith(':')) params[part.slice(1)] = decoded(segments[at] as string);
    return { route, params };
  }
  return other ? 'other-method' : null;
};

const send = async (call: Call, answer: Answer): Promise<void> => {
  if ('handled' in answer) return;
  const { response } = call;
  for (const [name, value] of Object.entries(answer.headers ?? {})) response.setHeader(name, value);
  response.statusCode = answer.status;
  if ('empty' in answer) {
    response.end();
    return;
  }
  if ('file' in answer) {
    response.setHeader('Content-Type', answer.type);
    response.setHeader('Content-Length', statSync(answer.file).size);
    await pipeline(createReadStream(answer.file), response);
    return;
  }
  const [type, text] =
    'json' in answer
      ? ['application/json', JSON.stringify(answer.json)]
      : 'html' in answer
        ? ['text/html; charset=utf-8', answer.html]
        : [answer.type ?? 'text/plain', answer.text];
  response.setHeader('Content-Type', type);
  response.setHeader('Content-Length', Buffer.byteLength(text));
  response.end(text);
};

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

const callFor = (
  request: IncomingMessage,
  response: ServerResponse,
  options: DoorOptions,
  open: Set<AbortController>,
): Call & { path: string } => {
  const gone = new AbortController();
  open.add(gone);
  response.on('close', () => {
    open.delete(gone);
    gone.abort();
  });
  const url = new URL(`http://practice${(request.url ?? '/').replace(/^\/*/, '/')}`);
  return {
    method: request.method ?? 'GET',
    params: {},
    path: url.pathname,
    query: url.searchParams,
    headers: request.headers,
    body: {},
    remote: (request.socket.remoteAddress ?? '').replace(/^::ffff:/, ''),
    base: options.base(request),
    signal: gone.signal,
    request,
    response,
  };
};

/** The request listener: route, limits, body, handler, answer. Nothing a client sends makes it throw. */
export const httpDoor = (options: DoorOptions): ((request: IncomingMessage, response: ServerResponse) => void) => {
  const open = new Set<AbortController>();
  options.stopping.addEventListener('abort', () => {
    for (const one of open) one.abort();
  });
  const compiled = options.routes.map((route) => ({ route, segments: route.pattern.split('/') }));
  const answerTo = async (call: Call & { path: string }): Promise<Answer> => {
    const found = match(compiled, call.method === 'HEAD' ? 'GET' : call.method, call.path.split('/'));
    if (found === 'other-method') return { status: 405, json: { error: '405 Not Allowed' } };
    if (found === null) {
      call.path = decoded(call.path);
      return (await options.fallback(call)) ?? { status: 404, json: { error: '404 Not Found' } };
    }
    call.params = found.params;
    if (found.route.body === 'json') {
      const raw = await readBody(call.request, found.route.limit);
      call.body = parseBody(raw, call.headers['content-type'] ?? '', call.query);
    }
    const pace = options.paceMs(found.route.kind);
    if (pace > 0) await sleep(pace);
    return found.route.handler(call);
  };
  const serve = async (call: Call & { path: string }): Promise<void> => {
    call.response.setHeader('X-Practice-GitLab', standInSentence);
    call.response.setHeader('X-GitLab-Meta', JSON.stringify({ version: '1', practice: practiceVersion }));
    let answer: Answer;
    try {
      answer = await answerTo(call);
    } catch (error) {
      if (error instanceof Refusal) answer = { status: error.status, json: error.body, headers: error.headers };
      else {
        if (call.signal.aborted) return;
        options.log(
          `500 ${call.method} ${call.path}: ${error instanceof Error ? (error.stack ?? error.message) : error}`,
        );
        answer = { status: 500, json: { message: '500 Internal Server Error' } };
      }
    }
    options.flush();
    if (call.response.destroyed) return;
    // A body that was not read to its end would be taken for the next request.
    if (!call.request.complete) call.response.setHeader('Connection', 'close');
    await send(call, answer);
    if (!call.request.complete) call.request.resume();
  };
  return (request, response) => {
    void serve(callFor(request, response, options, open)).catch((error: unknown) => {
      options.log(`answer broken off: ${error instanceof Error ? error.message : String(error)}`);
      response.destroy();
    });
  };
};
