import type { Ledger } from '../protocol/ledger.ts';
import { utcDay } from './jobs/civil-time.ts';

const dayMs = 86_400_000;
/** So long before its end the mesh renews GitLab's token, and so long before that it says so. */
const [renewsDays, saysDays] = [7, 30];

/** What is to be done about the end of GitLab's admin token, which GitLab gives each: after a year at the latest. */
interface TokenEnd {
  /** YYYY-MM-DD; it ends as that day begins, in UTC. */
  day: string;
  /** Begun days until then, by this clock; 0 or less: it has ended. */
  daysLeft: number;
  /** The day on which the mesh renews it. */
  renewedOn: string;
  state: 'far' | 'said' | 'renewed-now' | 'ended';
}

/** Null without a token, where it has no end or nobody knows of one, and of the mesh's own GitLab, whose token its host makes anew. */
export function tokenEnd({ gitlab }: Ledger, wallMs: number): TokenEnd | null {
  const { token, tokenEnds: at, mode } = gitlab;
  if (mode !== 'connected' || token === null || at === undefined) return null;
  const daysLeft = Math.ceil((at - wallMs) / dayMs);
  const state =
    daysLeft <= 0 ? 'ended' : daysLeft <= renewsDays ? 'renewed-now' : daysLeft <= saysDays ? 'said' : 'far';
  return { day: utcDay(at), daysLeft, renewedOn: utcDay(at - renewsDays * dayMs), state };
}
