import type { QuietHours } from '../../protocol/notices.ts';

const clock = (minutes: number): string =>
  `${String(Math.floor(minutes / 60)).padStart(2, '0')}:${String(minutes % 60).padStart(2, '0')}`;

/** `22:00-07:00` -> minutes of the day; null: it is none. The same time twice would be never, or always. */
export function parseQuietHours(text: string): { from: number; to: number } | null {
  const found = /^(\d{1,2})(?::(\d{2}))?\s*-\s*(\d{1,2})(?::(\d{2}))?$/.exec(text.trim());
  if (found === null) return null;
  const [fromHour, fromMinute, toHour, toMinute] = found.slice(1).map((part) => Number(part ?? 0)) as [
    number,
    number,
    number,
    number,
  ];
  if (fromHour > 23 || toHour > 24 || fromMinute > 59 || toMinute > 59 || (toHour === 24 && toMinute > 0)) return null;
  const [from, to] = [fromHour * 60 + fromMinute, (toHour * 60 + toMinute) % 1440];
  return from === to ? null : { from, to };
}

/** `from 22:00 to 07:00 (Europe/Paris)`. */
export const quietWords = ({ from, to, zone, all }: QuietHours): string =>
  `from ${clock(from)} to ${clock(to)} (${zone})${all ? ', also of what is broken outright' : ''}`;

/** `soft`: only what is broken outright rings. */
export type Quiet = 'no' | 'soft' | 'all';

/** At that minute of the day in its zone. */
export function quietAt(quiet: QuietHours | undefined, minute: number): Quiet {
  if (quiet === undefined) return 'no';
  const { from, to, all } = quiet;
  // As an earlier version took them: nobody meant to be told nothing any more.
  if (from === to) return 'no';
  const isQuiet = from < to ? minute >= from && minute < to : minute >= from || minute < to;
  return isQuiet ? (all ? 'all' : 'soft') : 'no';
}
