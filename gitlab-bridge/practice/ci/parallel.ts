import { type CiVariable, variable } from './ci-variables.ts';
import type { JobConfig } from './job-schema.ts';
import { matrixName, matrixRows, rowCount } from './matrix.ts';

interface Part {
  name: string;
  extra: CiVariable[];
}

/** The jobs that `parallel` makes of one: `name 1/3`, or `name: [a, b]` for a matrix. */
export const partsOf = (name: string, parallel: JobConfig['parallel']): Part[] => {
  if (parallel === undefined) return [{ name, extra: [] }];
  const numbered = (index: number, total: number): CiVariable[] => [
    variable('CI_NODE_INDEX', String(index + 1)),
    variable('CI_NODE_TOTAL', String(total)),
  ];
  if (typeof parallel === 'number')
    return Array.from({ length: parallel }, (_, index) => ({
      name: `${name} ${index + 1}/${parallel}`,
      extra: numbered(index, parallel),
    }));
  const rows = matrixRows(parallel.matrix);
  return rows.map((row, index) => ({
    name: matrixName(name, row),
    extra: [...numbered(index, rows.length), ...Object.entries(row).map(([key, value]) => variable(key, value))],
  }));
};

/** How many they are, without making them. */
export const partCount = (parallel: JobConfig['parallel']): number =>
  parallel === undefined ? 1 : typeof parallel === 'number' ? parallel : rowCount(parallel.matrix);
