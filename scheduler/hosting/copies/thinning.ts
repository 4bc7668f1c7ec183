import { newestOf, type RoundName, roundText } from '../../../protocol/round-name.ts';

/** What decides whether a round is history worth keeping. */
export interface DatedRound {
  name: RoundName;
  /**
   * The host's own count of time when it took the round. It travels with the round, grows only while the host's clock of
   * boot time does, and is the only time that thinning knows: a wall clock that jumps 15 days ahead deletes nothing, and
   * host and standby keep the same rounds.
   */
  atMs: number;
}

const minute = 60_000;
const hour = 60 * minute;
const day = 24 * hour;

/** All of two minutes; then the first of each minute for an hour, of each hour for a day, of each day for two weeks. */
const ladder = [
  { untilMs: hour, widthMs: minute },
  { untilMs: day, widthMs: hour },
  { untilMs: 14 * day, widthMs: day },
] as const;
const allForMs = 2 * minute;

/** How many steps of the ladder are given up for room: 1 the minutes, 2 the hours as well, 3 the days. */
export type Pressure = 0 | 1 | 2 | 3;

/**
 * The rounds that may go, oldest first. Widths divide each other and the first of each is kept, so that what a longer step
 * wants was not deleted by a shorter one. The newest and what is pinned never go, at any pressure.
 */
export function thin<T extends DatedRound>(
  rounds: readonly T[],
  pinned: ReadonlySet<string>,
  pressure: Pressure = 0,
): T[] {
  const newest = newestOf(rounds);
  if (!newest) return [];
  const steps = ladder.slice(pressure);
  const seen = new Set<string>();
  const oldestFirst = [...rounds].sort((a, b) => a.atMs - b.atMs || a.name.number - b.name.number);
  return oldestFirst.filter((one) => {
    // Every round takes its places, the pinned too: or a pin that moves would bring its neighbour's turn back.
    const firsts = steps.map(({ widthMs }) => {
      const place = `${widthMs}:${Math.floor(one.atMs / widthMs)}`;
      const isFirst = !seen.has(place);
      seen.add(place);
      return isFirst;
    });
    if (one === newest || pinned.has(roundText(one.name))) return false;
    const age = newest.atMs - one.atMs;
    if (age <= allForMs) return false;
    const step = steps.findIndex(({ untilMs }) => age <= untilMs);
    return step < 0 || !firsts[step];
  });
}
