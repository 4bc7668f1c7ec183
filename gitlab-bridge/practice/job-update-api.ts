import { z } from 'zod';
import { callerOf, maySee } from './access.ts';
import { type Answer, type Call, idOf, ok, type Route, read, readBody, route } from './api-call.ts';
import { receiveArtifact } from './artifact-upload.ts';
import { knownFailures } from './job-payload.ts';
import { coverageOf } from './job-reports.ts';
import { jobShape } from './job-shapes.ts';
import type { PracticeContext } from './practice-context.ts';
import type { Job } from './records.ts';
import { finished } from './records.ts';
import { badParameter, Refusal, refuse } from './refusal.ts';
import { sameSecret } from './secrets.ts';
import { appendTrace, traceChecksum, traceLength } from './trace-file.ts';

const interval = 'X-GitLab-Trace-Update-Interval';
/** Seconds; 3 while somebody looks at the log. */
const quietInterval = '60';
const watchedInterval = '3';
const maxPatchBytes = 20 * 1_048_576;

/** The running job of a job call, or 403: never 404, a runner has to stop then. */
const runningJob = (context: PracticeContext, call: Call, token: string | undefined): Job => {
  if (context.faults.backoff > 0) {
    context.faults.backoff -= 1;
    throw refuse(429, undefined, { 'Retry-After': '60' });
  }
  const job = context.state.job(idOf(call, 'id'));
  const header = call.headers['job-token'];
  const used = typeof header === 'string' && header !== '' ? header : (token ?? call.query.get('token') ?? '');
  if (job === undefined || !sameSecret(job.token, used)) throw refuse(403);
  if (job.erasedAt !== undefined) throw refuse(403, 'Job has been erased!');
  if (job.status !== 'running' && job.status !== 'canceling')
    throw refuse(403, 'Job is not running', { 'Job-Status': job.status });
  if (job.hasTokenEnded) {
    context.life.fail(job, 'job_token_expired', null);
    throw refuse(403, undefined, { 'Job-Status': job.status });
  }
  return job;
};

const touch = (context: PracticeContext, job: Job): void => {
  const now = context.state.clock.now();
  // Keep-alives may come twice a second; the sweep counts in half hours.
  if (now - job.updatedAt < 5000) return;
  job.updatedAt = now;
  context.state.saveJob(job);
};

const updateBody = z.object({
  token: z.string().optional(),
  state: z.string().optional(),
  failure_reason: z.string().max(255).nullish(),
  exit_code: z.number().int().nullish(),
  checksum: z.string().max(255).nullish(),
  output: z.object({ checksum: z.string().max(255).nullish(), bytesize: z.number().int().nullish() }).nullish(),
  system_id: z.string().max(64).nullish(),
  info: z.unknown().optional(),
});

const checkTrace = (context: PracticeContext, job: Job, body: z.infer<typeof updateBody>): void => {
  const checksum = body.output?.checksum ?? body.checksum;
  if (checksum == null) return;
  const bytesize = body.output?.bytesize ?? null;
  const length = traceLength(context.state, job);
  const matches = checksum === traceChecksum(context.state, job) && (bytesize === null || bytesize === length);
  job.traceCheck = matches ? 'match' : 'mismatch';
  if (!matches)
    context.state.log(`job ${job.id}: trace of ${length} bytes does not match ${checksum} (${bytesize} bytes)`);
};

const updateJob = (context: PracticeContext, call: Call): Answer => {
  const body = read(updateBody, call.body);
  const job = runningJob(context, call, body.token);
  context.rate.count(`update ${job.id}`, context.limits.jobUpdates);
  if (body.state === 'running') touch(context, job);
  else if (body.state === 'success') {
    job.coverage = coverageOf(context.state, job);
    checkTrace(context, job, body);
    job.exitCode = body.exit_code ?? null;
    context.life.succeed(job);
  } else if (body.state === 'failed') {
    job.coverage = coverageOf(context.state, job);
    checkTrace(context, job, body);
    const reason = body.failure_reason ?? 'unknown_failure';
    context.life.fail(job, knownFailures.has(reason) ? reason : 'unknown_failure', body.exit_code ?? null);
  } else throw new Refusal(400, { message: '400 Bad request - Unknown state' }, { 'Job-Status': job.status });
  if (finished(job.status)) context.state.log(`job ${job.id} ${job.name} ${job.status}`);
  return { status: 200, text: '200', headers: { 'Job-Status': job.status, [interval]: quietInterval } };
};

