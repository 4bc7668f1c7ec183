import type { IncomingMessage } from 'node:http';
import { z } from 'zod';
import { call, headerOf, isHtml, jsonOf, mayWorkLater, openCall, reasonOf } from './http-call.ts';

/** Git LFS as GitLab serves it: the batch API, and basic transfers (git-lfs, docs/api/batch.md). Only downloads. */
export interface LfsObject {
  /** SHA-256, in hex. */
  oid: string;
  size: number;
}

interface LfsServer {
  /** The repository as this machine reaches it. */
  address: string;
  /** Where GitLab says that it is: what it names there is asked for at `address`. */
  named: string;
  token: string;
  signal: AbortSignal;
}

export interface LfsPlace {
  href: string;
  headers: Record<string, string>;
}

const Batch = z.looseObject({
  objects: z
    .array(
      z.looseObject({
        oid: z.string().max(128),
        actions: z
          .looseObject({
            download: z
              .looseObject({
                href: z.string().max(16_384),
                header: z.record(z.string().max(256), z.string().max(16_384)).nullish(),
              })
              .nullish(),
          })
          .nullish(),
        error: z.looseObject({ code: z.number(), message: z.string().max(4096) }).nullish(),
      }),
    )
    .max(1000),
});

/** So many objects are asked for at once. */
export const lfsBatchSize = 100;

const media = 'application/vnd.git-lfs+json';
const timeoutMs = 60_000;

/** In words. `isAway`: the same may work later. */
export class LfsFailure extends Error {
  override readonly name = 'LfsFailure';
  readonly isAway: boolean;
  constructor(message: string, isAway: boolean) {
    super(message);
    this.isAway = isAway;
  }
}

/** Where each of them is; a sentence for one that GitLab does not give. */
export async function lfsPlaces(
  server: LfsServer,
  objects: readonly LfsObject[],
): Promise<Map<string, LfsPlace | string>> {
  const { address, token, signal } = server;
  const basic = `Basic ${Buffer.from(`gitlab-ci-token:${token}`).toString('base64')}`;
  const url = `${address.replace(/\/$/, '')}/info/lfs/objects/batch`;
  const body = JSON.stringify({ operation: 'download', transfers: ['basic'], objects });
  const headers = { Accept: media, 'Content-Type': media, Authorization: basic };
  const reply = await call({ method: 'POST', url, headers, body, timeoutMs, signal }).catch((error: unknown) => {
    throw new LfsFailure(reasonOf(error), true);
  });
  const { status } = reply;
  if (status !== 200)
    throw new LfsFailure(
      status === 404 || status === 501
        ? 'GitLab has no LFS for this project (HTTP 404): switch it on in its settings, or on the instance'
        : `GitLab refuses the list of LFS files (HTTP ${status})`,
      mayWorkLater(reply),
    );
  const parsed = Batch.safeParse(jsonOf(reply.body));
  if (!parsed.success) throw new LfsFailure('GitLab answers about LFS files what is no list of them', false);
  return new Map(
    parsed.data.objects.map(({ oid, actions, error }) => {
      const at = actions?.download;
      if (!at) return [oid, error?.message ?? 'GitLab does not have it'] as const;
      return [oid, placeOf(server, at.href, at.header ?? {}, basic)] as const;
    }),
  );
}

/** GitLab's own address gets the token; an object storage what GitLab says for it alone. */
function placeOf(
  { address, named }: LfsServer,
  href: string,
  header: Record<string, string>,
  basic: string,
): LfsPlace | string {
  if (!URL.canParse(href)) return 'GitLab gives no address for it';
  const url = new URL(href);
  if (url.protocol !== 'http:' && url.protocol !== 'https:')
    return `GitLab gives an address with ${url.protocol} for it`;
  const here = new URL(address);
  const isOwn = [here.host, new URL(named).host].includes(url.host);
  if (!isOwn) return { href, headers: header };
  Object.assign(url, { protocol: here.protocol, host: here.host, port: here.port });
  return { href: url.href, headers: { Authorization: basic, ...header } };
}

/** Its bytes, which the caller reads or destroys. Throws LfsFailure. */
export async function openLfs({ href, headers }: LfsPlace, signal: AbortSignal): Promise<IncomingMessage> {
  let [url, sent] = [href, headers];
  for (let hop = 0; hop < 5; hop++) {
    const reply = await openCall({ method: 'GET', url, headers: sent, timeoutMs, signal, fresh: true }).catch(
      (error: unknown) => {
        throw new LfsFailure(reasonOf(error), true);
      },
    );
    if (reply.status === 200 && !isHtml(reply.headers)) return reply.body;
    reply.body.destroy();
    const location = headerOf(reply.headers, 'location');
    if (![301, 302, 303, 307, 308].includes(reply.status) || !location || !URL.canParse(location, url))
      throw new LfsFailure(`HTTP ${reply.status}`, mayWorkLater(reply));
    const next = new URL(location, url);
    if (next.protocol !== 'http:' && next.protocol !== 'https:') break;
    if (next.origin !== new URL(url).origin) sent = {};
    url = next.href;
  }
  throw new LfsFailure('GitLab redirects in circles', false);
}
