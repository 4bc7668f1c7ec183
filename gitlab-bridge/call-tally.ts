import { Spread } from './spread.ts';

/** How a call of GitLab's API ended: by the class of its HTTP status, or without an answer. */
export type CallEnd = '2xx' | '3xx' | '4xx' | '5xx' | 'none';

/** What this process has asked of GitLab's API since it began; there is one GitLab, as there is one agent in a process. */
export const callTally = {
  ends: { '2xx': 0, '3xx': 0, '4xx': 0, '5xx': 0, none: 0 } as Record<CallEnd, number>,
  /** Seconds until the head of an answer was there, or until it was clear that none comes. */
  seconds: new Spread([0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30]),
};

/** `status` null: no answer came. What is fetched by an address that GitLab gave (artifacts in a store of objects) is none of its API. */
export function countCall(path: string, status: number | null, ms: number): void {
  if (!path.includes('/api/')) return;
  const end = status === null ? 'none' : (`${Math.floor(status / 100)}xx` as CallEnd);
  if (!Object.hasOwn(callTally.ends, end)) return;
  callTally.ends[end] += 1;
  callTally.seconds.add(ms / 1000);
}
