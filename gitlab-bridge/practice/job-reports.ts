import { closeSync, openSync, readFileSync, readSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { type CiVariable, variable } from './ci/ci-variables.ts';
import { writtenPattern } from './ci/re2.ts';
import type { State } from './practice-state.ts';
import type { Job } from './records.ts';
import { badParameter } from './refusal.ts';
import { traceLength } from './trace-file.ts';

/** What GitLab itself reads of a job's output: its dotenv report and its coverage. */
const maxDotenvBytes = 5120;
const maxDotenvVariables = 150;
const maxTraceRead = 4 * 1_048_576;

/** The variables of a dotenv report, gzipped; an unreadable one is refused in GitLab's words. */
export const dotenvVariables = (path: string): CiVariable[] => {
  let text: string;
  try {
    text = gunzipSync(readFileSync(path), { maxOutputLength: maxDotenvBytes }).toString('utf8');
  } catch (error) {
    const isLarge = error instanceof RangeError;
    throw badParameter(
      isLarge ? `Dotenv Artifact Too Big. Maximum Allowable Size: ${maxDotenvBytes}` : 'Invalid Format',
    );
  }
  const lines = text
    .replace(/^\uFEFF/, '')
    .replace(/\n$/, '')
    .split('\n');
  const values = new Map<string, string>();
  for (const line of text === '' ? [] : lines) {
    const [, key, value] = /^(.*?)=(.*)$/.exec(line.replace(/\r$/, '')) ?? [];
    if (key === undefined || value === undefined || !/^\w+$/.test(key.trim())) throw badParameter('Invalid Format');
    values.set(key.trim(), value.trim());
  }
  if (values.size > maxDotenvVariables)
    throw badParameter(`Dotenv files cannot have more than ${maxDotenvVariables} variables`);
  return [...values].map(([key, value]) => variable(key, value));
};

/** Per cent by the job's `coverage`: the number in the last match of the last line that has one. Null: there is none. */
export const coverageOf = (state: State, job: Job): number | null => {
  const found = job.spec.coverage == null ? null : writtenPattern(job.spec.coverage);
  const length = traceLength(state, job);
  if (found === null || length === 0) return null;
  const bytes = Buffer.alloc(Math.min(length, maxTraceRead));
  const file = openSync(state.tracePath(job.id), 'r');
  readSync(file, bytes, 0, bytes.length, length - bytes.length);
  closeSync(file);
  for (const line of bytes.toString('utf8').split('\n').reverse()) {
    const match = found.scan(line.replace(/\r$/, '')).flat().at(-1);
    const number = match === undefined ? null : /\d+(?:\.\d+)?/.exec(match);
    if (number !== null) return Number(number[0]);
  }
  return null;
};
