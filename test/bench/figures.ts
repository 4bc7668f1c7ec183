import { cpus, loadavg, release } from 'node:os';

/** One side of a measure as INTERFACE.md promises it in `--json FILE`. All null when nothing was measured. */
export interface Figures {
  n: number;
  min: number | null;
  median: number | null;
  p99: number | null;
  max: number | null;
}

export interface Row {
  measure: string;
  unit: string;
  ours: Figures;
  against: ({ name: string } & Figures) | null;
  /** Median by median. Null without a peer, or where its median is 0. */
  ratio: number | null;
  target: string | null;
  holds: boolean;
  /** What one must know to read the row; why it could not be measured. */
  note: string | null;
  /** One-minute load average of this computer when the row was done. */
  load: number;
}

/** What a row has to reach. */
export interface Target {
  sentence: string;
  holds(ours: Filled, against: Filled | null): boolean;
}

type Filled = Record<'n' | 'min' | 'median' | 'p99' | 'max', number>;
const isFilled = (figures: Figures | null): figures is Filled => figures !== null && figures.median !== null;

export const ratioAtMost = (most: number): Target => ({
  sentence: `median <= ${most} x`,
  holds: (ours, against) => against !== null && ours.median <= most * against.median,
});
export const ratioAtLeast = (least: number): Target => ({
  sentence: `median >= ${least} x`,
  holds: (ours, against) => against !== null && ours.median >= least * against.median,
});
export const worstAtMost = (most: number): Target => ({
  sentence: `max <= ${most} x its max`,
  holds: (ours, against) => against !== null && ours.max <= most * against.max,
});
export const medianAbove = (most: number): Target => ({
  sentence: `median <= its median + ${most}`,
  holds: (ours, against) => against !== null && ours.median <= against.median + most,
});
export const medianUnder = (most: number): Target => ({
  sentence: `median <= ${most}`,
  holds: (ours) => ours.median <= most,
});
export const medianAtLeast = (least: number): Target => ({
  sentence: `median >= ${least}`,
  holds: (ours) => ours.median >= least,
});
export const p99Under = (most: number): Target => ({
  sentence: `p99 <= ${most}`,
  holds: (ours) => ours.p99 <= most,
});
export const maxUnder = (most: number): Target => ({
  sentence: `max <= ${most}`,
  holds: (ours) => ours.max <= most,
});

export function figures(values: readonly number[]): Figures {
  const sorted = values.filter((value) => Number.isFinite(value)).sort((a, b) => a - b);
  const n = sorted.length;
  if (n === 0) return { n, min: null, median: null, p99: null, max: null };
  const at = (q: number): number => sorted[Math.min(n - 1, Math.max(0, Math.ceil(q * n) - 1))] as number;
  const middle = n / 2;
  const median = n % 2 === 1 ? at(0.5) : ((sorted[middle - 1] as number) + (sorted[middle] as number)) / 2;
  return { n, min: at(0), median, p99: at(0.99), max: at(1) };
}

export interface RowParts {
  measure: string;
  unit: string;
  ours: readonly number[];
  against?: { name: string; values: readonly number[] };
  targets?: Target[];
  note?: string;
}

/** A trial that never came to its end is NaN in `ours`: it breaks the row, and is never left out in silence. */
export function row({ measure, unit, ours: values, against: peer, targets = [], note }: RowParts): Row {
  const ours = figures(values);
  const against = peer ? { name: peer.name, ...figures(peer.values) } : null;
  const failed = values.length - ours.n;
  const peerFailed = (peer?.values.length ?? 0) - (against?.n ?? 0);
  const notes = [
    note,
    failed > 0 ? `${failed} of our trials did not come to an end` : undefined,
    peerFailed > 0 ? `${peerFailed} of the peer's trials did not come to an end` : undefined,
    ours.n === 0 ? 'not measured' : undefined,
  ];
  const both = isFilled(ours) && isFilled(against);
  return {
    measure,
    unit,
    ours,
    against,
    ratio: both && against.median > 0 ? ours.median / against.median : null,
    target: targets.length > 0 ? targets.map((target) => target.sentence).join(', ') : null,
    holds:
      failed === 0 &&
      isFilled(ours) &&
      targets.every((target) => target.holds(ours, isFilled(against) ? against : null)),
    note: notes.filter((one) => one !== undefined).join('; ') || null,
    load: Math.round((loadavg()[0] as number) * 100) / 100,
  };
}

const shown = (value: number | null): string =>
  value === null ? '-' : value >= 100 ? value.toFixed(0) : value.toFixed(Math.abs(value) >= 10 ? 1 : 2);
const spread = (side: Figures): string =>
  side.n === 0 ? '-' : `${shown(side.median)} (${shown(side.min)}-${shown(side.max)}) n=${side.n}`;

/** The table for people: one line a row, then the notes. */
export function table(rows: readonly Row[]): string {
  const head = ['MEASURE', 'UNIT', 'OURS median (min-max)', 'PEER', 'RATIO', 'TARGET', 'HOLDS', 'LOAD'];
  const lines = rows.map((one) => [
    one.measure,
    one.unit,
    spread(one.ours),
    one.against ? `${one.against.name} ${spread(one.against)}` : '-',
    one.ratio === null ? '-' : one.ratio.toFixed(3),
    one.target ?? '-',
    one.target === null && one.ours.n > 0 ? '-' : one.holds ? 'yes' : 'NO',
    one.load.toFixed(1),
  ]);
  const all = [head, ...lines];
  const widths = head.map((_, column) => Math.max(...all.map((line) => (line[column] as string).length)));
  const text = all.map((line) =>
    line
      .map((cell, column) => cell.padEnd(widths[column] as number))
      .join('  ')
      .trimEnd(),
  );
  const notes = rows.flatMap((one) => (one.note === null ? [] : [`# ${one.measure}: ${one.note}`]));
  return [...text, ...notes].join('\n');
}

export const machineLine = (): string =>
  `${cpus().length} cores, load ${loadavg()[0]!.toFixed(2)}, kernel ${release()}, Node ${process.version}`;

/** One part of a table: its rows are added and said at once, so that whoever ends a long bench early keeps them. A part that fails is a row that says so. */
export async function addPart(
  rows: Row[],
  name: string,
  measure: () => Promise<Row[]>,
  say: (line: string) => void,
): Promise<void> {
  say(`${name} …`);
  try {
    const found = await measure();
    rows.push(...found);
    say(table(found));
  } catch (error) {
    const { message, cause } = error as Error;
    const note = `could not be measured: ${message}${cause instanceof Error ? ` (${cause.message})` : ''}`;
    say(note);
    rows.push(row({ measure: name, unit: '-', ours: [], note }));
  }
}
