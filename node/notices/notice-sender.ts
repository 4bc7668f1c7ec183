import { z } from 'zod';
import { type CallReply, call, jsonOf, reasonOf, retryAfterMs } from '../../gitlab-bridge/http-call.ts';
import type { Notice, NoticeAct } from '../../protocol/notices.ts';
import type { StatusSnapshot } from '../../protocol/status.ts';
import { noticeTimings } from '../../scheduler/notices/notice-timings.ts';
import { version } from '../version.ts';
import type { TargetWay } from './notice-target.ts';

/** A try that came to nothing, in words without any secret of the address. `afterMs`: not sooner, as it was told. */
export class SendFailure extends Error {
  override readonly name = 'SendFailure';
  readonly afterMs: number | null;
  constructor(message: string, afterMs: number | null = null) {
    super(message);
    this.afterMs = afterMs;
  }
}

/** What a sender knows besides the notice. */
export interface SendContext {
  mesh: { id: string; name: string };
  /** What the last look found; null before the first. */
  status: StatusSnapshot | null;
  /** A link with which that is done once, without more questions; null: none leads here from outside. */
  linkOf(act: NoticeAct): Promise<{ label: string; url: string } | null>;
  signal: AbortSignal;
}

/** Resolves when whoever is told has it; null: that the mesh is there, and no more. Throws `SendFailure`. */
export type Sender = (notice: Notice | null, way: TargetWay, context: SendContext) => Promise<void>;

const answerBytes = 64 << 10;

/** One request; anything but a 2xx is a failure. Redirects are not followed: they could lead anywhere. */
export async function request(
  way: TargetWay,
  {
    body,
    headers,
    signal,
    url = way.url ?? '',
    method = 'POST',
  }: {
    body?: string;
    method?: 'GET' | 'POST';
    headers: Record<string, string>;
    signal: AbortSignal;
    url?: string;
  },
): Promise<CallReply> {
  let reply: CallReply;
  try {
    reply = await call({
      method,
      url,
      headers: { 'user-agent': `autogit-node/${version}`, ...headers },
      ...(body !== undefined && { body }),
      timeoutMs: noticeTimings.sendMs,
      limitBytes: answerBytes,
      fresh: true,
      signal,
    });
  } catch (error) {
    throw new SendFailure(reasonOf(error));
  }
  if (reply.status < 200 || reply.status > 299)
    throw new SendFailure(`it answered ${reply.status}${saidBy(reply, way)}`, retryAfterMs(reply.headers));
  return reply;
}

const SaidError = z.object({ error: z.string().regex(/^[\w ,.:'()-]{1,120}$/) });

/** What of the address and the secret must stand in no word of ours. */
const secretParts = ({ url, secret }: TargetWay): string[] => {
  const { pathname, search, username, password } = new URL(url ?? 'http://none');
  return `${pathname} ${search} ${username} ${password} ${secret ?? ''}`
    .split(/[\s/?&=:]+/)
    .filter((one) => one !== '');
};

/** Only plain words of a known form, and none that repeats the address or the secret, as answers have been seen to do. */
function saidBy({ body }: CallReply, way: TargetWay): string {
  const word = /^[a-z_]{3,40}$/.exec(body.subarray(0, 64).toString('latin1').trim())?.[0];
  const said = word ?? SaidError.safeParse(jsonOf(body)).data?.error;
  const repeats = said !== undefined && secretParts(way).some((one) => said.toLowerCase().includes(one.toLowerCase()));
  return said === undefined || repeats ? '' : `: ${said}`;
}
