import { appendFileSync, closeSync, existsSync, openSync, readSync, statSync } from 'node:fs';
import { crc32 } from 'node:zlib';
import type { State } from './practice-state.ts';
import type { Job } from './records.ts';

/** A job's trace is a file that only grows; its length is the next offset. */
export const traceLength = (state: State, job: Job): number => {
  const path = state.tracePath(job.id);
  return existsSync(path) ? statSync(path).size : 0;
};

export const appendTrace = (state: State, job: Job, bytes: Buffer): void =>
  appendFileSync(state.tracePath(job.id), bytes, { mode: 0o600 });

/** `crc32:%08x` of the whole trace, as a runner's `output.checksum` says it. */
export const traceChecksum = (state: State, job: Job): string => {
  let sum = 0;
  const path = state.tracePath(job.id);
  if (existsSync(path)) {
    const file = openSync(path, 'r');
    const part = Buffer.alloc(65_536);
    for (let read = readSync(file, part); read > 0; read = readSync(file, part))
      sum = crc32(part.subarray(0, read), sum);
    closeSync(file);
  }
  return `crc32:${sum.toString(16).padStart(8, '0')}`;
};
