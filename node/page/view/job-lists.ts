import type { JobRow } from '../../../protocol/job-rows.ts';
import type { StatusSnapshot } from '../../../protocol/status.ts';
import { type PipelineRow, pipelineRows } from '../../faces/pipeline-rows.ts';
import { showDuration } from '../../settings/quantities.ts';
import type { Tone } from './machine-cards.ts';
import { pipelineAddress } from './web-address.ts';

interface Progress {
  /** 0 to 100; null while nobody knows how long it takes. */
  percent: number | null;
  words: string;
}

export interface JobLine {
  row: JobRow;
  /** `project@ref`. */
  of: string;
  time: string;
  progress: Progress | null;
}

interface JobLists {
  running: JobLine[];
  waiting: JobLine[];
  ended: JobLine[];
}

export interface PipelineGroup extends PipelineRow {
  key: string;
  tone: Tone;
  /** Its page in GitLab. */
  url: string | null;
  /** What failed last, what runs, what waits, what else ended, the last first. */
  lines: JobLine[];
}

interface JobGroups {
  pipelines: PipelineGroup[];
  /** Jobs of no known pipeline: GitLab, or a machine of an earlier version, does not tell. */
  others: JobLists;
}

const runs = new Set<JobRow['state']>(['granted', 'running', 'canceling']);
/** Of jobs that are over so many are shown. */
const endedShown = 30;
/** Of a pipeline's failed jobs so many stand above what runs. */
const failedAtFirst = 3;
/** A job's time is learned of so many of its last good runs. */
const learnedOf = 9;

/** What runs with how far it is, what waits (the first first), and what ended last. `nowMs`: by the agent's clock. */
export function jobLists(rows: readonly JobRow[], nowMs: number): JobLists {
  const { running, waiting, ended } = listsOf(rows, nowMs, usualTimes(rows));
  return { running, waiting, ended: ended.slice(0, endedShown) };
}

/** The same by the pipelines that the jobs are of. `gitlab`: its address. */
export function jobGroups(rows: readonly JobRow[], nowMs: number, gitlab: string | null): JobGroups {
  const usual = usualTimes(rows);
  const others = listsOf(
    rows.filter(({ pipeline }) => pipeline === undefined),
    nowMs,
    usual,
  );
  return {
    pipelines: pipelineRows(rows).map((row) => {
      const { running, waiting, ended } = listsOf(row.rows, nowMs, usual);
      return {
        ...row,
        key: `${row.pipeline} ${row.project}`,
        tone: row.failed.size > 0 ? 'fail' : running.length > 0 ? 'busy' : row.isUnderWay ? 'rest' : 'good',
        url: pipelineAddress(gitlab, row.project, row.pipeline),
        lines: failedFirst([...running, ...waiting, ...ended], row.failed),
      };
    }),
    others: { ...others, ended: others.ended.slice(0, endedShown) },
  };
}

/** Of a pipeline the first few jobs are shown: what broke is looked for, and would stand behind all that waits. */
function failedFirst(lines: readonly JobLine[], failed: ReadonlySet<number>): JobLine[] {
  const first = lines.filter(({ row }) => failed.has(row.job)).slice(0, failedAtFirst);
  return [...first, ...lines.filter((line) => !first.includes(line))];
}

function listsOf(rows: readonly JobRow[], nowMs: number, usual: ReadonlyMap<string, number>): JobLists {
  const lines = rows.map((row) => lineOf(row, nowMs, usual));
  return {
    running: lines.filter(({ row }) => runs.has(row.state)),
    waiting: lines.filter(({ row }) => row.state === 'waiting'),
    ended: lines
      .filter(({ row }) => row.state !== 'waiting' && !runs.has(row.state))
      .sort((a, b) => ((a.row.finishedAt ?? '') < (b.row.finishedAt ?? '') ? 1 : -1)),
  };
}

const keyOf = ({ project, name }: JobRow): string => `${project}\n${name}`;

/** How long each job of a project usually takes, ms: the middle of its last good runs. */
function usualTimes(rows: readonly JobRow[]): ReadonlyMap<string, number> {
  const took = new Map<string, { at: string; ms: number }[]>();
  for (const row of rows) {
    if (row.state !== 'done' || row.startedAt === null || row.finishedAt === null) continue;
    const ms = Date.parse(row.finishedAt) - Date.parse(row.startedAt);
    if (!(ms > 0)) continue;
    took.set(keyOf(row), [...(took.get(keyOf(row)) ?? []), { at: row.finishedAt, ms }]);
  }
  return new Map(
    [...took].map(([key, all]) => {
      const last = all.sort((a, b) => (a.at < b.at ? 1 : -1)).slice(0, learnedOf);
      const sorted = last.map(({ ms }) => ms).sort((a, b) => a - b);
      return [key, sorted[sorted.length >> 1] as number];
    }),
  );
}

function lineOf(row: JobRow, nowMs: number, usual: ReadonlyMap<string, number>): JobLine {
  const from = row.startedAt ?? row.queuedAt;
  const to = row.finishedAt === null ? nowMs : Date.parse(row.finishedAt);
  const ms = from === null ? null : Math.max(0, to - Date.parse(from));
  return {
    row,
    of: `${row.project}@${row.ref}`,
    time: ms === null ? '-' : showDuration(row.finishedAt === null ? Math.floor(ms / 1000) * 1000 : ms),
    progress:
      row.state === 'running' && row.startedAt !== null && ms !== null ? progressOf(ms, usual.get(keyOf(row))) : null,
  };
}

function progressOf(ms: number, usualMs: number | undefined): Progress {
  if (usualMs === undefined) return { percent: null, words: 'its first time here' };
  if (ms > usualMs) return { percent: 99, words: `longer than usual (${showDuration(usualMs)})` };
  const left = Math.ceil((usualMs - ms) / 1000) * 1000;
  return { percent: Math.min(99, Math.floor((100 * ms) / usualMs)), words: `about ${showDuration(left)} left` };
}

/** What of a job a person may ask now. */
export const jobActs = ({ state }: JobRow): { cancel: boolean; retry: boolean } => ({
  cancel: state === 'waiting' || state === 'granted' || state === 'running',
  retry: state === 'failed' || state === 'canceled' || state === 'lost' || state === 'done',
});

/** What stands where no job does. */
export const noJobs = (mode: StatusSnapshot['gitlab']['mode']): string =>
  mode === 'none'
    ? 'No job can come: this mesh has no GitLab yet. autogit-node gitlab deploy runs one, gitlab connect takes jobs from yours.'
    : 'No job waits or runs. The next push shows up here by itself.';
