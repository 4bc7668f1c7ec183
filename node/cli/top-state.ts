/** What a person has chosen to see of the live screen, and what the keyboard changes of it. */
export interface TopState {
  sort: (typeof sorts)[number];
  isReversed: boolean;
  /** The lower half. */
  pane: (typeof panes)[number];
  /** Rows of it above the window, and the chosen one. */
  chosen: number;
  filter: string;
  isTyping: boolean;
  isFrozen: boolean;
  isHelping: boolean;
  /** Job of which `why` is shown, and the one of which the trace is. */
  why: number | null;
  trace: number | null;
}

const sorts = ['name', 'cpu', 'memory', 'gpu', 'runs'] as const;
const panes = ['jobs', 'events', 'attention'] as const;

export const firstTop: TopState = {
  ...{ sort: 'name', isReversed: false, pane: 'jobs', chosen: 0, filter: '', isTyping: false, isFrozen: false },
  ...{ isHelping: false, why: null, trace: null },
};

/** What a key means beyond the screen: end, or tell why a job is where it is, or what it says. */
type TopWish = 'quit' | 'why' | 'trace' | null;

/** What terminals send for keys that are no letters. */
const named: Readonly<Record<string, string>> = {
  '\u001b[A': 'up',
  '\u001bOA': 'up',
  '\u001b[B': 'down',
  '\u001bOB': 'down',
  '\u001b[5~': 'page-up',
  '\u001b[6~': 'page-down',
  '\u001b[H': 'home',
  '\u001b[1~': 'home',
  '\u001b[F': 'end',
  '\u001b[4~': 'end',
  '\u001b[Z': 'back-tab',
  '\u001b': 'escape',
  '\r': 'enter',
  '\n': 'enter',
  '\t': 'tab',
  '\u007f': 'delete',
  '\b': 'delete',
  ' ': 'space',
};

/** Keys in what a terminal sent at once; pasted text is many. */
export function keysIn(text: string): string[] {
  const keys: string[] = [];
  // biome-ignore lint/suspicious/noControlCharactersInRegex: that is what a terminal sends
  for (const [key] of text.matchAll(/\u001b(?:\[[\d;]*[A-Za-z~]|O[A-Z])|[\s\S]/gu)) keys.push(named[key] ?? key);
  return keys;
}

const next = <T>(all: readonly T[], now: T, by: number): T =>
  all[(all.indexOf(now) + by + all.length) % all.length] as T;

/** `page`: rows of the window. Where a row would be that is not there, the screen shows the last one. */
export function afterKey(state: TopState, key: string, page: number): { state: TopState; wish: TopWish } {
  const becomes = (over: Partial<TopState>, wish: TopWish = null) => ({ state: { ...state, ...over }, wish });
  if (key === '\u0004') return becomes({}, 'quit');
  if (state.isTyping) return becomes(typed(state, key));
  if (state.isHelping || state.why !== null || state.trace !== null)
    return key === 'q' ? becomes({}, 'quit') : becomes({ isHelping: false, why: null, trace: null });
  switch (key) {
    case 'q':
      return becomes({}, 'quit');
    case 'escape':
      return becomes({ filter: '', chosen: 0 });
    case '?':
    case 'h':
      return becomes({ isHelping: true });
    case 's':
    case '>':
      return becomes({ sort: next(sorts, state.sort, 1) });
    case '<':
      return becomes({ sort: next(sorts, state.sort, -1) });
    case 'N':
      return becomes({ sort: 'name' });
    case 'C':
    case 'P':
      return becomes({ sort: 'cpu' });
    case 'M':
      return becomes({ sort: 'memory' });
    case 'G':
      return becomes({ sort: 'gpu' });
    case 'R':
      return becomes({ sort: 'runs' });
    case 'r':
      return becomes({ isReversed: !state.isReversed });
    case 'tab':
      return becomes({ pane: next(panes, state.pane, 1), chosen: 0 });
    case 'back-tab':
      return becomes({ pane: next(panes, state.pane, -1), chosen: 0 });
    case '/':
      return becomes({ isTyping: true });
    case 'space':
      return becomes({ isFrozen: !state.isFrozen });
    case 'enter':
    case 'w':
      return becomes({}, state.pane === 'jobs' ? 'why' : null);
    case 'l':
      return becomes({}, state.pane === 'jobs' ? 'trace' : null);
    default:
      return becomes(moved(state, key, page));
  }
}

function moved({ chosen }: TopState, key: string, page: number): Partial<TopState> {
  const by: Readonly<Record<string, number>> = {
    ...{ up: -1, k: -1, down: 1, j: 1, 'page-up': -page, 'page-down': page },
    ...{ home: Number.NEGATIVE_INFINITY, g: Number.NEGATIVE_INFINITY, end: rowsMost },
  };
  const step = by[key];
  return step === undefined ? {} : { chosen: Math.min(rowsMost, Math.max(0, chosen + step)) };
}

/** More rows than there ever are. */
const rowsMost = 100_000;
const filterMost = 40;

function typed({ filter }: TopState, key: string): Partial<TopState> {
  if (key === 'enter') return { isTyping: false };
  if (key === 'escape') return { isTyping: false, filter: '' };
  if (key === 'delete') return { filter: [...filter].slice(0, -1).join('') };
  const letter = key === 'space' ? ' ' : key;
  return [...letter].length === 1 && !/\p{C}/u.test(letter) && filter.length < filterMost
    ? { filter: filter + letter, chosen: 0 }
    : {};
}
