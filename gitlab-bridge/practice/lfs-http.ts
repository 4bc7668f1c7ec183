import { createHash } from 'node:crypto';
import { createReadStream, createWriteStream, existsSync, mkdirSync, renameSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { z } from 'zod';
import type { Answer, Call } from './api-call.ts';

/** Git LFS of one repository: the batch API with basic transfers, objects beside the repository. */
const Batch = z.looseObject({
  operation: z.enum(['download', 'upload']),
  objects: z.array(z.looseObject({ oid: z.string().regex(/^[0-9a-f]{64}$/), size: z.int().nonnegative() })).max(1000),
});
const media = 'application/vnd.git-lfs+json';
const bodyBytes = 1 << 20;

/** `/info/lfs/objects/batch`, or `/gitlab-lfs/objects/<oid>[/<size>]` behind the repository's own path. */
export const lfsPath = /^\/(.+?)\.git\/(info\/lfs\/objects\/batch|gitlab-lfs\/objects\/[0-9a-f]{64}(?:\/\d+)?)$/;

const json = (status: number, value: unknown): Answer => ({
  status,
  text: JSON.stringify(value),
  type: media,
});

/** Does the call want to change something? */
export const isLfsPush = async (call: Call, path: string): Promise<{ push: boolean; body: unknown }> => {
  if (!path.startsWith('info/')) return { push: call.method === 'PUT', body: null };
  const parts: Buffer[] = [];
  let size = 0;
  for await (const part of call.request as AsyncIterable<Buffer>) {
    size += part.length;
    if (size <= bodyBytes) parts.push(part);
  }
  try {
    const body: unknown = JSON.parse(Buffer.concat(parts).toString('utf8'));
    return { push: (body as { operation?: unknown }).operation === 'upload', body };
  } catch {
    return { push: false, body: null };
  }
};

/** Of a caller that may do it. `repository`: its folder; `base`: its address without `.git`. */
export async function lfsHttp(
  call: Call,
  path: string,
  body: unknown,
  repository: string,
  base: string,
): Promise<Answer> {
  const folder = join(repository, 'lfs-objects');
  if (path.startsWith('info/')) return batch(body, folder, base);
  const [, , oid = '', size] = path.split('/');
  const file = join(folder, oid);
  if (call.method === 'GET') {
    if (!existsSync(file)) return json(404, { message: 'Not found' });
    call.response.writeHead(200, { 'Content-Type': 'application/octet-stream', 'Content-Length': statSync(file).size });
    await pipeline(createReadStream(file), call.response).catch(() => undefined);
    return { handled: true };
  }
  if (call.method !== 'PUT' || size === undefined) return json(405, { message: 'Method not allowed' });
  mkdirSync(folder, { recursive: true });
  const hash = createHash('sha256');
  const part = `${file}.part`;
  await pipeline(
    call.request,
    async function* (source: AsyncIterable<Buffer>) {
      for await (const chunk of source) {
        hash.update(chunk);
        yield chunk;
      }
    },
    createWriteStream(part),
  );
  if (hash.digest('hex') !== oid || statSync(part).size !== Number(size)) {
    rmSync(part);
    return json(422, { message: 'Unprocessable entity' });
  }
  renameSync(part, file);
  return { status: 200, text: '' };
}

function batch(body: unknown, folder: string, base: string): Answer {
  const parsed = Batch.safeParse(body);
  if (!parsed.success) return json(422, { message: 'not a batch request' });
  const { operation, objects } = parsed.data;
  const href = (oid: string): string => `${base}.git/gitlab-lfs/objects/${oid}`;
  return json(200, {
    transfer: 'basic',
    objects: objects.map(({ oid, size }) => {
      const isHere = existsSync(join(folder, oid));
      if (operation === 'upload')
        return { oid, size, ...(!isHere && { actions: { upload: { href: `${href(oid)}/${size}`, header: {} } } }) };
      return isHere
        ? { oid, size, authenticated: true, actions: { download: { href: href(oid), header: {} } } }
        : {
            oid,
            size,
            error: {
              code: 404,
              message: "Object does not exist on the server or you don't have permissions to access it",
            },
          };
    }),
  });
}
