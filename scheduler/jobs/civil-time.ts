/**
 * Dates from milliseconds since the Unix epoch, by arithmetic: the pure floors may not ask the machine what day it is.
 * Proleptic Gregorian, UTC (Howard Hinnant's days-to-civil).
 */
function civilDay(wallMs: number): { year: number; month: number; day: number } {
  const z = Math.floor(wallMs / 86_400_000) + 719_468;
  const era = Math.floor(z / 146_097);
  const dayOfEra = z - era * 146_097;
  const yearOfEra = Math.floor(
    (dayOfEra - Math.floor(dayOfEra / 1460) + Math.floor(dayOfEra / 36_524) - Math.floor(dayOfEra / 146_096)) / 365,
  );
  const dayOfYear = dayOfEra - (365 * yearOfEra + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100));
  const shifted = Math.floor((5 * dayOfYear + 2) / 153);
  const day = dayOfYear - Math.floor((153 * shifted + 2) / 5) + 1;
  const month = shifted < 10 ? shifted + 3 : shifted - 9;
  return { year: yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month, day };
}

const padded = (n: number, digits: number): string => String(n).padStart(digits, '0');

/** "2026-11-21", the UTC day. */
export function utcDay(wallMs: number): string {
  const { year, month, day } = civilDay(wallMs);
  return `${padded(year, 4)}-${padded(month, 2)}-${padded(day, 2)}`;
}

/** RFC 3339 in UTC with milliseconds: "2026-11-21T10:42:03.120Z". */
export function rfc3339(wallMs: number): string {
  const ms = ((Math.floor(wallMs) % 86_400_000) + 86_400_000) % 86_400_000;
  const time = [Math.floor(ms / 3_600_000), Math.floor(ms / 60_000) % 60, Math.floor(ms / 1000) % 60];
  return `${utcDay(wallMs)}T${time.map((part) => padded(part, 2)).join(':')}.${padded(ms % 1000, 3)}Z`;
}
