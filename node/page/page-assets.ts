import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { PageAnswer } from './page-types.ts';

const types: Readonly<Record<string, string>> = {
  html: 'text/html; charset=utf-8',
  js: 'text/javascript; charset=utf-8',
  css: 'text/css; charset=utf-8',
  svg: 'image/svg+xml',
  png: 'image/png',
  ico: 'image/x-icon',
  webmanifest: 'application/manifest+json',
};

/** Names, never paths: what is not of this form is looked for nowhere. */
const asset = /^[a-z0-9][a-z0-9-]{0,63}(?:\.[a-z0-9-]{1,32}){0,2}\.(html|js|css|svg|png|ico|webmanifest)$/;

const encodings = [
  ['br', '.br'],
  ['gzip', '.gz'],
] as const;

/** A file that the bundler made for the page, as it was packed there. Null: there is none. It is in no memory afterwards. */
export async function assetOf(
  folder: string,
  name: string,
  { accepts, known }: { accepts: string; known: string | undefined },
): Promise<PageAnswer | null> {
  const ending = asset.exec(name)?.[1];
  if (ending === undefined) return null;
  const taken = accepts.toLowerCase().split(/[\s,;]+/);
  const wanted = [...encodings.filter(([encoding]) => taken.includes(encoding)), ['', ''] as const];
  for (const [encoding, tail] of wanted) {
    const body = await readFile(join(folder, name + tail)).catch(() => null);
    if (body === null) continue;
    const etag = `"${createHash('sha256').update(body).digest('base64url').slice(0, 22)}"`;
    const headers = {
      etag,
      // Each time it is asked whether it is still the same: another version's page must not talk to this agent.
      'cache-control': 'no-cache',
      vary: 'accept-encoding',
      ...(encoding === '' ? {} : { 'content-encoding': encoding }),
    };
    if (known === etag) return { status: 304, type: types[ending] as string, body: '', headers };
    return { status: 200, type: types[ending] as string, body, headers };
  }
  return null;
}
