/** One line of a story; `who` are the machines that said it. */
export interface Line {
  /** ms since the last thing that was done to the mesh. */
  afterMs: number;
  who: string;
  event: string;
  text: string;
}

const steps = [1, 2, 5];

/** The next of 50 ms, 0.1 s, 0.2 s, 0.5 s, … 50 s, 100 s: coarse, so that tuning does not touch every line. */
export function within(ms: number): string {
  let scale = 10;
  for (;;) {
    for (const step of steps) if (ms <= step * scale && step * scale >= 50) return `${(step * scale) / 1000} s`;
    scale *= 10;
  }
}

/** "was not heard for 1049 ms" -> "for ~1000 ms": measured times vary a little, sentences do not. One digit is kept. */
export const steady = (text: string): string =>
  text.replace(
    /\bfor (\d+(?:\.\d+)?) (ms|s)\b/g,
    (_, span, unit) => `for ~${Number(Number(span).toPrecision(1))} ${unit}`,
  );

/** Lines in order; what several machines say at the same moment is one line with all their names. */
export function told(lines: readonly Line[]): string[] {
  const merged: (Line & { when: string })[] = [];
  for (const line of lines) {
    const when = within(line.afterMs);
    const same = merged.find((one) => one.when === when && one.event === line.event && one.text === line.text);
    if (!same) merged.push({ ...line, when });
    else if (!same.who.split(', ').includes(line.who)) same.who = [...same.who.split(', '), line.who].sort().join(', ');
    else merged.push({ ...line, when });
  }
  return merged.map(({ when, who, event, text }) => `${when.padStart(6)}  ${who}  ${event}: ${text}`);
}
