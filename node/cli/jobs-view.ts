import type { JobRow, WhyAnswer } from '../../protocol/job-rows.ts';
import { pipelineName, pipelineRows } from '../faces/pipeline-rows.ts';
import { showDuration } from '../settings/quantities.ts';
import { wrapped } from '../text-wrap.ts';
import { localTimes } from './local-time.ts';
import { attentionLine, printTable } from './table.ts';

interface Form {
  isTerminal: boolean;
  columns: number;
  /** ms since the Unix epoch. */
  now: number;
  /** Finished ones were asked for too: then nobody is sent to look for them there. */
  isAll?: boolean;
}

const gapOfLabel = ' '.repeat(10);

/** How long it waits, ran or runs; what happened last counts. */
function timeOf(row: JobRow, now: number): string {
  const from = row.startedAt ?? row.queuedAt;
  if (from === null) return '-';
  return showDuration((row.finishedAt === null ? now : Date.parse(row.finishedAt)) - Date.parse(from));
}

/** Queue and runs, one job a line, with why; `#` lines name the commands that tell more. */
export function jobsView(rows: readonly JobRow[], form: Form): string {
  if (!form.isTerminal) return printTable({ head: [], rows: rows.map(cellsForPipe) }, form);
  if (rows.length === 0)
    return form.isAll ? 'no jobs, nor any that are over' : 'no jobs   (finished ones too: autogit-node jobs --all)';
  // Of no use where GitLab, or the leader, tells of none.
  const hasPipelines = rows.some(({ pipeline }) => pipeline !== undefined);
  const table = printTable(
    {
      head: ['JOB', 'STATE', 'NODE', 'NAME', 'PROJECT', ...(hasPipelines ? ['PIPELINE'] : []), 'TIME', 'WHY'],
      rows: rows.map((row) => [
        String(row.job),
        row.state,
        row.node ?? '-',
        row.name,
        `${row.project}@${row.ref}`,
        ...(hasPipelines ? [numberOf(row)] : []),
        timeOf(row, form.now),
        row.because,
      ]),
      spare: ['PIPELINE', 'PROJECT', 'TIME'],
    },
    { isTerminal: true, columns: form.columns },
  );
  const waiting = rows.find((row) => row.state === 'waiting');
  const hint = waiting
    ? attentionLine(`${waiting.job} ${waiting.because}`, `autogit-node why ${waiting.job}`, form.columns)
    : null;
  return hint === null ? table : `${table}\n\n${hint}`;
}

const numberOf = ({ pipeline }: JobRow): string => (pipeline === undefined ? '-' : pipelineName(pipeline));

const cellsForPipe = (row: JobRow): string[] => [
  String(row.job),
  row.state,
  row.node ?? '-',
  row.project,
  row.name,
  row.ref,
  row.tags.join(','),
  row.queuedAt ?? '-',
  row.startedAt ?? '-',
  row.finishedAt ?? '-',
  row.exitCode === null ? '-' : String(row.exitCode),
  row.because,
  row.pipeline === undefined ? '-' : String(row.pipeline),
];

/** `#1271: 1 running, 2 waiting`: its pipeline, with what the mesh knows of that. */
function pipelineWords(row: JobRow, rows: readonly JobRow[]): string {
  const own = pipelineRows(rows).find(({ pipeline, project }) => pipeline === row.pipeline && project === row.project);
  return own ? `${pipelineName(own.pipeline)}: ${own.sentence}` : '-';
}

/** Everything about one job of `rows`, which are all that the mesh knows. */
export function jobView(row: JobRow, rows: readonly JobRow[], form: Form): string {
  const lines: [string, string][] = [
    ['job', `${row.job} ${row.name}`],
    ['project', `${row.project}@${row.ref}`],
    ['pipeline', pipelineWords(row, rows)],
    ['tags', row.tags.join(', ') || 'none'],
    ['state', row.exitCode === null ? row.state : `${row.state}, exit code ${row.exitCode}`],
    ['node', row.node ?? '-'],
    ['attempt', String(row.attempt)],
    ['queued', row.queuedAt ?? '-'],
    ['started', row.startedAt ?? '-'],
    ['finished', row.finishedAt ?? '-'],
    ['why', row.because],
  ];
  return form.isTerminal
    ? lines
        .map(
          ([name, value]) =>
            `${name.padEnd(10)}${wrapped(localTimes(value), form.columns - 10).join(`\n${gapOfLabel}`)}`,
        )
        .join('\n')
    : lines.map((line) => line.join('\t')).join('\n');
}

/** `why`: every machine, and the one reason it was not chosen; of a job that is over, where it ran and how it ended. */
export function whyView(why: WhyAnswer, form: { isTerminal: boolean; columns: number }): string {
  const ended = why.ended ? endedWords(why.state, why.ended) : null;
  if (!form.isTerminal) {
    const rows = why.machines.map(({ node, fits, because }) => [node, fits ? 'fits' : 'no', because]);
    const last = ended === null ? [] : [[why.ended?.node ?? '-', ended, why.because]];
    return printTable({ head: [], rows: [...rows, ...last] }, form);
  }
  const verb = ended ?? (why.state === 'waiting' ? `waits ${showDuration(why.waitedMs)}` : why.state);
  const which = `${why.job} ${why.name} ${why.project}@${why.ref}   ${verb}`;
  const needs = `needs: ${why.needs}`;
  const isOneLine = which.length + needs.length + 3 <= form.columns;
  const head = isOneLine ? `${which}   ${needs}` : [which, ...wrapped(needs, form.columns)].join('\n');
  const width = Math.max(0, ...why.machines.map(({ node }) => node.length));
  const gap = ' '.repeat(width + 5);
  const rows = why.machines.map(
    ({ node, because }) =>
      `  ${node.padEnd(width)}   ${wrapped(because, Math.max(20, form.columns - gap.length)).join(`\n${gap}`)}`,
  );
  return [head, ...rows, ...(why.because === '' ? [] : [attentionLine(why.because, null, form.columns)])].join('\n');
}

/** `failed after 12 s, exit code 1`; a job whose script never began took no time. */
function endedWords(state: string, { startedAt, finishedAt, exitCode }: NonNullable<WhyAnswer['ended']>): string {
  const took =
    startedAt === null || finishedAt === null
      ? ''
      : ` after ${showDuration(Math.max(0, Date.parse(finishedAt) - Date.parse(startedAt)))}`;
  const code = exitCode === null || state === 'done' ? '' : `, exit code ${exitCode}`;
  return `${state}${took}${code}`;
}
