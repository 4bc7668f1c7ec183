import { useEffect, useState } from 'preact/hooks';

const choices = ['as the system', 'light', 'dark'] as const;
type Choice = (typeof choices)[number];
const key = 'autogit theme';

interface Theme {
  choice: Choice;
  /** What is drawn now. */
  drawn: 'light' | 'dark';
  next(): void;
}

function kept(): Choice {
  try {
    return choices.find((one) => one === localStorage.getItem(key)) ?? 'as the system';
  } catch {
    return 'as the system';
  }
}

const system = matchMedia('(prefers-color-scheme: dark)');

export function useTheme(): Theme {
  const [choice, setChoice] = useState<Choice>(kept);
  const [isDark, setDark] = useState(system.matches);
  useEffect(() => {
    const changed = (): void => setDark(system.matches);
    system.addEventListener('change', changed);
    return () => system.removeEventListener('change', changed);
  }, []);
  const drawn = choice === 'as the system' ? (isDark ? 'dark' : 'light') : choice;
  // Before what is drawn with its colours is drawn.
  document.documentElement.dataset.theme = drawn;
  const next = (): void => {
    const other = choices[(choices.indexOf(choice) + 1) % choices.length] as Choice;
    try {
      localStorage.setItem(key, other);
    } catch {
      // Kept until the page is closed.
    }
    setChoice(other);
  };
  return { choice, drawn, next };
}

export const ThemeButton = ({ theme }: { theme: Theme }) => (
  <button type="button" class="quiet" onClick={theme.next} title={`drawn ${theme.choice}`}>
    colours: {theme.choice === 'as the system' ? 'auto' : theme.choice}
  </button>
);
