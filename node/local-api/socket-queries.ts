import { z } from 'zod';
import { JobId } from '../../protocol/ids.ts';

/** HTTP/1.1 with JSON over agent.sock. The version is in the path and in a header of every request and answer. */
export const socketVersion = '1';
export const versionHeader = 'autogit-socket';

/** A query parameter that is on when it is `1`. */
const on = z
  .enum(['0', '1'])
  .default('0')
  .transform((text) => text === '1');
const wholeNumber = z
  .string()
  .regex(/^\d{1,15}$/)
  .transform(Number);

/** Waits up to `wait` ms until the answer differs from the one with this `tag`. */
const unlike = z.strictObject({
  wait: wholeNumber.pipe(z.int().max(60_000)).optional(),
  tag: z.string().max(64).optional(),
});

/** What each path of a GET takes; the bodies of a POST stand in socket-protocol.ts, which an agent loads with the first one. Anything else is refused at the door. */
export const queries = {
  phase: z.strictObject({}),
  status: unlike,
  jobs: z.strictObject({ all: on }),
  why: z.strictObject({ job: wholeNumber.pipe(JobId) }),
  logs: z.strictObject({
    job: wholeNumber.pipe(JobId).optional(),
    node: z.string().min(1).max(64).optional(),
    /** Of all machines, as JSON lines with their `machine`. */
    all: on,
    follow: on,
  }),
  settings: unlike,
  recovery: z.strictObject({}),
  caches: z.strictObject({}),
  pageKeys: z.strictObject({}),
  metrics: z.strictObject({}),
  /** Waits up to `wait` ms for something that happened after `since`. */
  timeline: z.strictObject({
    since: z
      .string()
      .regex(/^\d{1,16}$/)
      .optional(),
    wait: unlike.shape.wait,
  }),
  usage: z.strictObject({}),
  notify: z.strictObject({}),
  audit: z.strictObject({}),
} as const;
