import { useEffect, useRef, useState } from 'preact/hooks';
import type { WhyAnswer } from '../../../protocol/job-rows.ts';
import { pipelineName } from '../../faces/pipeline-rows.ts';
import { jobActs, jobLists } from '../view/job-lists.ts';
import type { PageState } from '../view/page-state.ts';
import { cancelAct, isOperator, type PageAct, retryAct } from '../view/person-acts.ts';
import { type TracePart, traceParts } from '../view/trace-text.ts';
import { Dialog } from './act-dialog.tsx';
import { AgentRefused, at, getJson, refusedBy } from './ask.ts';
import { ActButton } from './machines.tsx';
import { Bar, Dot, plain } from './words.tsx';

/** One job: where and why, and its trace as it comes. */
export function JobDialog({
  job,
  state,
  nowMs,
  ask,
  onClose,
}: {
  job: number;
  state: PageState;
  nowMs: number;
  ask(act: PageAct): void;
  onClose(): void;
}) {
  const row = state.jobs.find((one) => one.job === job) ?? null;
  const lists = jobLists(row === null ? [] : state.jobs, nowMs + state.skewMs);
  const progress = lists.running.find((line) => line.row.job === job)?.progress ?? null;
  const can = row === null || !isOperator(state) ? null : jobActs(row);
  return (
    <Dialog title={row === null ? `job ${job}` : `${row.name}, job ${job}`} wide onClose={onClose}>
      {row !== null && (
        <p class="facts">
          {plain(
            [
              `${row.project}@${row.ref}`,
              row.pipeline === undefined ? '' : `pipeline ${pipelineName(row.pipeline)}`,
              row.state,
              row.node ?? '',
              row.tags.length > 0 ? `tags ${row.tags.join(', ')}` : '',
            ]
              .filter((one) => one !== '')
              .join(' · '),
          )}
          {row.exitCode !== null && ` · exit code ${row.exitCode}`}
          {row.attempt > 1 && ` · try ${row.attempt}`}
        </p>
      )}
      {row !== null && row.because !== '' && <p>{plain(row.because)}</p>}
      {progress?.percent != null && <Bar percent={progress.percent} tone="busy" label={progress.words} />}
      {progress && <p class="because">{progress.words}</p>}
      {can && (can.cancel || can.retry) && row && (
        <div class="acts">
          {can.cancel && <ActButton act={cancelAct(job, row.name)} label="Cancel" ask={ask} />}
          {can.retry && <ActButton act={retryAct(job)} label="Run it again" ask={ask} />}
        </div>
      )}
      <Why job={job} state={row?.state ?? ''} />
      {row?.state !== 'waiting' && <Trace job={job} state={row?.state ?? ''} />}
    </Dialog>
  );
}

/** Every machine, and the one reason why it was not chosen. Asked anew when the job's state changes. */
function Why({ job, state }: { job: number; state: string }) {
  const [why, setWhy] = useState<WhyAnswer | null>(null);
  useEffect(() => {
    const ending = new AbortController();
    getJson<{ why: WhyAnswer | null } | WhyAnswer>(`why?job=${job}`, ending.signal).then(
      (answer) => setWhy('why' in answer ? answer.why : answer),
      () => setWhy(null),
    );
    return () => ending.abort();
  }, [job, state]);
  if (why === null || why.machines.length === 0) return null;
  return (
    <table>
      <caption>it needs {plain(why.needs)}</caption>
      <thead>
        <tr>
          <th scope="col">machine</th>
          <th scope="col">why</th>
        </tr>
      </thead>
      <tbody>
        {why.machines.map(({ node, because, fits }) => (
          <tr key={node}>
            <th scope="row">
              <Dot tone={fits ? 'good' : 'rest'} /> {plain(node)}
            </th>
            <td>{plain(because)}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

function Trace({ job, state }: { job: number; state: string }) {
  const [parts, setParts] = useState<TracePart[]>([]);
  const [problem, setProblem] = useState<string | null>(null);
  const box = useRef<HTMLElement>(null);
  const isGranted = state === 'granted';
  useEffect(() => {
    const ending = new AbortController();
    void follow(job, ending.signal, setParts).then(setProblem);
    return () => ending.abort();
  }, [job, isGranted]);
  // Who reads further up is left there.
  const isAtEnd = useRef(true);
  useEffect(() => {
    if (box.current && isAtEnd.current) box.current.scrollTop = box.current.scrollHeight;
  }, [parts]);
  return (
    <>
      <h3 class="list">trace</h3>
      {problem !== null && <p class="because">{plain(problem)}</p>}
      <section
        ref={box}
        // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reached by the keyboard.
        tabIndex={0}
        class="trace"
        aria-label={`trace of job ${job}`}
        onScroll={({ currentTarget: { scrollTop, scrollHeight, clientHeight } }) => {
          isAtEnd.current = scrollHeight - scrollTop - clientHeight < 24;
        }}
      >
        <pre>
          {parts.map(({ text, colour, isBold }, index) => (
            <span key={index} class={`${colour ?? ''}${isBold ? ' bold' : ''}`}>
              {text}
            </span>
          ))}
        </pre>
      </section>
    </>
  );
}

/** Reads the trace as it comes, until the job ends or nobody looks. The sentence why it cannot be shown, or null. */
async function follow(job: number, signal: AbortSignal, show: (parts: TracePart[]) => void): Promise<string | null> {
  try {
    const answer = await fetch(at(`logs?job=${job}&follow=1`), { cache: 'no-store', signal });
    if (!answer.ok || answer.body === null) throw await refusedBy(answer);
    const pieces = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let text = '';
    let isDrawing = false;
    for (let piece = await pieces.read(); !piece.done; piece = await pieces.read()) {
      // Twice what is shown is kept: a trace has no end of its own.
      text = (text + piece.value).slice(-400_000);
      if (isDrawing) continue;
      isDrawing = true;
      requestAnimationFrame(() => {
        isDrawing = false;
        show(traceParts(text));
      });
    }
    return null;
  } catch (error) {
    if (signal.aborted) return null;
    if (error instanceof AgentRefused) return error.refusal.message;
    return 'the trace broke off: close this and open it again';
  }
}
