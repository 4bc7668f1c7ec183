import type { ComponentChildren } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import type { PageAct } from '../view/person-acts.ts';
import { doAct } from './ask.ts';
import { plain } from './words.tsx';

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
  useEffect(() => {
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
  const question = act.questions[asked] ?? '';
  const isLast = asked >= act.questions.length - 1;
  // Each question begins at no: what has been typed for the first does not answer the second.
  useEffect(() => no.current?.focus(), [asked]);
  const yes = (): void => {
    if (!isLast) return setAsked(asked + 1);
    setDoing(true);
    void perform(act).then(onEnd);
  };
  return (
    <Dialog title={act.verb} onClose={() => onEnd(null)}>
      <p>{plain(question)}</p>
      {act.words !== undefined && <p class="words">{plain(act.words)}</p>}
      {act.questions.length > 1 && (
        <p class="step">
          question {asked + 1} of {act.questions.length}
        </p>
      )}
      <div class="acts">
        <button type="button" ref={no} onClick={() => onEnd(null)}>
          No
        </button>
        <button type="button" class="main" disabled={isDoing} onClick={yes}>
          {isLast ? `Yes: ${plain(act.verb)}` : 'Go on'}
        </button>
      </div>
    </Dialog>
  );
}

export async function perform(act: PageAct): Promise<Said> {
  const answer = await doAct(act.name, act.body);
  return 'said' in answer
    ? { isDone: true, text: answer.said, hint: null }
    : { isDone: false, text: answer.message, hint: answer.hint };
}
