import { createHash, randomUUID } from 'node:crypto';
import { createWriteStream, rmSync } from 'node:fs';
import { pipeline } from 'node:stream/promises';
import busboy from 'busboy';
import type { Answer, Call } from './api-call.ts';
import { durationSeconds } from './ci/duration.ts';
import { reportKinds } from './ci/reports.ts';
import { dotenvVariables } from './job-reports.ts';
import { artifactLimit, type PracticeContext } from './practice-context.ts';
import { finished, type Job } from './records.ts';
import { badParameter, refuse } from './refusal.ts';

const types: ReadonlySet<string> = new Set(['archive', 'metadata', 'trace', ...reportKinds.keys()]);
const formats = ['zip', 'gzip', 'raw'] as const;

interface Received {
  stored: string;
  filename: string;
  size: number;
  sha256: string;
  fields: Record<string, string>;
}

/** Streams the multipart field `file` to disk; 413 beyond the limit, 400 when it is no multipart or has no file. */
const receive = async (context: PracticeContext, call: Call): Promise<Received> => {
  const stored = randomUUID();
  const path = context.state.artifactPath(stored);
  const fields: Record<string, string> = {};
  const limit = artifactLimit(context);
  let filename: string | null = null;
  let writing: Promise<void> = Promise.resolve();
  let size = 0;
  const sum = createHash('sha256');
  let tooLarge = Number(call.headers['content-length'] ?? 0) > limit + 65_536;
  try {
    if (tooLarge) throw refuse(413);
    let parser: busboy.Busboy;
    try {
      parser = busboy({ headers: call.headers, limits: { fileSize: limit, files: 2, fields: 20, fieldSize: 4096 } });
    } catch {
      throw badParameter('file is missing');
    }
    parser.on('field', (name, value) => {
      fields[name] = value;
    });
    parser.on('file', (name, stream, info) => {
      if (name !== 'file' || filename !== null) {
        stream.resume();
        return;
      }
      filename = info.filename || 'artifacts.zip';
      stream.on('data', (part: Buffer) => {
        size += part.length;
        sum.update(part);
      });
      stream.on('limit', () => {
        tooLarge = true;
      });
      writing = pipeline(stream, createWriteStream(path, { mode: 0o600 }));
      writing.catch(() => {});
    });
    await pipeline(call.request, parser).catch((cause: unknown) => {
      if (call.signal.aborted) throw cause;
      throw badParameter('file is invalid');
    });
    await writing;
    if (tooLarge) throw refuse(413);
    if (filename === null) throw badParameter('file is missing');
    return { stored, filename, size, sha256: sum.digest('hex'), fields };
  } catch (error) {
    rmSync(path, { force: true });
    throw error;
  }
};

export const receiveArtifact = async (context: PracticeContext, call: Call, job: Job): Promise<Answer> => {
  const received = await receive(context, call);
  const path = context.state.artifactPath(received.stored);
  const given = (name: string): string | null => call.query.get(name) ?? received.fields[name] ?? null;
  const type = given('artifact_type') ?? 'archive';
  const format = given('artifact_format') ?? 'zip';
  const expireIn = given('expire_in') ?? job.spec.artifacts?.expireIn ?? null;
  const wrong = (message: string): never => {
    rmSync(path, { force: true });
    throw badParameter(message);
  };
  if (!types.has(type)) wrong('artifact_type does not have a valid value');
  if (!formats.some((known) => known === format)) wrong('artifact_format does not have a valid value');
  const seconds = expireIn === null || expireIn === '' || expireIn === 'never' ? null : durationSeconds(expireIn);
  if (finished(job.status)) {
    rmSync(path, { force: true });
    throw refuse(403, 'Job is not running', { 'Job-Status': job.status });
  }
  const before = job.artifacts.find((artifact) => artifact.type === type);
  if (before) {
    // As GitLab: the same file again is accepted, another one in its place is not.
    rmSync(path, { force: true });
    if (before.sha256 === received.sha256) return { status: 201, text: '201' };
    throw refuse(400, 'another artifact of the same type already exists');
  }
  if (type === 'dotenv')
    try {
      job.dotenv = dotenvVariables(path);
    } catch (error) {
      rmSync(path, { force: true });
      throw error;
    }
  job.artifacts.push({
    type,
    format,
    filename: type === 'archive' ? received.filename : received.filename.slice(0, 255),
    size: received.size,
    sha256: received.sha256,
    stored: received.stored,
    expireAt: seconds === null ? null : context.state.clock.now() + seconds * 1000,
  });
  job.updatedAt = context.state.clock.now();
  context.state.saveJob(job);
  return { status: 201, text: '201' };
};
