import { z } from 'zod';
import { Sentence } from './ids.ts';
import { limits } from './limits.ts';

/** What an event is about. `attention`: something that a person should look at came, or is over. */
const timelineKinds = [
  'election',
  'member',
  'approval',
  'lost-run',
  'job',
  'gitlab',
  'move',
  'backup',
  'owner',
  'attention',
] as const;

/** One thing that happened to the mesh, as one machine saw it, in the words of CLI and log. */
export const TimelineEvent = z.object({
  /** Decimal, 16 digits, and grows: also as text. Each machine counts by itself. */
  id: z.string().regex(/^\d{16}$/),
  /** RFC 3339: when it happened, or when this machine saw it. */
  at: z.string(),
  kind: z.enum(timelineKinds),
  severity: z.enum(['info', 'warn', 'fail']),
  /** The machine that it is about; null: the mesh. */
  node: z.string().nullable(),
  sentence: Sentence,
  because: Sentence.nullable(),
});
export type TimelineEvent = z.infer<typeof TimelineEvent>;

/** Oldest first. Where more happened since than one answer has, the newest of them. */
export const Timeline = z.object({ events: z.array(TimelineEvent).max(limits.timelineAnswered) });
export type Timeline = z.infer<typeof Timeline>;

/** From 0 to 1; null: nothing was heard of it then. */
const Share = z.number().min(0).max(1).nullable();
const Shares = z.array(Share).max(limits.usageSteps);

/** What machines used, a mean each step, oldest first: 24 hours in steps of 5 minutes, the last one still under way. */
export const Usage = z.object({
  stepMs: z.number(),
  /** RFC 3339: when the first step began. */
  from: z.string(),
  machines: z.array(
    z.object({
      node: z.string(),
      cpu: Shares,
      memory: Shares,
      gpus: z.array(z.object({ name: z.string(), load: Shares, memory: Shares })),
    }),
  ),
});
export type Usage = z.infer<typeof Usage>;
