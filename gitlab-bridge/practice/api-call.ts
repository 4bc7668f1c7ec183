import type { IncomingMessage, ServerResponse } from 'node:http';
import type { z } from 'zod';
import { badParameter, Refusal, refuse } from './refusal.ts';

/** One request as a handler sees it. */
export interface Call {
  method: string;
  /** Decoded path parameters of the route. */
  params: Record<string, string>;
  query: URLSearchParams;
  headers: IncomingMessage['headers'];
  /** Parsed JSON or form fields; `{}` where there is none. */
  body: unknown;
  /** The client's address, without the IPv6 prefix of an IPv4 one. */
  remote: string;
  /** `http://host:port`, as this server is to be called from outside. */
  base: string;
  /** Aborted when the client goes away or the server stops. */
  signal: AbortSignal;
  request: IncomingMessage;
  response: ServerResponse;
}

/** What a handler answers. `handled`: it has written the response itself. */
export type Answer =
  | { status: number; headers?: Record<string, string>; json: unknown }
  | { status: number; headers?: Record<string, string>; text: string; type?: string }
  | { status: number; headers?: Record<string, string>; html: string }
  | { status: number; headers?: Record<string, string>; file: string; type: string }
  | { status: 204; headers?: Record<string, string>; empty: true }
  | { handled: true };

type Handler = (call: Call) => Answer | Promise<Answer>;

export interface Route {
  method: string;
  /** `/api/v4/jobs/:id/trace`; `:name` is one segment. */
  pattern: string;
  handler: Handler;
  /** `stream`: the handler reads the request itself. */
  body: 'json' | 'stream';
  /** Bytes. */
  limit: number;
  kind: 'api' | 'graphql' | 'request' | 'page';
}

export const route = (method: string, pattern: string, handler: Handler, more: Partial<Route> = {}): Route => ({
  method,
  pattern,
  handler,
  body: 'json',
  limit: 1_048_576,
  kind: 'api',
  ...more,
});

export const ok = (json: unknown, headers: Record<string, string> = {}): Answer => ({ status: 200, json, headers });
export const created = (json: unknown): Answer => ({ status: 201, json });
export const empty = (headers: Record<string, string> = {}): Answer => ({ status: 204, empty: true, headers });

/** The whole body, or 413 beyond the limit. */
export const readBody = async (request: IncomingMessage, limit: number): Promise<Buffer> => {
  const told = Number(request.headers['content-length'] ?? 0);
  if (told > limit) throw refuse(413);
  const parts: Buffer[] = [];
  let size = 0;
  for await (const part of request as AsyncIterable<Buffer>) {
    size += part.length;
    if (size > limit) throw refuse(413);
    parts.push(part);
  }
  return Buffer.concat(parts);
};

/** JSON or form fields as one object; query parameters fill what the body does not say (as GitLab's API layer does). */
export const parseBody = (raw: Buffer, type: string, query: URLSearchParams): unknown => {
  const fields: Record<string, unknown> = {};
  const add = (key: string, value: string): void => {
    if (!key.endsWith('[]')) {
      fields[key] = value;
      return;
    }
    const name = key.slice(0, -2);
    const old = fields[name];
    fields[name] = Array.isArray(old) ? [...(old as unknown[]), value] : [value];
  };
  for (const [key, value] of query) add(key, value);
  if (raw.length === 0) return fields;
  if (type.startsWith('application/x-www-form-urlencoded')) {
    for (const [key, value] of new URLSearchParams(raw.toString('utf8'))) add(key, value);
    return fields;
  }
  if (!type.startsWith('application/json')) return fields;
  let parsed: unknown;
  try {
    parsed = JSON.parse(raw.toString('utf8'));
  } catch {
    throw new Refusal(400, { message: 'The request body is no valid JSON' });
  }
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed))
    throw new Refusal(400, { message: 'The request body should be a JSON object' });
  return { ...fields, ...parsed };
};

/** Checks a body at the door: `{"error": "tag_list is invalid"}` in GitLab's words otherwise. */
export const read = <S extends z.ZodType>(schema: S, value: unknown): z.infer<S> => {
  const result = schema.safeParse(value);
  if (result.success) return result.data as z.infer<S>;
  const words = result.error.issues.slice(0, 5).map((issue) => {
    const name = issue.path.length === 0 ? 'body' : issue.path.map(String).join('.');
    const missing = issue.code === 'invalid_type' && issue.message.includes('received undefined');
    if (missing) return `${name} is missing`;
    if (issue.code === 'invalid_value') return `${name} does not have a valid value`;
    return `${name} is invalid`;
  });
  throw badParameter([...new Set(words)].join(', '));
};

/** A path parameter that has to be a positive number. */
export const idOf = (call: Call, name: string): number => {
  const text = call.params[name] ?? '';
  if (!/^\d{1,15}$/.test(text)) throw badParameter(`${name} is invalid`);
  return Number(text);
};
