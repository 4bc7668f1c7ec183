import { timingSafeEqual } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import { z } from 'zod';
import type { DoorSecrets } from './webhook-secrets.ts';

/*
 * What one delivery of GitLab's is worth: pure, and asked twice. `judgeHead` before a byte of the body is read, `judgeBody` with
 * what the body was. Whatever comes of it, the most that happens is a look at GitLab's queue.
 */

export const deliveryLimits = {
  bodyBytes: 10_000_000,
  /** More of a body is signed and counted, but not looked into: a parse of megabytes would hold up the agent. */
  parsedBytes: 256 << 10,
  /** How far a signed delivery's time may be from ours, ms (Standard Webhooks). */
  windowMs: 300_000,
  ids: 10_000,
  signatures: 16,
};

/** How the id of what `webhook test` sends begins. It is signed whatever GitLab does, and so says nothing of that. */
export const testIdStart = 'autogit-test-';

/** Why a delivery was refused, as it is counted. */
export type RefusalKind = 'address' | 'method' | 'gitlab' | 'token' | 'rate' | 'size' | 'time' | 'signature' | 'form';

export interface Refused {
  kind: 'refused';
  status: number;
  why: RefusalKind;
  because: string;
}
export type Judged = Refused | { kind: 'hint' | 'ignored'; because: string };

/** What is signed: `id.seconds.` and then the body, byte for byte. */
export interface Signed {
  id: string;
  seconds: string;
  signatures: Buffer[];
}

/** What a door remembers between deliveries. */
export interface DeliveryMemory {
  /** Ids of signed ones, the oldest first. */
  ids: Set<string>;
  /** GitLab signs: what comes without a signature is from somebody who has heard the secret on the wire. */
  isSigned: boolean;
}
export const newMemory = (): DeliveryMemory => ({ ids: new Set(), isSigned: false });

const refused = (status: number, why: RefusalKind, because: string): Refused => ({
  kind: 'refused',
  status,
  why,
  because,
});

function isSame(given: string, wanted: string): boolean {
  const [a, b] = [Buffer.from(given), Buffer.from(wanted)];
  // Its length is no secret.
  return a.length === b.length && timingSafeEqual(a, b);
}

const one = (value: string | string[] | undefined): string => (typeof value === 'string' ? value : '');

/** Null: it has the secret. Cheap, so that it is asked before anything of a stranger's is counted or read. */
export function judgeToken(headers: IncomingHttpHeaders, secrets: DoorSecrets | null): Refused | null {
  if (secrets === null)
    return refused(503, 'gitlab', 'no GitLab is connected to this mesh, or this machine does not hold its token');
  const given = one(headers['x-gitlab-token']);
  if (given === '') return refused(401, 'token', 'it has no X-Gitlab-Token');
  return isSame(given, secrets.token) ? null : refused(401, 'token', 'its X-Gitlab-Token is another one');
}

/** `signed` null: it has no signature and needs none. Read: of a delivery that has passed `judgeToken`. */
export function judgeHead(
  headers: IncomingHttpHeaders,
  memory: DeliveryMemory,
  wallMs: number,
): Refused | { kind: 'read'; signed: Signed | null } {
  const length = headers['content-length'];
  if (length !== undefined && !(Number(length) <= deliveryLimits.bodyBytes))
    return refused(413, 'size', `it is larger than ${deliveryLimits.bodyBytes / 1e6} MB`);
  const text = one(headers['webhook-signature']);
  if (text === '')
    return memory.isSigned
      ? refused(401, 'signature', 'it has no signature, and this GitLab signs')
      : { kind: 'read', signed: null };
  const [id, seconds] = [one(headers['webhook-id']), one(headers['webhook-timestamp'])];
  if (!/^[\x21-\x7e]{1,256}$/.test(id) || !/^\d{1,12}$/.test(seconds))
    return refused(400, 'form', 'its webhook-id or webhook-timestamp is none');
  const offMs = wallMs - Number(seconds) * 1000;
  if (Math.abs(offMs) > deliveryLimits.windowMs)
    return refused(
      401,
      'time',
      `its time is ${Math.round(Math.abs(offMs) / 60_000)} min ${offMs > 0 ? 'ago' : 'ahead'}: it was sent before, or the clocks of GitLab and of this machine differ (timedatectl)`,
    );
  // Several: GitLab's signing secret is being changed. Other versions than v1 are for others.
  const signatures = text
    .split(' ')
    .slice(0, deliveryLimits.signatures)
    .flatMap((part) => {
      const [, base64] = /^v1,([A-Za-z0-9+/]{43}=)$/.exec(part) ?? [];
      return base64 === undefined ? [] : [Buffer.from(base64, 'base64')];
    });
  if (signatures.length === 0) return refused(401, 'signature', 'none of its signatures is of form v1');
  return { kind: 'read', signed: { id, seconds, signatures } };
}

/** The start of a body, and what was made of the whole of it. */
export interface BodyRead {
  /** At most `parsedBytes` of it. */
  start: Buffer;
  bytes: number;
  /** HMAC-SHA256 of id, time and body; null where nothing is signed. */
  mac: Buffer | null;
}

const status = z.string().max(64);
const Job = z.object({ object_kind: z.literal('build'), build_status: status, build_id: z.int().optional() });
const Pipeline = z.object({ object_kind: z.literal('pipeline'), object_attributes: z.object({ status }) });

/** After these something waits that did not, or has room that had none, or is to be ended. */
const matters = new Set(['pending', 'success', 'failed', 'canceled', 'canceling', 'skipped']);

export function judgeBody(
  headers: IncomingHttpHeaders,
  signed: Signed | null,
  read: BodyRead,
  memory: DeliveryMemory,
): Judged {
  const { start, bytes, mac } = read;
  if (signed !== null) {
    // All of them, so that the time tells nothing of which one fits.
    const fits = signed.signatures.map((one) => mac !== null && one.length === mac.length && timingSafeEqual(one, mac));
    if (!fits.includes(true)) return refused(401, 'signature', 'none of its signatures fits');
    memory.isSigned ||= !signed.id.startsWith(testIdStart);
    if (memory.ids.has(signed.id)) return { kind: 'ignored', because: 'it was here before' };
    memory.ids.add(signed.id);
    for (const id of memory.ids) {
      if (memory.ids.size <= deliveryLimits.ids) break;
      memory.ids.delete(id);
    }
  }
  const event = one(headers['x-gitlab-event']);
  if (event !== 'Job Hook' && event !== 'Pipeline Hook')
    return { kind: 'ignored', because: 'only events of jobs and pipelines say anything here' };
  if (bytes > start.length) return { kind: 'hint', because: `a ${event} that is too long to look into` };
  let json: unknown;
  try {
    json = JSON.parse(start.toString('utf8'));
  } catch {
    return refused(400, 'form', 'its body is no JSON');
  }
  const parsed = event === 'Job Hook' ? Job.safeParse(json) : Pipeline.safeParse(json);
  if (!parsed.success) return refused(400, 'form', `its body is no ${event}`);
  const now = 'build_status' in parsed.data ? parsed.data.build_status : parsed.data.object_attributes.status;
  const what = 'build_status' in parsed.data ? `job ${parsed.data.build_id ?? ''}`.trim() : 'a pipeline';
  return matters.has(now)
    ? { kind: 'hint', because: `${what} is ${now}` }
    : { kind: 'ignored', because: `that ${what} is in such a state changes nothing here` };
}
