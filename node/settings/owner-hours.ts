import { AutogitError } from '../../protocol/errors.ts';

/** Hours of the week that are the owner's, by the machine's own clock: minutes of a day; `to` up to 1440. */
export interface OwnerHours {
  /** 0 is Sunday. */
  days: readonly number[];
  from: number;
  /** Not above `from`: it ends on the next day. */
  to: number;
  what: 'gpu' | 'all';
}

const names = ['sun', 'mon', 'tue', 'wed', 'thu', 'fri', 'sat'];
const groups: Record<string, readonly number[]> = {
  daily: [0, 1, 2, 3, 4, 5, 6],
  weekdays: [1, 2, 3, 4, 5],
  weekends: [0, 6],
};
const dayMinutes = 1440;
const most = 32;
/** Of hours of a whole day, on which clocks are put back. */
export const longestMs = 25 * 3_600_000;

const bad = (text: string): AutogitError =>
  new AutogitError(
    'bad-flag',
    `"${text}" is no hours; write weekdays 18:00-23:00, sat 10:00-24:00 or daily 20:00-23:00 gpu`,
  );

function daysIn(text: string): number[] {
  const all = text.split('+').flatMap((part) => {
    const group = Object.hasOwn(groups, part) ? groups[part] : undefined;
    if (group) return [...group];
    const [first = '', last = first, ...more] = part.split('-');
    const [from, to] = [names.indexOf(first), names.indexOf(last)];
    if (from < 0 || to < 0 || more.length > 0) throw bad(text);
    // fri-mon goes over the end of the week.
    return Array.from({ length: ((to - from + 7) % 7) + 1 }, (_, index) => (from + index) % 7);
  });
  return [...new Set(all)].sort();
}

function minuteOf(text: string): number {
  const [, hour = '', minute = ''] = /^(\d{1,2}):(\d{2})$/.exec(text) ?? [];
  const at = Number(hour) * 60 + Number(minute);
  return hour === '' || Number(minute) > 59 || at > dayMinutes ? -1 : at;
}

/** `weekdays 18:00-23:00`, `mon-thu+sun 20:00-02:00 gpu`, `20:00-23:00`. Throws `bad-flag` with a sentence that names no source. */
export function readOwnerHours(list: readonly string[]): OwnerHours[] {
  if (list.length > most) throw new AutogitError('bad-flag', `at most ${most} of them`);
  return list.map((text) => {
    const found = /^(?:([a-z+-]+)\s+)?(\d{1,2}:\d{2})\s*[-\u2013]\s*(\d{1,2}:\d{2})(\s+gpu)?$/.exec(
      text.trim().toLowerCase(),
    );
    if (!found) throw bad(text);
    const [, days = 'daily', first = '', last = '', gpu] = found;
    const [from, to] = [minuteOf(first), minuteOf(last)];
    if (from < 0 || to < 0 || from === dayMinutes || from === to) throw bad(text);
    return { days: daysIn(days), from, to, what: gpu === undefined ? 'all' : 'gpu' };
  });
}

/** What is the owner's now, and ms until it ends; hours of the whole machine before those of its GPU. `now`: local time. */
export function ownersNow(hours: readonly OwnerHours[], now: Date): { what: 'gpu' | 'all'; leftMs: number } | null {
  const minute = now.getHours() * 60 + now.getMinutes();
  const sinceMinuteMs = now.getSeconds() * 1000 + now.getMilliseconds();
  const on = hours.flatMap(({ days, from, to, what }) => {
    const long = (to - from + dayMinutes) % dayMinutes || dayMinutes;
    // They began today, or yesterday.
    const gone = [
      { day: now.getDay(), minutes: minute - from },
      { day: (now.getDay() + 6) % 7, minutes: minute + dayMinutes - from },
    ].find(({ day, minutes }) => days.includes(day) && minutes >= 0 && minutes < long);
    if (!gone) return [];
    const byMinutes = (long - gone.minutes) * 60_000 - sinceMinuteMs;
    // Clocks may be put on or back until then. Of a time that comes twice the first is meant here, which may be over.
    const byClock = new Date(now.getFullYear(), now.getMonth(), now.getDate(), 0, minute + long - gone.minutes);
    const leftMs = byClock.getTime() - now.getTime();
    return { what, leftMs: leftMs > 0 ? leftMs : byMinutes };
  });
  const longest = (what: 'gpu' | 'all') => on.filter((one) => one.what === what).sort((a, b) => b.leftMs - a.leftMs)[0];
  return longest('all') ?? longest('gpu') ?? null;
}
