import { useEffect, useState } from 'preact/hooks';
import { headlineOf, houseWords, viewWords } from '../view/headline.ts';
import type { PageState } from '../view/page-state.ts';
import { approveAct, ignoreAct, isOwner, type PageAct } from '../view/person-acts.ts';
import { ActDialog, perform, type Said } from './act-dialog.tsx';
import { Gitlab } from './gitlab.tsx';
import { JobDialog } from './job-dialog.tsx';
import { Jobs } from './jobs.tsx';
import { ActButton, Machines } from './machines.tsx';
import { type PageStore, useHash, useNow, usePageState } from './page-store.ts';
import { ThemeButton, useTheme } from './theme.tsx';
import { Timeline } from './timeline.tsx';
import { Use } from './use.tsx';
import { clock, Dot, Fix, plain } from './words.tsx';

/** ms for which is shown what was done. */
const saidMs = 15_000;

/** All of it. */
export function Page({ store }: { store: PageStore }) {
  const state = usePageState(store);
  const nowMs = useNow();
  const hash = useHash();
  const theme = useTheme();
  const [act, setAct] = useState<PageAct | null>(null);
  const [said, setSaid] = useState<Said | null>(null);
  const job = /^#job-(\d{1,15})$/.exec(hash)?.[1];
  const ask = (wanted: PageAct): void => {
    setSaid(null);
    if (wanted.questions.length > 0) setAct(wanted);
    else void perform(wanted).then(setSaid);
  };
  const ended = (how: Said | null): void => {
    setAct(null);
    if (how) setSaid(how);
  };
  const close = (): void => {
    history.replaceState(null, '', location.pathname + location.search);
    window.dispatchEvent(new HashChangeEvent('hashchange'));
  };
  // What went well is put away by itself; what did not stays until somebody has read it.
  useEffect(() => {
    if (said?.isDone !== true) return;
    const timer = setTimeout(() => setSaid(null), saidMs);
    return () => clearTimeout(timer);
  }, [said]);
  useTitle(state);
  return (
    <>
      <Top state={state} nowMs={nowMs} theme={theme} />
      <main id="main">
        <Headline state={state} />
        <Waiting state={state} ask={ask} />
        {state.status === null && state.link !== 'over' && <p class="empty">The mesh shows up here in a moment.</p>}
        <Machines state={state} ask={ask} />
        <div class="columns">
          <div>
            <Jobs state={state} nowMs={nowMs} />
          </div>
          <div>
            <Gitlab state={state} nowMs={nowMs} ask={ask} />
            <Timeline events={state.timeline} />
          </div>
        </div>
        <Use usage={state.usage} theme={theme.drawn} />
      </main>
      <output class={`said ${said === null ? 'none' : said.isDone ? 'good' : 'fail'}`} aria-live="polite">
        {said !== null && (
          <>
            <p>{plain(said.text)}</p>
            <Fix text={said.hint} />
            <button type="button" class="quiet" onClick={() => setSaid(null)}>
              put away
            </button>
          </>
        )}
      </output>
      {job !== undefined && act === null && (
        <JobDialog job={Number(job)} state={state} nowMs={nowMs} ask={ask} onClose={close} />
      )}
      {act !== null && <ActDialog act={act} onEnd={ended} />}
    </>
  );
}

/** The tab tells without being looked at. */
function useTitle({ status, link }: PageState): void {
  const tone = status === null ? null : headlineOf(status).tone;
  const mark = link === 'lost' || link === 'over' ? '? ' : tone === 'fail' ? '✗ ' : tone === 'warn' ? '! ' : '';
  const title = `${mark}${plain(status?.mesh.name ?? 'autogit-node')}`;
  useEffect(() => {
    document.title = title;
  }, [title]);
}

function Top({ state, nowMs, theme }: { state: PageState; nowMs: number; theme: ReturnType<typeof useTheme> }) {
  const { status, me } = state;
  const view = viewWords(state, nowMs, clock);
  const house = status === null ? null : houseWords(status);
  return (
    <header class="top">
      <a class="skip" href="#main">
        to what matters
      </a>
      <div class="name">
        <h1>{plain(status?.mesh.name ?? me?.mesh ?? 'autogit-node')}</h1>
        {house && <p>{plain(house)}</p>}
      </div>
      <nav aria-label="parts of the page">
        <a href="#machines">machines</a>
        <a href="#jobs">jobs</a>
        <a href="#gitlab">GitLab</a>
        <a href="#timeline">events</a>
        {state.usage !== null && <a href="#use">use</a>}
        <ThemeButton theme={theme} />
      </nav>
      <p class={`view ${view.tone}`} role="status">
        <Dot tone={view.tone} /> {plain(view.text)}
        {me !== null && me.role !== 'owner' && ` · you look as ${me.role}`}
      </p>
    </header>
  );
}

/** What is wrong and the fix, or that nothing is. */
function Headline({ state: { status } }: { state: PageState }) {
  if (status === null) return null;
  const { tone, sentence, fix, more } = headlineOf(status);
  return (
    <section class={`headline ${tone}`} aria-label="how it is" aria-live="polite">
      <p class="sentence">
        <Dot tone={tone} /> {plain(sentence)}
      </p>
      <Fix text={fix} />
      {more.length > 0 && (
        <ul class="more-lines">
          {more.map((row) => (
            <li key={`${row.sentence}${row.fix}`}>
              <p>
                <Dot tone={row.severity === 'info' ? 'rest' : row.severity} /> {plain(row.sentence)}
              </p>
              <Fix text={row.fix} />
            </li>
          ))}
        </ul>
      )}
    </section>
  );
}

/** Who asks to be let in, with the words to compare. */
function Waiting({ state, ask }: { state: PageState; ask(act: PageAct): void }) {
  const waiting = state.status?.waiting ?? [];
  if (waiting.length === 0) return null;
  return (
    <section class="waiting" aria-label="machines that ask to be let in">
      {waiting.map((row) => (
        <div key={row.id || row.node} class="card rest" data-waiting={row.node}>
          <p>
            <strong>{plain(row.node)}</strong> at {plain(row.address)} asks to be let in. It shows
          </p>
          <p class="words">{plain(row.words)}</p>
          {isOwner(state) ? (
            <div class="acts">
              <ActButton act={approveAct(row)} label="Compare the words…" ask={ask} isMain />
              <ActButton act={ignoreAct(row)} label="Ignore" ask={ask} />
            </div>
          ) : (
            <Fix text={`autogit-node approve ${row.node} --words ${row.words}`} />
          )}
        </div>
      ))}
    </section>
  );
}
