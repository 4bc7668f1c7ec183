import { timesAs } from '../faces/times.ts';

const two = (number: number): string => String(number).padStart(2, '0');

/** `2026-11-30 23:41:58`, by the clock on this machine's wall. */
export const localTime = (at: Date): string =>
  `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} ${at.toTimeString().slice(0, 8)}`;

/** `23:41:58`, with the day where it is not today. */
export function shortTime(at: Date, now = new Date()): string {
  const isToday = at.toDateString() === now.toDateString();
  return isToday ? at.toTimeString().slice(0, 8) : localTime(at);
}

/** A sentence for a person, its times by the clock on this machine's wall; a pipe and --json keep RFC 3339. */
export const localTimes = (text: string): string => timesAs(text, (ms) => localTime(new Date(ms)));
