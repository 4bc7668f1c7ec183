import type { ComponentChildren } from 'preact';
import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks';
import type { MovePlan } from '../../local-api/socket-protocol.ts';
import { type PageAct, speaksAgainst } from '../view/person-acts.ts';
import { type AgentRefusal, doAct, getJson, refusalIn } from './ask.ts';
import { Dot, Fix, plain } from './words.tsx';

/** What came of the last act: shown until the next, or until it is put away. */
export interface Said {
  isDone: boolean;
  text: string;
  hint: string | null;
}

/** A native dialog: Escape closes it, focus stays in it and goes back where it was. */
export function Dialog({
  title,
  wide = false,
  onClose,
  children,
}: {
  title: string;
  wide?: boolean;
  onClose(): void;
  children: ComponentChildren;
}) {
  const ref = useRef<HTMLDialogElement>(null);
  useLayoutEffect(() => {
    const dialog = ref.current;
    const before = document.activeElement;
    if (dialog && !dialog.open) dialog.showModal();
    return () => {
      dialog?.close();
      if (before instanceof HTMLElement && before.isConnected) before.focus();
    };
  }, []);
  return (
    // biome-ignore lint/a11y/useKeyWithClickEvents: Escape is the keyboard's way, and the browser's own.
    <dialog
      ref={ref}
      class={wide ? 'wide' : ''}
      aria-labelledby="dialog-title"
      onCancel={(event) => {
        event.preventDefault();
        onClose();
      }}
      onClick={(event) => {
        if (event.target === ref.current) onClose();
      }}
    >
      <div class="inside">
        <header>
          <h2 id="dialog-title">{plain(title)}</h2>
          <button type="button" class="quiet" aria-label="close" onClick={onClose}>
            close
          </button>
        </header>
        {children}
      </div>
    </dialog>
  );
}

/** Asks what has to be asked, one question after the other, then does it. */
export function ActDialog({ act, onEnd }: { act: PageAct; onEnd(said: Said | null): void }) {
  const [asked, setAsked] = useState(0);
  const [isDoing, setDoing] = useState(false);
  const no = useRef<HTMLButtonElement>(null);
  const plan = usePlan(act);
  const isFound = act.plan === undefined || (plan !== null && 'lines' in plan && !speaksAgainst(plan));
  const last = act.plan && plan !== null && 'lines' in plan ? [act.plan.ask(plan)] : [];
  const questions = [...act.questions, ...last];
  const count = act.questions.length + (act.plan ? 1 : 0);
  const isLast = asked >= count - 1;
  // Each question begins at no, before anything is typed: what answered the first does not answer the second.
  useLayoutEffect(() => no.current?.focus(), [asked]);
  const yes = (): void => {
    if (!isLast) return setAsked(asked + 1);
    setDoing(true);
    void perform(act).then(onEnd);
  };
  return (
    <Dialog title={act.verb} onClose={() => onEnd(null)}>
      <p>{plain(questions[asked] ?? '')}</p>
      {act.plan && asked === 0 && <Found plan={plan} />}
      {act.words !== undefined && <p class="words">{plain(act.words)}</p>}
      {count > 1 && isFound && (
        <p class="step">
          question {asked + 1} of {count}
        </p>
      )}
      <div class="acts">
        <button type="button" ref={no} onClick={() => onEnd(null)}>
          No
        </button>
        {isFound && (
          <button type="button" class="main" disabled={isDoing} onClick={yes}>
            {isLast ? `Yes: ${plain(act.verb)}` : 'Go on'}
          </button>
        )}
      </div>
    </Dialog>
  );
}

/** What was found; null: it is being looked for. */
type Plan = MovePlan | AgentRefusal | null;

function usePlan({ plan }: PageAct): Plan {
  const [found, setFound] = useState<Plan>(null);
  const path = plan?.path;
  useEffect(() => {
    if (path === undefined) return;
    const gone = new AbortController();
    getJson<MovePlan>(path, gone.signal).then(setFound, (error) => {
      if (!gone.signal.aborted) setFound(refusalIn(error));
    });
    return () => gone.abort();
  }, [path]);
  return found;
}

const tones = { ok: 'good', warn: 'warn', fail: 'fail' } as const;

/** Line by line, as the command line says it; a screen reader is told when it is there. */
const Found = ({ plan }: { plan: Plan }) => (
  <div role="status">
    {plan === null && <p>The mesh looks at both machines…</p>}
    {plan !== null && !('lines' in plan) && (
      <>
        <p class="because fail">{plain(plan.message)}</p>
        <Fix text={plan.hint} />
      </>
    )}
    {plan !== null && 'lines' in plan && (
      <ul class="checks">
        {plan.lines.map(({ state, what, sentence, fix }) => (
          <li key={`${what}${sentence}`} data-state={state}>
            <p>
              <Dot tone={tones[state]} /> <strong>{plain(what)}</strong> {plain(sentence)}
            </p>
            <Fix text={fix} />
          </li>
        ))}
      </ul>
    )}
  </div>
);

export async function perform(act: PageAct): Promise<Said> {
  const answer = await doAct(act.name, act.body);
  return 'said' in answer
    ? { isDone: true, text: answer.said, hint: null }
    : { isDone: false, text: answer.message, hint: answer.hint };
}
