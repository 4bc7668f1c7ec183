import type { IncomingHttpHeaders } from 'node:http';
import { z } from 'zod';
import { AutogitError } from '../protocol/errors.ts';
import {
  CallFailure,
  type CallReply,
  call,
  headerOf,
  isHtml,
  isJson,
  mayWorkLater,
  reasonOf,
  retryAfterMs,
} from './http-call.ts';
import { JobPayload } from './payload.ts';
import type { TraceAnswer } from './trace.ts';

/** GitLab's runner API, as gitlab-runner 19 speaks it (contract §1). No state: offsets and retries are the caller's. */
interface RunnerInfo {
  name: string;
  version: string;
  platform: string;
  architecture: string;
  executor: string;
  shell: string;
  features: Record<string, boolean>;
}

interface RequestJobOptions {
  /** GitLab's base address. */
  url: string;
  /** The class runner's token. */
  token: string;
  systemId: string;
  info: RunnerInfo;
  /** Long poll: the `X-GitLab-Last-Update` of the answer before. Without it GitLab answers at once. */
  lastUpdate?: string | null;
  /** ms for all tries together: whoever waits for this node may count on it. */
  timeoutMs: number;
}

/**
 * `failed.maybeTaken`: the request may have reached GitLab and no whole answer came, so a job may be taken that nobody
 * knows (SAFETY J3). `empty.lastUpdate` is null for the bare 204 of a long poll that ended early: ask again.
 */
export type RequestJobAnswer =
  | { kind: 'job'; payload: JobPayload; text: string }
  | { kind: 'empty'; because: string; lastUpdate: string | null }
  | {
      kind: 'failed';
      because: string;
      maybeTaken: boolean;
      /** GitLab itself does not know the token. */
      unknownRunner?: boolean;
      /** It asked to wait so long. */
      waitMs?: number;
    };

/** Enough of a job to tell GitLab that it cannot be run. */
const JobHead = z.object({ id: z.int().positive(), token: z.string().min(1) });

const contendedTries = 4;
const contendedWaitMs = 150;
/** ms that a busy GitLab is waited for here; a longer wait is left to the leader. */
const mostRetryAfterMs = 3_000;
/** A payload with a thousand variables of a MiB each is no job but an attack. */
const payloadLimitBytes = 16 << 20;

export const apiOf = (url: string): string => `${url.replace(/\/+$/, '')}/api/v4`;
export const agentHeader = { 'User-Agent': 'autogit-node', Accept: 'application/json' };

/** `POST /jobs/request`: a job is taken at once and for ever, so the caller holds room for it already. */
export async function requestJob(options: RequestJobOptions, signal?: AbortSignal): Promise<RequestJobAnswer> {
  const endsAt = performance.now() + options.timeoutMs;
  for (let attempt = 1; ; attempt++) {
    let reply: CallReply;
    try {
      reply = await call({
        method: 'POST',
        url: `${apiOf(options.url)}/jobs/request`,
        headers: { ...agentHeader, 'Content-Type': 'application/json', 'RUNNER-TOKEN': options.token },
        body: JSON.stringify({
          token: options.token,
          system_id: options.systemId,
          ...(options.lastUpdate ? { last_update: options.lastUpdate } : {}),
          info: options.info,
        }),
        timeoutMs: Math.max(1, endsAt - performance.now()),
        limitBytes: payloadLimitBytes,
        signal,
        fresh: true,
      });
    } catch (error) {
      return unanswered(error);
    }
    if (attempt < contendedTries && (reply.status === 409 || reply.status === 429)) {
      const asked = retryAfterMs(reply.headers) ?? 0;
      const waitMs = Math.max(reply.status === 409 ? contendedWaitMs * attempt : contendedWaitMs, asked);
      const isInTime = waitMs <= mostRetryAfterMs && performance.now() + waitMs < endsAt;
      if (isInTime && (await pause(waitMs, signal))) continue;
    }
    return answerOf(options.url, reply);
  }
}

function unanswered(error: unknown): RequestJobAnswer {
  if (!(error instanceof CallFailure)) return { kind: 'failed', because: reasonOf(error), maybeTaken: false };
  // An answer that had begun with another status than 201 gave no job, however it was cut.
  const maybeTaken = error.sent && (error.status === null || error.status === 201 || error.status === 200);
  return {
    kind: 'failed',
    because: `GitLab gave no whole answer to a request for a job: ${error.message}`,
    maybeTaken,
  };
}

