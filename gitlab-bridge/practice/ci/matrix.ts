/** So many jobs may one `matrix` make. */
export const maxRows = 200;

/** How many, without making them. */
export const rowCount = (matrix: readonly Record<string, readonly string[]>[]): number =>
  matrix.reduce((sum, axes) => sum + Object.values(axes).reduce((product, values) => product * values.length, 1), 0);

/** The rows of a `matrix`, in its order, and the name of the job that a row makes: `build: [amd64, fast]`. */
const product = (axes: Record<string, string[]>): Record<string, string>[] => {
  let rows: Record<string, string>[] = [{}];
  for (const [key, values] of Object.entries(axes))
    rows = rows.flatMap((row) => values.map((value) => ({ ...row, [key]: value })));
  return rows;
};

export const matrixRows = (matrix: readonly Record<string, string[]>[]): Record<string, string>[] =>
  matrix.flatMap(product);
export const matrixName = (job: string, row: Record<string, string>): string =>
  `${job}: [${Object.values(row).join(', ')}]`;
