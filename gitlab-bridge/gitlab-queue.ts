import { z } from 'zod';
import { AutogitError } from '../protocol/errors.ts';
import { limits } from '../protocol/limits.ts';
import type { QueuedJob } from '../protocol/queued-job.ts';
import { type AdminDoor, mostPages, pageSize } from './admin-door.ts';
import { jsonOf } from './http-call.ts';

export interface Queue {
  jobs: QueuedJob[];
  complete: boolean;
  /** Jobs, of any runner, that somebody is canceling now. */
  canceling: number[];
}

/** What this GitLab's GraphQL knows; each is taken for known until GitLab says otherwise. */
export interface QueueKnown {
  canceling: boolean;
  pipeline: boolean;
}

const gid = z
  .string()
  .regex(/\/\d+$/)
  .transform((value) => Number(value.slice(value.lastIndexOf('/') + 1)));
const QueuePage = z.object({
  data: z.object({
    canceling: z.object({ nodes: z.array(z.object({ id: gid }).nullable()).nullable() }).nullish(),
    jobs: z
      .object({
        pageInfo: z.object({ hasPreviousPage: z.boolean(), startCursor: z.string().nullable() }),
        nodes: z
          .array(
            z
              .object({
                id: gid,
                name: z.string().nullable(),
                refName: z.string().nullable(),
                tags: z.array(z.string()).nullable(),
                queuedAt: z.string().nullable(),
                createdAt: z.string().nullable(),
                project: z.object({ id: gid, fullPath: z.string() }).nullable(),
                /** Only shown: never a reason to lose the queue. */
                pipeline: z
                  .object({ id: gid.pipe(z.int().positive()) })
                  .nullish()
                  .catch(null),
              })
              .nullable(),
          )
          .nullable(),
      })
      .nullable(),
  }),
});
const Errors = z.object({ errors: z.array(z.object({ message: z.string() })).min(1) });

/**
 * With the jobs that are being canceled where this GitLab knows that state: one call tells both. GitLab counts 38 for it of the
 * 300 that an admin's query may have (contract §2).
 */
const queueQuery = (
  withCanceling: boolean,
  withPipeline: boolean,
) => `query autogitQueue($last: Int!, $before: String) {
  ${withCanceling ? 'canceling: jobs(statuses: [CANCELING], first: 100) { nodes { id } }' : ''}
  jobs(statuses: [PENDING], last: $last, before: $before) {
    pageInfo { hasPreviousPage startCursor }
    nodes { id name refName tags queuedAt createdAt project { id fullPath } ${withPipeline ? 'pipeline { id }' : ''} }
  }
}`;

type QueueNode = NonNullable<NonNullable<NonNullable<z.output<typeof QueuePage>['data']['jobs']>['nodes']>[number]>;

function queuedJob({ id, project, pipeline, ...node }: QueueNode): QueuedJob | null {
  if (project === null) return null;
  const queuedAt = Date.parse(node.queuedAt ?? node.createdAt ?? '');
  return {
    job: id,
    projectId: project.id,
    project: project.fullPath.slice(0, 512),
    name: (node.name ?? '').slice(0, 255),
    ref: (node.refName ?? '').slice(0, 255),
    tags: (node.tags ?? []).slice(0, limits.tagsPerJob).map((tag) => tag.slice(0, limits.tagChars)),
    queuedAt: Number.isFinite(queuedAt) ? queuedAt : 0,
    ...(pipeline ? { pipeline: pipeline.id } : {}),
  };
}

/** What of the query an earlier GitLab does not know, by what it says of it; null: it is about something else. */
function unknownIn(message: string, knows: QueueKnown): keyof QueueKnown | null {
  if (knows.canceling && /canceling/i.test(message)) return 'canceling';
  return knows.pipeline && /\bpipeline\b/i.test(message) ? 'pipeline' : null;
}

/** GitLab lists newest first: the last page holds the oldest jobs, and its end the very oldest. `knows` is corrected by what GitLab says. */
export async function readQueue(door: AdminDoor, limit: number, knows: QueueKnown): Promise<Queue> {
  const jobs = new Map<number, QueuedJob>();
  let canceling: number[] = [];
  let before: string | null = null;
  for (let page = 0; page < mostPages; page++) {
    const reply = await door.raw('POST', '/api/graphql', {
      query: queueQuery(knows.canceling && before === null, knows.pipeline),
      variables: { last: pageSize, before },
    });
    door.requireSuccess('the queue', reply);
    const failed = Errors.safeParse(jsonOf(reply.body));
    if (failed.success) {
      const message = failed.data.errors[0]?.message ?? '';
      const unknown = unknownIn(message, knows);
      if (unknown === null) throw new AutogitError('gitlab-answer', `GitLab's GraphQL says: ${message.slice(0, 300)}`);
      knows[unknown] = false;
      return readQueue(door, limit, knows);
    }
    const { jobs: found, canceling: ending } = door.parse(QueuePage, 'the queue', reply).data;
    if (before === null) canceling = (ending?.nodes ?? []).flatMap((node) => (node ? [node.id] : []));
    for (const node of (found?.nodes ?? []).toReversed()) {
      const job = node && queuedJob(node);
      if (!job) continue;
      jobs.set(job.job, job);
      if (jobs.size >= limit) return { jobs: [...jobs.values()], complete: false, canceling };
    }
    const info = found?.pageInfo;
    if (!info?.hasPreviousPage || !info.startCursor || info.startCursor === before)
      return { jobs: [...jobs.values()], complete: true, canceling };
    before = info.startCursor;
  }
  return { jobs: [...jobs.values()], complete: false, canceling };
}