async function answerOf(url: string, reply: CallReply): Promise<RequestJobAnswer> {
  const { status, headers } = reply;
  if (status === 204)
    return {
      kind: 'empty',
      because: 'GitLab has no job for this class',
      lastUpdate: headerOf(headers, 'x-gitlab-last-update'),
    };
  if (status === 409) return { kind: 'empty', because: 'GitLab is busy handing out jobs (409)', lastUpdate: null };
  if (status !== 201) {
    const waitMs = retryAfterMs(headers);
    return {
      kind: 'failed',
      because: refusalOf('a request for a job', reply),
      maybeTaken: false,
      ...(status === 403 && !isHtml(headers) ? { unknownRunner: true } : {}),
      ...(waitMs === null ? {} : { waitMs }),
    };
  }
  const text = reply.body.toString('utf8');
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    return { kind: 'failed', because: 'GitLab gave a job that is no JSON', maybeTaken: true };
  }
  const payload = JobPayload.safeParse(json);
  if (payload.success) return { kind: 'job', payload: payload.data, text };
  const first = payload.error.issues[0];
  const where = first ? `${first.path.join('.')}: ${first.message}` : 'unknown';
  const because = `GitLab gave a job of another form (${where})`;
  // The job is ours although its payload cannot be read: with its id and token GitLab is told at once that nobody runs it.
  const head = JobHead.safeParse(json);
  if (!head.success) return { kind: 'failed', because, maybeTaken: true };
  const line = { url, job: head.data.id, token: head.data.token };
  // Whoever looks in GitLab reads why.
  const bytes = Buffer.from(`autogit-node cannot run this job: ${because}\n`);
  await patchTrace(line, { bytes, range: `0-${bytes.length - 1}` }, { timeoutMs: 5_000 });
  const told = await updateJob(line, { state: 'failed', failure_reason: 'runner_system_failure' });
  return { kind: 'failed', because: `${because}: job ${head.data.id} is failed`, maybeTaken: told.status !== 200 };
}

/** True when the wait passed, false when it was aborted. */
function pause(ms: number, signal?: AbortSignal): Promise<boolean> {
  if (signal?.aborted) return Promise.resolve(false);
  return new Promise((resolve) => {
    const end = (whole: boolean): void => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', cut);
      resolve(whole);
    };
    const cut = (): void => end(false);
    const timer = setTimeout(() => end(true), ms);
    signal?.addEventListener('abort', cut);
  });
}

/** One sentence about an answer that was not expected; HTML is a proxy or a booting GitLab. */
export function refusalOf(what: string, reply: { status: number; headers: IncomingHttpHeaders; body: Buffer }): string {
  const { status, headers, body } = reply;
  if (isHtml(headers)) return `GitLab is not there: something answered ${what} with a web page (HTTP ${status})`;
  const text = body.toString('utf8', 0, 300).replace(/\s+/g, ' ').trim();
  const after = headerOf(headers, 'retry-after');
  const wait = status === 429 && after ? `, it asks to wait ${after} s` : '';
  return `GitLab answered ${what} with HTTP ${status}${wait}${text === '' ? '' : `: ${text.slice(0, 200)}`}`;
}

/** A job's own calls: address, id and the job's token. */
export interface JobRef {
  url: string;
  job: number;
  token: string;
}
const awayAnswer: TraceAnswer = {
  status: 'away',
  jobStatus: null,
  length: null,
  intervalS: null,
  retryAfterS: null,
};

/** What an answer means to the trace: pages of a proxy, 5xx and 401 are `away`, not GitLab's word on the job. */
function traceAnswerOf(reply: CallReply): TraceAnswer {
  const { headers } = reply;
  const number = (name: string): number | null => {
    const value = Number(headerOf(headers, name) ?? Number.NaN);
    return Number.isFinite(value) ? value : null;
  };
  const jobStatus = headerOf(headers, 'job-status');
  const isGitlab = !isHtml(headers) && reply.status < 500 && reply.status !== 401;
  const isJobsWord = reply.status !== 404 || jobStatus !== null || isJson(headers);
  const after = retryAfterMs(headers);
  const range = /(\d+)\s*$/.exec(headerOf(headers, 'range') ?? '');
  return {
    status: isGitlab && isJobsWord ? reply.status : 'away',
    jobStatus,
    length: range ? Number(range[1]) : null,
    intervalS: number('x-gitlab-trace-update-interval'),
    retryAfterS: after === null ? null : after / 1000,
    ...(isHtml(headers) && reply.status >= 400 && reply.status < 500 ? { page: reply.status } : {}),
  };
}

