import { useState } from 'preact/hooks';
import type { TimelineEvent } from '../../../protocol/history.ts';
import { eventsShown, type TimelineGroup, timelineGroups, timelineRows } from '../view/timeline-rows.ts';
import { clock, Dot, plain } from './words.tsx';

const tones = { info: 'rest', warn: 'warn', fail: 'fail' } as const;

/** What happened, the newest first, and why. */
export function Timeline({ events }: { events: readonly TimelineEvent[] }) {
  const [group, setGroup] = useState<TimelineGroup>('all');
  const [most, setMost] = useState(eventsShown);
  const rows = timelineRows(events, group);
  return (
    <section id="timeline" aria-labelledby="timeline-title">
      <h2 id="timeline-title">What happened</h2>
      <div class="card">
        <fieldset class="choice">
          <legend>show</legend>
          {(Object.keys(timelineGroups) as TimelineGroup[]).map((one) => (
            <button key={one} type="button" class="quiet" aria-pressed={one === group} onClick={() => setGroup(one)}>
              {timelineGroups[one]}
            </button>
          ))}
        </fieldset>
        {rows.length === 0 && <p class="empty">Nothing yet: elections, moves, lost runs and approvals stand here.</p>}
        <ol class="events">
          {rows.slice(0, most).map(({ id, at, severity, sentence, because }) => (
            <li key={`${id} ${at}`}>
              <time dateTime={at}>{clock(Date.parse(at))}</time>
              <Dot tone={tones[severity]} />
              <div>
                <p>{plain(sentence)}</p>
                {because !== null && because !== '' && <p class="because">{plain(because)}</p>}
              </div>
            </li>
          ))}
        </ol>
        {rows.length > most && (
          <button type="button" class="quiet" onClick={() => setMost(most + 100)}>
            {rows.length - most} earlier
          </button>
        )}
      </div>
    </section>
  );
}
