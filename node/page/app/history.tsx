import { useState } from 'preact/hooks';
import type { BackupRow } from '../../../protocol/asks.ts';
import { historyList } from '../view/history-list.ts';
import { AgentRefused, getJson } from './ask.ts';
import { clock, Fix, plain } from './words.tsx';

interface History {
  rows: BackupRow[];
  problem: string | null;
}

/** What GitLab can be made of again: asked when it is opened, as the machines that have it are asked. */
export function GitlabHistory({ nowMs }: { nowMs: number }) {
  const [found, setFound] = useState<History | null>(null);
  const opened = (event: { currentTarget: HTMLDetailsElement }): void => {
    if (!event.currentTarget.open) return setFound(null);
    getJson<History>('gitlab/history').then(setFound, (error: unknown) =>
      setFound({ rows: [], problem: error instanceof AgentRefused ? error.message : 'the agent does not answer' }),
    );
  };
  return (
    <details class="more" onToggle={opened}>
      <summary>history: what GitLab can be made of again</summary>
      {found === null ? <p class="empty">asking the machines that have it</p> : <Lines found={found} nowMs={nowMs} />}
    </details>
  );
}

function Lines({ found: { rows, problem }, nowMs }: { found: History; nowMs: number }) {
  const { lines, more } = historyList(rows, nowMs);
  return (
    <>
      {problem !== null && <p class="because">{plain(problem)}</p>}
      {lines.length === 0 && problem === null && <Fix text="there is none yet: autogit-node gitlab backup --to DIR" />}
      <ol class="events">
        {lines.map(({ id, at, kind, words }) => (
          <li key={id}>
            <time>{at === null ? '-' : clock(at)}</time>
            <span class="of">{kind}</span>
            <div>
              <p>{plain(id)}</p>
              <p class="because">{plain(words)}</p>
            </div>
          </li>
        ))}
      </ol>
      {more > 0 && <Fix text={`and ${more} more: autogit-node gitlab history --all`} />}
    </>
  );
}
