import type { JobRow } from '../../protocol/job-rows.ts';

/** The jobs of one pipeline, as the mesh knows them: what its later stages bring is known to GitLab alone until it waits. */
export interface PipelineRow {
  project: string;
  ref: string;
  /** GitLab's number of it, as in the address of its page. */
  pipeline: number;
  rows: JobRow[];
  isUnderWay: boolean;
  /** Jobs of it that failed and were not tried again, by number. */
  failed: ReadonlySet<number>;
  /** `1 running, 2 waiting, 3 done`. */
  sentence: string;
}

type Count = 'running' | 'waiting' | 'failed' | 'done' | 'canceled' | 'tried again';

const counts: Record<JobRow['state'], Count> = {
  waiting: 'waiting',
  granted: 'waiting',
  running: 'running',
  canceling: 'running',
  done: 'done',
  failed: 'failed',
  canceled: 'canceled',
  lost: 'failed',
};
const inOrder: readonly Count[] = ['running', 'waiting', 'failed', 'done', 'canceled', 'tried again'];

/** As GitLab writes it. */
export const pipelineName = (pipeline: number): string => `#${pipeline}`;

/**
 * Jobs by their pipelines: what is under way first, the oldest of it first, as the queue goes; then what has ended, the newest first.
 * Jobs of no known pipeline are in none.
 */
export function pipelineRows(rows: readonly JobRow[]): PipelineRow[] {
  const found = new Map<string, { pipeline: number; rows: JobRow[] }>();
  for (const row of rows) {
    const { pipeline, project } = row;
    if (pipeline === undefined) continue;
    const key = `${pipeline} ${project}`;
    const known = found.get(key);
    if (known) known.rows.push(row);
    else found.set(key, { pipeline, rows: [row] });
  }
  const all = [...found.values()].map(pipelineRow);
  const underWay = all.filter(({ isUnderWay }) => isUnderWay).sort((a, b) => a.pipeline - b.pipeline);
  return [...underWay, ...all.filter(({ isUnderWay }) => !isUnderWay).sort((a, b) => b.pipeline - a.pipeline)];
}

function pipelineRow({ pipeline, rows }: { pipeline: number; rows: JobRow[] }): PipelineRow {
  const newest = new Map<string, number>();
  for (const { name, job } of rows) newest.set(name, Math.max(job, newest.get(name) ?? 0));
  const tally = new Map<Count, number>();
  const failed = new Set<number>();
  for (const { name, job, state } of rows) {
    // A job that was tried again is another one by its number, with the same name.
    const count = (newest.get(name) as number) > job ? 'tried again' : counts[state];
    if (count === 'failed') failed.add(job);
    tally.set(count, (tally.get(count) ?? 0) + 1);
  }
  const [first] = rows as [JobRow, ...JobRow[]];
  return {
    ...{ pipeline, rows, project: first.project, ref: first.ref },
    isUnderWay: tally.has('running') || tally.has('waiting'),
    failed,
    sentence: inOrder.flatMap((count) => (tally.has(count) ? [`${tally.get(count)} ${count}`] : [])).join(', '),
  };
}
