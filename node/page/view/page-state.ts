import type { TimelineEvent, Usage } from '../../../protocol/history.ts';
import type { JobRow } from '../../../protocol/job-rows.ts';
import type { StatusSnapshot } from '../../../protocol/status.ts';

/** Who looks, as the agent that serves the page knows it. `until`: RFC 3339, when the session ends. */
export interface Viewer {
  node: string;
  mesh: string | null;
  role: 'viewer' | 'operator' | 'owner';
  version: string;
  until: string | null;
}

/** `resting`: no tab of this browser is looked at. `over`: the agent wants another link. */
type LinkState = 'opening' | 'live' | 'lost' | 'resting' | 'over';

/** All that the page shows. Times in ms are this browser's wall clock. */
export interface PageState {
  me: Viewer | null;
  status: StatusSnapshot | null;
  jobs: readonly JobRow[];
  /** The newest last. */
  timeline: readonly TimelineEvent[];
  usage: Usage | null;
  link: LinkState;
  /** When the agent was heard last, and since when it is not. */
  heardAtMs: number | null;
  lostAtMs: number | null;
  /** The agent's clock minus this browser's. */
  skewMs: number;
}

export type News =
  | { kind: 'me'; me: Viewer }
  | { kind: 'status'; status: StatusSnapshot; atMs: number }
  | { kind: 'jobs'; rows: readonly JobRow[] }
  | { kind: 'timeline'; events: readonly TimelineEvent[] }
  | { kind: 'usage'; usage: Usage }
  | { kind: 'heard' | 'lost' | 'resting' | 'over'; atMs: number };

export const nothingYet: PageState = {
  me: null,
  status: null,
  jobs: [],
  timeline: [],
  usage: null,
  link: 'opening',
  heardAtMs: null,
  lostAtMs: null,
  skewMs: 0,
};

/** So many events are kept; a page is left open for weeks. */
const eventsKept = 500;

export function withNews(state: PageState, news: News): PageState {
  switch (news.kind) {
    case 'me':
      return { ...state, me: news.me };
    case 'status': {
      const skewMs = Date.parse(news.status.at) - news.atMs;
      return { ...heard(state, news.atMs), status: news.status, skewMs: Number.isFinite(skewMs) ? skewMs : 0 };
    }
    case 'jobs':
      return { ...state, jobs: news.rows };
    case 'timeline':
      return { ...state, timeline: merged(state.timeline, news.events) };
    case 'usage':
      return { ...state, usage: news.usage };
    case 'heard':
      return heard(state, news.atMs);
    case 'lost':
      return { ...state, link: 'lost', lostAtMs: state.lostAtMs ?? news.atMs };
    case 'resting':
      return state.link === 'over' ? state : { ...state, link: 'resting', lostAtMs: null };
    case 'over':
      return { ...state, link: 'over' };
  }
}

const heard = (state: PageState, atMs: number): PageState => ({
  ...state,
  link: 'live',
  heardAtMs: atMs,
  lostAtMs: null,
});

/** Each event once, in the order in which the agent saw them. */
function merged(known: readonly TimelineEvent[], more: readonly TimelineEvent[]): readonly TimelineEvent[] {
  const ids = new Set(known.map(({ id }) => id));
  const fresh = more.filter(({ id }) => !ids.has(id));
  if (fresh.length === 0) return known;
  return [...known, ...fresh].sort((a, b) => (a.id < b.id ? -1 : 1)).slice(-eventsKept);
}

/** What a tab that opens later is told by the one that has the connection. */
export const newsOf = ({ me, status, jobs, timeline, usage, link, heardAtMs, lostAtMs }: PageState): News[] => [
  ...(me ? [{ kind: 'me' as const, me }] : []),
  ...(status && heardAtMs !== null ? [{ kind: 'status' as const, status, atMs: heardAtMs }] : []),
  { kind: 'jobs', rows: jobs },
  { kind: 'timeline', events: timeline },
  ...(usage ? [{ kind: 'usage' as const, usage }] : []),
  ...(link === 'lost' && lostAtMs !== null ? [{ kind: 'lost' as const, atMs: lostAtMs }] : []),
  ...(link === 'over' ? [{ kind: 'over' as const, atMs: heardAtMs ?? 0 }] : []),
];
