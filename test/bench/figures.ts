import { readFileSync } from 'node:fs';
import { cpus, loadavg, release } from 'node:os';

/** One measure as INTERFACE.md promises it in `--json FILE`. */
export interface Figures {
  n: number;
  min: number;
  median: number;
  p99: number;
  max: number;
}

export interface Row {
  measure: string;
  unit: string;
  ours: Figures;
  against: null;
  ratio: null;
  target: null;
  holds: boolean;
}

export function figures(values: readonly number[]): Figures {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (q: number): number => sorted[Math.min(sorted.length - 1, Math.ceil(q * sorted.length) - 1)] ?? Number.NaN;
  const middle = sorted.length / 2;
  const median =
    sorted.length % 2 === 1 ? at(0.5) : ((sorted[middle - 1] ?? Number.NaN) + (sorted[middle] ?? Number.NaN)) / 2;
  return { n: sorted.length, min: at(0.0001), median, p99: at(0.99), max: sorted.at(-1) ?? Number.NaN };
}

export const row = (measure: string, unit: string, values: readonly number[]): Row => ({
  measure,
  unit,
  ours: figures(values),
  against: null,
  ratio: null,
  target: null,
  holds: values.length > 0,
});

const shown = (value: number): string => (value >= 100 ? value.toFixed(0) : value.toFixed(1));

export function table(rows: readonly Row[]): string {
  const lines = rows.map(
    ({ measure, unit, ours }) =>
      [measure, unit, String(ours.n), shown(ours.min), shown(ours.median), shown(ours.max)] as const,
  );
  const all = [['MEASURE', 'UNIT', 'N', 'MIN', 'MEDIAN', 'MAX'] as const, ...lines];
  const widths = all[0]!.map((_, column) => Math.max(...all.map((line) => line[column]!.length)));
  return all
    .map((line) =>
      line
        .map((cell, column) => cell.padEnd(widths[column]!))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

export const machineLine = (): string =>
  `${cpus().length} cores, load ${loadavg()[0]!.toFixed(2)}, kernel ${release()}, Node ${process.version}`;

/** Seconds of CPU (user and system) that a process has used. */
export function cpuSeconds(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

export function residentMiB(pid: number): number {
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1024;
}
