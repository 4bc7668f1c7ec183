import type { CallEnd } from '../../gitlab-bridge/call-tally.ts';
import type { Spread } from '../../gitlab-bridge/spread.ts';
import type { JobRow } from '../../protocol/job-rows.ts';
import type { Measured } from '../../protocol/report.ts';
import type { StatusSnapshot } from '../../protocol/status.ts';
import type { Counts } from './counts.ts';

/** What a scrape is made of. `mesh` null: this machine waits to be let in, and knows nothing of any mesh. */
export interface Seen {
  version: string;
  nodeVersion: string;
  /** Of this agent process: seconds of CPU, bytes, and when it began (seconds since 1970). */
  process: { cpuSeconds: number; residentBytes: number; heapBytes: number; startedAt: number };
  counts: Counts;
  calls: { ends: Record<CallEnd, number>; seconds: Spread };
  mesh: {
    status: StatusSnapshot;
    /** Runs; what waits only at the leader. */
    jobs: JobRow[];
    /** Since when the job waits that waits longest (wall ms); null: none does, undefined: nobody can say. */
    oldestQueuedAt: number | null | undefined;
    /** What each machine says of itself, by its id. */
    measured: ReadonlyMap<string, Measured>;
    /** Machines that have left politely, by id. */
    left: ReadonlySet<string>;
    /** Wall time, ms. */
    wallMs: number;
  } | null;
}

export type Labels = Readonly<Record<string, string>>;
export interface Sample {
  labels: Labels;
  value: number;
}

/** One metric: its name, what it says, and its values. A counter's name ends with `_total`, and units are seconds, bytes, ratios. */
export type Family = { name: string; help: string } & (
  | { type: 'gauge' | 'counter'; samples: readonly Sample[] }
  | { type: 'histogram'; spread: Spread }
);

/** Machines and GPUs that a scrape names at most, whatever a ledger says. */
export const most = { machines: 64, gpus: 128, codes: 64 } as const;
const labelChars = 64;

/** A value of a label: names of machines and versions, of a bounded length. */
export const label = (text: string | null): string => (text ?? '').slice(0, labelChars);

type Given = readonly Sample[] | number | null;

const samplesOf = (given: Given): readonly Sample[] =>
  given === null ? [] : typeof given === 'number' ? [{ labels: {}, value: given }] : given;

/** Null: nobody can say it now, and the metric has no value. */
export const gauge = (name: string, help: string, given: Given): Family => ({
  ...{ name, help, type: 'gauge' },
  samples: samplesOf(given),
});
export const counter = (name: string, help: string, given: Given): Family => ({
  ...{ name, help, type: 'counter' },
  samples: samplesOf(given),
});
export const histogram = (name: string, help: string, spread: Spread): Family => ({
  ...{ name, help, type: 'histogram', spread },
});

export const yes = (is: boolean): number => (is ? 1 : 0);

/** Each word that a thing may be in, 1 for the one that it is in. */
export const states = (key: string, words: readonly string[], now: string, more: Labels = {}): Sample[] =>
  words.map((word) => ({ labels: { ...more, [key]: word }, value: yes(word === now) }));

/** Seconds since 1970; null for what is no time. */
export const secondsOf = (rfc3339: string | null | undefined): number | null => {
  const at = Date.parse(rfc3339 ?? '');
  return Number.isFinite(at) ? at / 1000 : null;
};
