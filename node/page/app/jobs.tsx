import { useId, useRef, useState } from 'preact/hooks';
import { plural } from '../../../scheduler/phrases.ts';
import { pipelineName } from '../../faces/pipeline-rows.ts';
import { type JobLine, jobGroups, noJobs, type PipelineGroup } from '../view/job-lists.ts';
import type { Tone } from '../view/machine-cards.ts';
import type { PageState } from '../view/page-state.ts';
import { Bar, clock, Dot, plain } from './words.tsx';

const tones: Record<JobLine['row']['state'], Tone> = {
  waiting: 'rest',
  granted: 'busy',
  running: 'busy',
  canceling: 'rest',
  done: 'good',
  failed: 'fail',
  canceled: 'rest',
  lost: 'warn',
};

/** Of each list, of pipelines, and of the jobs of each; the others are a button away. */
const atFirst = { running: 12, waiting: 12, ended: 8, pipelines: 10, jobs: 8 } as const;

/** Pipelines with what runs, what waits and why, what ended; then the jobs of which nobody told the pipeline. */
export function Jobs({ state, nowMs }: { state: PageState; nowMs: number }) {
  const { status, jobs } = state;
  if (status === null) return null;
  const { pipelines, others } = jobGroups(jobs, nowMs + state.skewMs, status.gitlab.url);
  const { doneToday, failedToday } = status.queue;
  return (
    <section id="jobs" aria-labelledby="jobs-title">
      <h2 id="jobs-title">
        Jobs{' '}
        <small>
          {status.queue.running} run, {status.queue.waiting} wait, {doneToday} done today, {failedToday} failed
        </small>
      </h2>
      <div class="card">
        {jobs.length === 0 && <p class="empty">{noJobs(status.gitlab.mode)}</p>}
        <Pipelines groups={pipelines} />
        {(['running', 'waiting', 'ended'] as const).map((title) => (
          <List key={title} title={title} lines={others[title]} isBeside={pipelines.length > 0} />
        ))}
      </div>
    </section>
  );
}

function Pipelines({ groups }: { groups: PipelineGroup[] }) {
  const [isAll, setAll] = useState(false);
  if (groups.length === 0) return null;
  return (
    <>
      <ul class="pipelines">
        {(isAll ? groups : groups.slice(0, atFirst.pipelines)).map((group) => (
          <Pipeline key={group.key} group={group} />
        ))}
      </ul>
      <More count={groups.length - atFirst.pipelines} of="pipeline" isAll={isAll} setAll={setAll} />
    </>
  );
}

/** Open while it is under way, and from then on, for who reads it is not to be interrupted; else as one likes. */
function Pipeline({ group }: { group: PipelineGroup }) {
  const [chosen, choose] = useState<boolean | null>(null);
  const [isAll, setAll] = useState(false);
  const id = useId();
  const wasUnderWay = useRef(false);
  wasUnderWay.current ||= group.isUnderWay;
  const isOpen = chosen ?? wasUnderWay.current;
  const { project, pipeline, ref, sentence, tone, url, lines } = group;
  return (
    <li data-pipeline={pipeline}>
      <div class="pipeline">
        <h3>
          <button
            type="button"
            class="fold"
            aria-expanded={isOpen}
            aria-controls={isOpen ? id : undefined}
            onClick={() => choose(!isOpen)}
          >
            <Dot tone={tone} />
            <span class="what">
              {plain(project)} {pipelineName(pipeline)} <span class="of">{plain(ref)}</span>
            </span>{' '}
            <span class="of">{sentence}</span>
          </button>
        </h3>
        {url !== null && (
          <a
            href={url}
            rel="noreferrer noopener"
            target="_blank"
            aria-label={`pipeline ${pipeline} of ${plain(project)} in GitLab`}
          >
            in GitLab
          </a>
        )}
      </div>
      {isOpen && (
        <>
          <ul class="jobs" id={id}>
            {(isAll ? lines : lines.slice(0, atFirst.jobs)).map((line) => (
              <li key={line.row.job} data-job={line.row.job} data-state={line.row.state}>
                <Line line={line} isOfGroup />
              </li>
            ))}
          </ul>
          <More
            count={lines.length - atFirst.jobs}
            of="job"
            in={` of ${pipelineName(pipeline)}`}
            isAll={isAll}
            setAll={setAll}
          />
        </>
      )}
    </li>
  );
}

interface ListProps {
  title: 'running' | 'waiting' | 'ended';
  lines: JobLine[];
  /** Pipelines stand above it. */
  isBeside: boolean;
}

function List({ title, lines, isBeside }: ListProps) {
  const [isAll, setAll] = useState(false);
  if (lines.length === 0) return null;
  return (
    <>
      <h3 class="list">{isBeside ? `${title}, of no known pipeline` : title}</h3>
      <ul class="jobs">
        {(isAll ? lines : lines.slice(0, atFirst[title])).map((line) => (
          <li key={line.row.job} data-job={line.row.job} data-state={line.row.state}>
            <Line line={line} />
          </li>
        ))}
      </ul>
      <More count={lines.length - atFirst[title]} of="job" in={`, ${title}`} isAll={isAll} setAll={setAll} />
    </>
  );
}

/** `1 more job of #7`. */
function More(props: { count: number; of: string; in?: string; isAll: boolean; setAll(isAll: boolean): void }) {
  const { count, of, in: where = '', isAll, setAll } = props;
  if (count <= 0) return null;
  return (
    <button type="button" class="quiet" onClick={() => setAll(!isAll)}>
      {isAll ? `fewer ${of}s${where}` : `${plural(count, `more ${of}`)}${where}`}
    </button>
  );
}

/** `isOfGroup`: what it is of stands above it. */
function Line({ line: { row, of, time, progress }, isOfGroup = false }: { line: JobLine; isOfGroup?: boolean }) {
  const ended = row.finishedAt === null ? null : clock(Date.parse(row.finishedAt));
  return (
    <>
      <p class={`job ${isOfGroup ? 'grouped' : ''}`}>
        <Dot tone={tones[row.state]} />
        <a href={`#job-${row.job}`}>{plain(row.name)}</a>
        {!isOfGroup && <span class="of">{plain(of)}</span>}
        <span class="where">
          {row.state}
          {row.node !== null && ` on ${plain(row.node)}`}
        </span>
        <span class="time">{ended === null ? time : `${time}, ${ended}`}</span>
      </p>
      {progress?.percent != null && (
        <Bar percent={progress.percent} tone="busy" label={`${plain(row.name)}: ${progress.words}`} />
      )}
      {progress && <p class="because">{progress.words}</p>}
      {(row.state === 'waiting' || row.state === 'lost' || row.state === 'failed') && (
        <p class="because">{plain(row.because)}</p>
      )}
    </>
  );
}
