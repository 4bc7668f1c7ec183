import type { ComponentChildren } from 'preact';
import { timesAs } from '../../faces/times.ts';
import { shown } from '../../foreign-text.ts';
import { splitFix } from '../../text-wrap.ts';
import type { Tone } from '../view/machine-cards.ts';

/** A wall time as people here write it, with the day where it is not today. */
export function clock(ms: number): string {
  const when = new Date(ms);
  const time = when.toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' });
  const isToday = new Date().toDateString() === when.toDateString();
  return isToday ? time : `${when.toLocaleDateString([], { day: 'numeric', month: 'short' })} ${time}`;
}

/** A sentence of ours or a stranger's: text and nothing else, on one line, its times as people here write them. */
export const plain = (text: string): string => timesAs(shown(text), clock);

/** A sentence, and the command in it that can be copied. */
export function Fix({ text }: { text: string | null }) {
  if (text === null) return null;
  const { words, command } = splitFix(text);
  if (command === null) return <p class="fix">{plain(text)}</p>;
  return (
    <p class="fix">
      {words !== '' && <span>{plain(words)}</span>}
      <code>{shown(command)}</code>
      <CopyButton text={shown(command)} />
    </p>
  );
}

function CopyButton({ text }: { text: string }) {
  // Only where the page came by a secure way (this machine counts as one).
  if (!navigator.clipboard) return null;
  const copy = (event: { currentTarget: HTMLButtonElement }): void => {
    const button = event.currentTarget;
    void navigator.clipboard.writeText(text).then(() => {
      button.textContent = 'copied';
      setTimeout(() => {
        button.textContent = 'copy';
      }, 2000);
    });
  };
  return (
    <button type="button" class="quiet" onClick={copy} aria-label={`copy ${text}`}>
      copy
    </button>
  );
}

export const Badge = ({ tone, children }: { tone: Tone; children: ComponentChildren }) => (
  <span class={`badge ${tone}`}>{children}</span>
);

const said: Partial<Record<Tone, string>> = { warn: 'warning', fail: 'trouble' };

/** How a thing is, by colour and shape; a screen reader says it where that is a warning or worse. */
export const Dot = ({ tone }: { tone: Tone }) => {
  const word = said[tone];
  return word === undefined ? (
    <span class={`dot ${tone}`} />
  ) : (
    <span class={`dot ${tone}`} role="img" aria-label={word} />
  );
};

/** How much of something is used; `percent` from 0 to 100. */
export function Meter({
  label,
  percent,
  words,
  tone = 'busy',
}: {
  label: string;
  percent: number;
  words: string;
  tone?: Tone;
}) {
  return (
    <div class="meter">
      <span class="label">{label}</span>
      <Bar percent={percent} tone={tone} label={`${label}: ${words}`} />
      <span class="value">{words}</span>
    </div>
  );
}

export const Bar = ({ percent, tone, label }: { percent: number; tone: Tone; label: string }) => (
  <div
    class={`bar ${tone}`}
    role="progressbar"
    aria-label={label}
    aria-valuemin={0}
    aria-valuemax={100}
    aria-valuenow={Math.round(percent)}
  >
    <div style={{ width: `${Math.min(100, Math.max(0, percent))}%` }} />
  </div>
);