const appendRange = /^(\d{1,15})-(\d{1,15})?$/;

const patchTrace = async (context: PracticeContext, call: Call, watched: (job: Job) => boolean): Promise<Answer> => {
  const job = runningJob(context, call, undefined);
  context.rate.count(`trace ${job.id}`, context.limits.traces);
  const range = call.headers['content-range'];
  if (typeof range !== 'string') throw new Refusal(400, { message: '400 Missing header Content-Range' });
  const start = appendRange.exec(range)?.[1];
  if (start === undefined) throw badParameter('Content-Range is invalid');
  const bytes = await readBody(call.request, maxPatchBytes);
  const length = traceLength(context.state, job);
  // Only what begins exactly at the end is appended; the end of the range is ignored, the body's length counts.
  if (Number(start) !== length)
    throw new Refusal(
      416,
      { message: '416 Range Not Satisfiable' },
      { Range: `0-${length}`, 'Job-Status': job.status },
    );
  if (length + bytes.length > context.limits.traceBytes) {
    context.life.fail(job, 'trace_size_exceeded', null);
    throw refuse(403, undefined, { 'Job-Status': job.status });
  }
  // The job may have ended while the body came in.
  if (finished(job.status)) throw refuse(403, 'Job is not running', { 'Job-Status': job.status });
  if (bytes.length > 0) appendTrace(context.state, job, bytes);
  touch(context, job);
  return {
    status: 202,
    text: '0',
    headers: {
      'Job-Status': job.status,
      Range: `0-${length + bytes.length}`,
      [interval]: watched(job) ? watchedInterval : quietInterval,
    },
  };
};

/** Sends one artifact file; `archive` is what people and dependent jobs download. */
export const artifactAnswer = (context: PracticeContext, job: Job): Answer => {
  const archive = job.artifacts.find((artifact) => artifact.type === 'archive');
  if (archive === undefined) throw refuse(404);
  return {
    status: 200,
    file: context.state.artifactPath(archive.stored),
    type: archive.format === 'zip' ? 'application/zip' : 'application/octet-stream',
    headers: { 'Content-Disposition': `attachment; filename="${archive.filename.replace(/[^\w.-]/g, '_')}"` },
  };
};

/** With the token of the running job itself, or of another running job of the same project. */
const downloadArtifacts = (context: PracticeContext, call: Call): Answer => {
  const caller = callerOf(context.state, call, true);
  if (caller === null) throw refuse(401);
  const job = context.state.job(idOf(call, 'id'));
  if (job === undefined) throw refuse(403);
  const project = context.state.project(job.projectId);
  if (project === undefined || !maySee(caller, project)) throw refuse(403);
  return artifactAnswer(context, job);
};

/** What a runner calls for the job it has. */
export const jobUpdateRoutes = (context: PracticeContext, watched: (job: Job) => boolean): Route[] => [
  route('PUT', '/api/v4/jobs/:id', (call) => updateJob(context, call)),
  route('PATCH', '/api/v4/jobs/:id/trace', (call) => patchTrace(context, call, watched), { body: 'stream' }),
  route('POST', '/api/v4/jobs/:id/artifacts/authorize', () => {
    throw refuse(403, "only GitLab's own Workhorse calls this");
  }),
  route(
    'POST',
    '/api/v4/jobs/:id/artifacts',
    (call) => receiveArtifact(context, call, runningJob(context, call, undefined)),
    {
      body: 'stream',
    },
  ),
  route('GET', '/api/v4/jobs/:id/artifacts', (call) => downloadArtifacts(context, call)),
  route('GET', '/api/v4/job', (call) => {
    const caller = callerOf(context.state, call, true);
    if (caller?.job == null) throw refuse(401);
    return ok(jobShape(context.state, caller.job, call.base));
  }),
];
