/** Small words for sentences: sizes, counts and spans, as people say them. */
export const GiB = 2 ** 30;

/** "24 GiB"; below 10 GiB one decimal where it matters: "0.4 GiB". */
export function gib(bytes: number): string {
  return `${gibNumber(bytes)} GiB`;
}

export function gibNumber(bytes: number): string {
  const size = bytes / GiB;
  if (size >= 10) return String(Math.round(size));
  return String(Math.round(size * 10) / 10);
}

/** Cores: "2", "0.5". */
export const cores = (millis: number): string => String(Math.round(millis / 100) / 10);

export const plural = (n: number, noun: string, several = `${noun}s`): string => `${n} ${n === 1 ? noun : several}`;

/** "0.4 s", "12 s", "5 min", "3 h", "2 days". */
export function span(ms: number): string {
  const seconds = Math.max(0, ms) / 1000;
  if (seconds < 10) return `${Math.round(seconds * 10) / 10} s`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172_800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86_400)} days`;
}

/** "a", "a and b", "a, b and c". */
export function listed(words: readonly string[], joiner = 'and'): string {
  if (words.length < 2) return words[0] ?? '';
  return `${words.slice(0, -1).join(', ')} ${joiner} ${words[words.length - 1]}`;
}

/** Cuts a sentence to what the wire takes; never a letter in two. */
export const cut = (sentence: string, chars = 900): string =>
  sentence.length <= chars ? sentence : `${sentence.slice(0, chars - 3).replace(/[\ud800-\udbff]$/, '')}...`;

/** What is foretold of GitLab as one sentence, of all its parts or of those that a face does not show by themselves. */
export const forecastWords = (parts: readonly { when?: string | undefined; words: string }[]): string =>
  parts.map(({ when, words }) => (when === undefined ? words : `${when}: ${words}`)).join('; ');

/** What a machine that holds copies of GitLab is at: `in sync`, `catching up 40 %`. */
export const standbyState = ({ state, percent }: { state: string; percent: number | null }): string =>
  `${state.replace('-', ' ')}${percent === null ? '' : ` ${Math.floor(percent)} %`}`;

/** How bad what needs attention is: the worst comes first. */
export const bySeverity = (a: { severity: Severity }, b: { severity: Severity }): number =>
  severityRank[a.severity] - severityRank[b.severity];
type Severity = 'fail' | 'warn' | 'info';
export const severityRank: Readonly<Record<Severity, number>> = { fail: 0, warn: 1, info: 2 };
