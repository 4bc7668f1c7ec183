import type { IncomingMessage, ServerResponse } from 'node:http';
import { AutogitError } from '../../protocol/errors.ts';
import { drained } from '../local-api/http-body.ts';
import { type ApiAnswer, refusal, refusalOf } from '../local-api/routes.ts';
import { isJson, whyForeign } from './page-gate.ts';
import type { Caller, PageAnswer, Role } from './page-types.ts';

/** Nothing of other places, nothing inline, in no frame; no form goes anywhere. */
const csp = [
  "default-src 'none'",
  ...["script-src 'self'", "style-src 'self'", "connect-src 'self'", "img-src 'self' data:", "manifest-src 'self'"],
  ...["worker-src 'self'", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"],
].join('; ');

export const alwaysHeaders: Readonly<Record<string, string>> = {
  'content-security-policy': csp,
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
  // The place of a session stands in the address: no other page is told where somebody came from.
  'referrer-policy': 'no-referrer',
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
  'permissions-policy': 'camera=(), microphone=(), geolocation=()',
};

export const html = (status: number, body: string): PageAnswer => ({ status, type: 'text/html; charset=utf-8', body });
export const jsonOf = (status: number, value: unknown, headers: PageAnswer['headers'] = {}): PageAnswer => ({
  ...{ status, type: 'application/json', body: JSON.stringify(value), headers },
});
export const refused = (error: AutogitError, status?: number): PageAnswer => {
  const said = refusalOf(error);
  return jsonOf(status ?? said.status, said.json);
};

export const notSo = (methods: readonly string[]): PageAnswer =>
  jsonOf(405, refusal(405, 'bad-message', `this takes ${methods.join(' or ')}`).json, { allow: methods.join(', ') });

export const tooLittle = ({ name, role, kind }: Caller, needed: Role): PageAnswer =>
  jsonOf(
    403,
    refusal(
      403,
      'unsupported',
      `${name} is in as ${role}, and this is for ${needed}s`,
      `let it in as ${needed}: autogit-node dashboard ${kind === 'key' ? 'key ' : ''}--role ${needed}`,
    ).json,
  );

/** Null: it is meant. No browser sends a key by itself, so that only its content has to be what it says. */
export function whyNot({ headers }: IncomingMessage, { kind }: Caller): PageAnswer | null {
  const why =
    kind === 'key'
      ? isJson(headers['content-type'])
        ? null
        : 'it is no JSON (Content-Type)'
      : whyForeign({
          ...{ host: headers.host, origin: headers.origin, contentType: headers['content-type'] },
          own: headers['x-autogit'] as string | undefined,
          fetchSite: headers['sec-fetch-site'] as string | undefined,
        });
  if (why === null) return null;
  return jsonOf(403, refusal(403, 'unsupported', `nothing was done: ${why}`, 'do it at the page itself').json);
}

export async function withRefusals(run: () => Promise<PageAnswer>): Promise<PageAnswer> {
  try {
    return await run();
  } catch (error) {
    if (error instanceof AutogitError) return refused(error);
    throw error;
  }
}

export function ofSocket(said: ApiAnswer): PageAnswer {
  if ('text' in said) return { status: 200, type: 'text/plain; charset=utf-8', body: said.text };
  return jsonOf(said.status, said.json, said.tag === undefined ? {} : { etag: `"${said.tag}"` });
}

export async function send(
  request: IncomingMessage,
  response: ServerResponse,
  { status, type, body, headers }: PageAnswer,
  signal: AbortSignal,
): Promise<void> {
  const isWhole = typeof body === 'string' || body instanceof Uint8Array;
  response.writeHead(status, {
    'content-type': type,
    'cache-control': 'no-store',
    ...(isWhole ? { 'content-length': Buffer.byteLength(body) } : { 'x-accel-buffering': 'no' }),
    ...(status >= 400 ? { connection: 'close' } : {}),
    ...headers,
  });
  if (isWhole || request.method === 'HEAD') return void response.end(isWhole ? body : undefined);
  response.flushHeaders();
  try {
    for await (const part of body) {
      if (signal.aborted) break;
      if (!response.write(part)) await drained(response, signal);
    }
  } catch (error) {
    if (!(error instanceof AutogitError)) throw error;
    return void response.destroy();
  }
  response.end();
}
