import { addPart, type Row } from '../figures.ts';
import type { BenchOptions } from '../options.ts';
import { roundRows } from '../prove-rows.ts';
import { copyRateRows } from './copy-rate-rows.ts';
import { costRows } from './cost-rows.ts';
import { databaseRows } from './database-rows.ts';
import { drillRows } from './drill-rows.ts';
import { lossRows } from './loss-rows.ts';
import type { ProtectStage } from './protect-stage.ts';
import { pushRows } from './push-rows.ts';
import { serveRows } from './serve-rows.ts';
import { vaultRows } from './vault-rows.ts';

interface ProtectPart {
  key: string;
  /** Names of pieces of it, for `--only`. */
  pieces?: readonly string[];
  measure(stage: ProtectStage): Promise<Row[]>;
}

const protectParts: readonly ProtectPart[] = [
  { key: 'loss', measure: lossRows },
  { key: 'push', measure: pushRows },
  { key: 'database', measure: databaseRows },
  { key: 'cost', measure: costRows },
  { key: 'rounds20k', measure: ({ trials, say }) => roundRows(1000 * trials, say) },
  { key: 'serve', pieces: ['serve-1', 'serve-10'], measure: serveRows },
  { key: 'drill', measure: drillRows },
  { key: 'vault', measure: vaultRows },
  { key: 'copies', pieces: ['copies-100', 'copies-1000', 'copies-free'], measure: copyRateRows },
];

export const protectKeys: readonly string[] = protectParts.flatMap(({ key, pieces = [] }) => [key, ...pieces]);

/** `npm run bench -- protect`: what issue 9 wants to be shown of GitLab's copies, on the product's own code and the real parts. */
export async function protectRows(options: BenchOptions, say: (line: string) => void): Promise<Row[]> {
  const { only, trials } = options;
  const sizeBytes = options.sizeBytes ?? 2 * 2 ** 30;
  const rows: Row[] = [];
  for (const { key, pieces = [], measure } of protectParts) {
    const wants = (part: string): boolean => only.length === 0 || only.includes(part);
    if ([key, ...pieces].some(wants)) await addPart(rows, key, () => measure({ trials, sizeBytes, wants, say }), say);
  }
  return rows;
}
