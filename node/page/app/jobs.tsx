import { useState } from 'preact/hooks';
import { type JobLine, jobLists } from '../view/job-lists.ts';
import type { Tone } from '../view/machine-cards.ts';
import type { PageState } from '../view/page-state.ts';
import { Bar, clock, plain } from './words.tsx';

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

/** Of each list; the others are a button away. */
const atFirst = { running: 12, waiting: 12, ended: 8 } as const;

/** What runs, what waits and why, what ended. */
export function Jobs({ state, nowMs }: { state: PageState; nowMs: number }) {
  const { status, jobs } = state;
  if (status === null) return null;
  const { running, waiting, ended } = jobLists(jobs, nowMs + state.skewMs);
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
        {jobs.length === 0 && <p class="empty">No job waits or runs. The next push shows up here by itself.</p>}
        <List title="running" lines={running} />
        <List title="waiting" lines={waiting} />
        <List title="ended" lines={ended} />
      </div>
    </section>
  );
}

function List({ title, lines }: { title: keyof typeof atFirst; lines: JobLine[] }) {
  const [isAll, setAll] = useState(false);
  if (lines.length === 0) return null;
  const more = lines.length - atFirst[title];
  return (
    <>
      <h3 class="list">{title}</h3>
      <ul class="jobs">
        {(isAll ? lines : lines.slice(0, atFirst[title])).map((line) => (
          <li key={line.row.job} data-job={line.row.job} data-state={line.row.state}>
            <Line line={line} />
          </li>
        ))}
      </ul>
      {more > 0 && (
        <button type="button" class="quiet" onClick={() => setAll(!isAll)}>
          {isAll ? `fewer ${title}` : `${more} more ${title}`}
        </button>
      )}
    </>
  );
}

function Line({ line: { row, of, time, progress } }: { line: JobLine }) {
  const ended = row.finishedAt === null ? null : clock(Date.parse(row.finishedAt));
  return (
    <>
      <p class="job">
        <span class={`dot ${tones[row.state]}`} />
        <a href={`#job-${row.job}`}>{plain(row.name)}</a>
        <span class="of">{plain(of)}</span>
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
