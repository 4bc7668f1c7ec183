import { addPart, type Row } from '../figures.ts';
import type { BenchOptions } from '../options.ts';
import { copyRateRows } from './copy-rate-rows.ts';
import type { ProtectStage } from './protect-stage.ts';

interface ProtectPart {
  key: string;
  /** Names of pieces of it, for `--only`. */
  pieces?: readonly string[];
  measure(stage: ProtectStage): Promise<Row[]>;
}

const protectParts: readonly ProtectPart[] = [
  { key: 'copies', pieces: ['copies-100', 'copies-1000', 'copies-free'], measure: copyRateRows },
];

export const protectKeys: readonly string[] = protectParts.flatMap(({ key, pieces = [] }) => [key, ...pieces]);

/** `npm run bench -- protect`: what issue 9 wants to be shown of GitLab's copies, on the product's own code and the real parts. */
export async function protectRows(options: BenchOptions, say: (line: string) => void): Promise<Row[]> {
  const { only, trials, sizeBytes } = options;
  const rows: Row[] = [];
  for (const { key, pieces = [], measure } of protectParts) {
    const wants = (part: string): boolean => only.length === 0 || only.includes(part);
    if ([key, ...pieces].some(wants)) await addPart(rows, key, () => measure({ trials, sizeBytes, wants, say }), say);
  }
  return rows;
}
