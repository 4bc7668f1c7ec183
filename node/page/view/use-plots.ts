import type { Usage } from '../../../protocol/history.ts';

interface Curve {
  label: string;
  /** 0 to 1; null: nothing was heard. */
  values: (number | null)[];
}

export interface UsePlot {
  title: string;
  curves: Curve[];
  /** What a person who does not see the plot is told. */
  words: string;
}

interface MachineUse {
  node: string;
  plots: UsePlot[];
}

/** When each step of a usage is, in seconds since 1970. */
export function stepTimes({ from, stepMs, machines }: Usage): number[] {
  const steps = Math.max(0, ...machines.map(({ cpu }) => cpu.length));
  const began = Date.parse(from) / 1000;
  return Array.from({ length: steps }, (_, index) => began + (index * stepMs) / 1000);
}

/** A plot for each machine, and one for each of its GPUs. */
export function usePlots(usage: Usage): MachineUse[] {
  const steps = stepTimes(usage).length;
  return usage.machines.map(({ node, cpu, memory, gpus }) => ({
    node,
    plots: [
      plotOf('CPU and memory', [curve('CPU', cpu, steps), curve('memory', memory, steps)]),
      ...gpus.map((gpu) => plotOf(gpu.name, [curve('load', gpu.load, steps), curve('memory', gpu.memory, steps)])),
    ],
  }));
}

const curve = (label: string, values: readonly (number | null)[], steps: number): Curve => ({
  label,
  values: Array.from({ length: steps }, (_, index) => {
    const value = values[index] ?? null;
    return value === null ? null : Math.min(1, Math.max(0, value));
  }),
});

const plotOf = (title: string, curves: Curve[]): UsePlot => ({
  title,
  curves,
  words: curves.map(({ label, values }) => `${label} ${lastAndMost(values)}`).join(', '),
});

function lastAndMost(values: readonly (number | null)[]): string {
  const known = values.filter((value) => value !== null);
  if (known.length === 0) return 'not known';
  return `${percent(known.at(-1) as number)} now, ${percent(Math.max(...known))} at most`;
}

const percent = (share: number): string => `${Math.round(100 * share)} %`;
