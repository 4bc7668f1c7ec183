import type { IncomingMessage } from 'node:http';
import type { FailureCause } from './failure-reason.ts';
import { agentHeader, apiOf, type JobRef, jobHeaders, refusalOf } from './gitlab-runner.ts';
import { type CallReply, call, headerOf, isHtml, openCall, reasonOf, retryAfterMs } from './http-call.ts';

/** A job's files to GitLab and back (contract §1.6). */
export interface ArtifactUpload {
  /** From its start; a chunk's memory may be used again for the next one. */
  open: () => AsyncIterable<Uint8Array>;
  lengthBytes: number;
  filename: string;
  format: string;
  type: string;
  expireIn: string | null;
}
export type TransferAnswer =
  /** `isThere`: GitLab has one of that kind from this job already, and keeps that. */
  | { kind: 'ok'; isThere?: boolean }
  /**
   * GitLab is away or busy: the same again later, not before `waitMs` where it said so. `page`: the status of a web page
   * of something before GitLab; one that repeats while GitLab answers other calls is a refusal.
   */
  | { kind: 'away'; because: string; waitMs?: number; page?: number }
  /**
   * GitLab will not have it. `disowned`: the job is no longer ours. `isJobs`: what the job made is the reason. `cause`: it never
   * came to GitLab; absent, and not the job's: GitLab's own word.
   */
  | { kind: 'refused'; because: string; disowned: boolean; isJobs?: boolean; cause?: FailureCause };

/** `POST /jobs/:id/artifacts`, streamed; follows a 307 within the same origin. */
export async function uploadArtifact(
  line: JobRef,
  upload: ArtifactUpload,
  more: { signal?: AbortSignal } = {},
): Promise<TransferAnswer> {
  const query = new URLSearchParams({ artifact_format: upload.format, artifact_type: upload.type });
  if (upload.expireIn) query.set('expire_in', upload.expireIn);
  const boundary = `autogit${Math.random().toString(36).slice(2)}${Math.random().toString(36).slice(2)}`;
  const head = Buffer.from(
    `--${boundary}\r\nContent-Disposition: form-data; name="file"; filename="${upload.filename.replace(/["\r\n]/g, '_')}"\r\nContent-Type: application/octet-stream\r\n\r\n`,
  );
  const tail = Buffer.from(`\r\n--${boundary}--\r\n`);
  let url = `${apiOf(line.url)}/jobs/${line.job}/artifacts?${query}`;
  try {
    for (let hop = 0; ; hop++) {
      const reply = await call({
        method: 'POST',
        url,
        headers: { ...jobHeaders(line), 'Content-Type': `multipart/form-data; boundary=${boundary}` },
        body: {
          open: () => framed(head, upload.open, tail),
          lengthBytes: head.length + upload.lengthBytes + tail.length,
        },
        timeoutMs: 60_000,
        limitBytes: 64 << 10,
        signal: more.signal,
        fresh: true,
      });
      const location = headerOf(reply.headers, 'location');
      if (reply.status === 307 && location && hop < 2) {
        const next = new URL(location, url);
        // The token and the job's files go to no other host, nor in the clear where they were not.
        if (next.origin !== new URL(url).origin) return elsewhere(next);
        url = next.href;
        continue;
      }
      return uploadAnswer(reply, upload.lengthBytes);
    }
  } catch (error) {
    return { kind: 'away', because: reasonOf(error) };
  }
}

async function* framed(head: Buffer, open: () => AsyncIterable<Uint8Array>, tail: Buffer): AsyncGenerator<Uint8Array> {
  yield head;
  yield* open();
  yield tail;
}

/** GitLab's words where it has one of that kind from this job: an answer of before was lost, or an agent that died had sent it. */
const isThere = /another artifact of the same type already exists/i;

/** What GitLab itself calls wrong (a dotenv report that is none) is what the job made: the same bytes are no better elsewhere. */
function uploadAnswer(reply: CallReply, sentBytes: number): TransferAnswer {
  const answer = transferOf('an upload of artifacts', reply, sentBytes);
  if (reply.status !== 400 || answer.kind !== 'refused') return answer;
  return isThere.test(reply.body.toString('utf8')) ? { kind: 'ok', isThere: true } : { ...answer, isJobs: true };
}

const elsewhere = ({ origin }: URL): TransferAnswer => ({
  kind: 'refused',
  because: `GitLab sends the upload to ${origin}: that is another address than it is connected by, and gets neither token nor files (autogit-node gitlab connect with the right one)`,
  disowned: false,
});

function transferOf(what: string, reply: CallReply, sentBytes = 0): TransferAnswer {
  const { status, headers } = reply;
  if (status >= 200 && status < 300 && !isHtml(headers)) return { kind: 'ok' };
  // Also as the web page of a proxy in front of GitLab: the same bytes will not be smaller later.
  if (status === 413)
    return { kind: 'refused', because: tooLarge(sentBytes, isHtml(headers)), disowned: false, isJobs: true };
  const because = refusalOf(what, reply);
  const isAway = status >= 500 || status === 429 || status === 408 || status === 401 || isHtml(headers);
  if (!isAway) return { kind: 'refused', because, disowned: status === 403 };
  const waitMs = retryAfterMs(headers);
  const isPage = isHtml(headers) && status >= 400 && status < 500 && status !== 429 && status !== 408;
  return { kind: 'away', because, ...(waitMs === null ? {} : { waitMs }), ...(isPage ? { page: status } : {}) };
}

function tooLarge(bytes: number, isPage: boolean): string {
  const size = `${Math.round((bytes / 1e6) * 10) / 10} MB`;
  return isPage
    ? `a proxy before GitLab refuses ${size} (HTTP 413): raise its limit (nginx: client_max_body_size)`
    : `GitLab refuses ${size} (HTTP 413): raise "Maximum artifacts size" in its settings (Admin, CI/CD, or the project's)`;
}

/**
 * `GET /jobs/:id/artifacts` of a dependency. Redirects to object storage are followed without the token. `ok` carries
 * the zip as a stream that the caller reads to its end or destroys.
 */
export async function downloadArtifact(
  line: JobRef,
  more: { signal?: AbortSignal } = {},
): Promise<Exclude<TransferAnswer, { kind: 'ok' }> | { kind: 'ok'; body: IncomingMessage }> {
  let url = `${apiOf(line.url)}/jobs/${line.job}/artifacts`;
  let headers = jobHeaders(line);
  try {
    for (let hop = 0; hop < 5; hop++) {
      const reply = await openCall({
        method: 'GET',
        url,
        headers,
        timeoutMs: 60_000,
        signal: more.signal,
        fresh: true,
      });
      if (reply.status === 200 && !isHtml(reply.headers)) return { kind: 'ok', body: reply.body };
      const location = headerOf(reply.headers, 'location');
      if ((reply.status === 302 || reply.status === 307) && location) {
        const next = new URL(location, url);
        reply.body.destroy();
        if (next.protocol !== 'http:' && next.protocol !== 'https:')
          return { kind: 'refused', because: `GitLab sends the download to ${next.protocol}`, disowned: false };
        if (next.origin !== new URL(url).origin) headers = agentHeader;
        url = next.href;
        continue;
      }
      reply.body.destroy();
      const answer = transferOf('a download of artifacts', { ...reply, body: Buffer.alloc(0) });
      return answer.kind === 'ok' ? { kind: 'away', because: 'unexpected answer' } : answer;
    }
    return { kind: 'refused', because: 'GitLab redirects in circles', disowned: false };
  } catch (error) {
    return { kind: 'away', because: reasonOf(error) };
  }
}
