import { addPart, type Row } from '../figures.ts';
import type { BenchOptions } from '../options.ts';
import { firstByteRow, overheadRows, rateRow, servicesRow } from './job-rows.ts';
import { JobsStage } from './jobs-stage.ts';
import { goneRows } from './lost-rows.ts';
import { placementRow } from './placement-row.ts';

const parts = {
  'first-byte': firstByteRow,
  overhead: overheadRows,
  rate: (stage: JobsStage, trials: number) => rateRow(stage, Math.min(5, trials)),
  services: servicesRow,
} as const;

/** What `--only` takes. */
export const jobsKeys: readonly string[] = [...Object.keys(parts), 'placement', 'gone'];

/** `npm run bench -- jobs`: what a job costs from the moment that it waits, beside the engine alone and the official runner's loop. */
export async function jobsRows({ trials, only }: BenchOptions, say: (line: string) => void): Promise<Row[]> {
  const rows: Row[] = [];
  const isWanted = (key: string): boolean => only.length === 0 || only.includes(key);
  if (isWanted('placement')) await addPart(rows, 'placement', async () => placementRow(Math.min(10, trials)), say);
  if (isWanted('gone')) await addPart(rows, 'gone', () => goneRows(Math.min(10, trials)), say);
  const wanted = Object.entries(parts).filter(([key]) => isWanted(key));
  if (wanted.length === 0) return rows;
  const stage = new JobsStage();
  try {
    await stage.start();
    for (const [key, measure] of wanted) await addPart(rows, key, () => measure(stage, trials), say);
  } finally {
    await stage.end();
  }
  return rows;
}