export const jobHeaders = (line: JobRef): Record<string, string> => ({ ...agentHeader, 'JOB-TOKEN': line.token });

/** `PATCH /jobs/:id/trace`. Never throws. `range`: `<start>-<end>`, inclusive. `isDebugged`: GitLab shows such a trace to developers alone. */
export async function patchTrace(
  line: JobRef,
  patch: { bytes: Uint8Array; range: string; isDebugged?: boolean },
  more: { timeoutMs?: number; signal?: AbortSignal } = {},
): Promise<TraceAnswer> {
  try {
    const reply = await call({
      method: 'PATCH',
      url: `${apiOf(line.url)}/jobs/${line.job}/trace?debug_trace=${patch.isDebugged === true}`,
      headers: { ...jobHeaders(line), 'Content-Type': 'text/plain', 'Content-Range': patch.range },
      body: patch.bytes,
      timeoutMs: more.timeoutMs ?? 30_000,
      limitBytes: 64 << 10,
      signal: more.signal,
    });
    return traceAnswerOf(reply);
  } catch {
    return awayAnswer;
  }
}

export interface JobUpdate {
  state: 'running' | 'success' | 'failed';
  failure_reason?: string;
  exit_code?: number;
  output?: { checksum: string; bytesize: number };
}

/** `PUT /jobs/:id`. Never throws; `because` says what came when it was no 2xx. 202: repeat after the interval. */
export async function updateJob(
  line: JobRef,
  update: JobUpdate,
  more: { timeoutMs?: number; signal?: AbortSignal } = {},
): Promise<TraceAnswer & { because: string }> {
  try {
    const reply = await call({
      method: 'PUT',
      url: `${apiOf(line.url)}/jobs/${line.job}`,
      headers: { ...jobHeaders(line), 'Content-Type': 'application/json' },
      body: JSON.stringify({ token: line.token, ...update }),
      timeoutMs: more.timeoutMs ?? 30_000,
      limitBytes: 64 << 10,
      signal: more.signal,
    });
    return { ...traceAnswerOf(reply), because: refusalOf('an update of the job', reply) };
  } catch (error) {
    return { ...awayAnswer, because: reasonOf(error) };
  }
}

/**
 * For the leader: fails a run whose machine is lost, with the run's own token (DESIGN §7). Answers a sentence, also when
 * GitLab had disowned the run before (403, 404): harmless late and twice (SAFETY J6). Throws AutogitError
 * `gitlab-unreachable` when GitLab did not take it.
 */
export async function failRun(line: JobRef & { timeoutMs?: number; signal?: AbortSignal }): Promise<string> {
  const answer = await updateJob(line, { state: 'failed', failure_reason: 'runner_system_failure' }, line);
  if (answer.status === 200 || answer.status === 202) return 'GitLab knows that its machine was lost';
  if (answer.status === 403 || answer.status === 404) return 'GitLab had already taken the job away';
  throw new AutogitError('gitlab-unreachable', answer.because);
}

/** `POST /runners/verify`: whether a runner token is one of this GitLab. Throws AutogitError gitlab-*. */
export async function verifyRunner(url: string, token: string, systemId: string, timeoutMs = 15_000): Promise<void> {
  let reply: CallReply;
  try {
    reply = await call({
      method: 'POST',
      url: `${apiOf(url)}/runners/verify`,
      headers: { ...agentHeader, 'Content-Type': 'application/json' },
      body: JSON.stringify({ token, system_id: systemId }),
      timeoutMs,
      fresh: true,
    });
  } catch (cause) {
    throw new AutogitError('gitlab-unreachable', `GitLab at ${url} does not answer: ${reasonOf(cause)}`, { cause });
  }
  if (reply.status === 200) return;
  const isRefused = reply.status === 403 || reply.status === 422;
  const code = mayWorkLater(reply) ? 'gitlab-unreachable' : isRefused ? 'gitlab-refused' : 'gitlab-answer';
  throw new AutogitError(code, refusalOf('the check of a runner token', reply));
}

/** Does GitLab itself answer here, whatever happens to other calls? Its version is told to nobody without a token, in JSON. */
export async function answersItself(url: string, timeoutMs = 5_000): Promise<boolean> {
  try {
    const reply = await call({
      method: 'GET',
      url: `${apiOf(url)}/version`,
      headers: agentHeader,
      timeoutMs,
      fresh: true,
    });
    return reply.status < 500 && isJson(reply.headers);
  } catch {
    return false;
  }
}
