/** Seconds of GitLab's written durations: `1h 30m`, `3 hours and 20 mins`, `2 days`, `90` (seconds), `never` is not one. */
const unitSeconds = new Map<string, number>(
  Object.entries({
    s: 1,
    sec: 1,
    second: 1,
    m: 60,
    min: 60,
    minute: 60,
    h: 3600,
    hr: 3600,
    hour: 3600,
    d: 86_400,
    day: 86_400,
    w: 604_800,
    week: 604_800,
    mo: 2_592_000,
    month: 2_592_000,
    y: 31_536_000,
    yr: 31_536_000,
    year: 31_536_000,
  }),
);

const part = /(\d+(?:\.\d+)?)\s*([a-z]*)/gy;

/** Seconds, or null when the text is no duration. */
export const durationSeconds = (text: string): number | null => {
  const plain = text
    .trim()
    .toLowerCase()
    .replaceAll(',', ' ')
    .replace(/\band\b/g, ' ');
  if (plain === '' || plain.length > 100) return null;
  let seconds = 0;
  let at = 0;
  while (at < plain.length) {
    if (plain[at] === ' ') {
      at += 1;
      continue;
    }
    part.lastIndex = at;
    const found = part.exec(plain);
    if (found === null) return null;
    const name = found[2] as string;
    const unit = name === '' ? 1 : (unitSeconds.get(name) ?? unitSeconds.get(name.replace(/s$/, '')));
    if (unit === undefined) return null;
    seconds += Number(found[1]) * unit;
    at = part.lastIndex;
  }
  return Math.round(seconds);
};
