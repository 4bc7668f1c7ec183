import { addPart, type Row } from '../figures.ts';
import type { BenchOptions } from '../options.ts';
import { cacheRow, lanCacheRow } from './cache-rows.ts';
import { cloneRow } from './clone-row.ts';
import { firstByteRow, overheadRows, rateRow, servicesRow } from './job-rows.ts';
import { JobsStage } from './jobs-stage.ts';
import { goneRows } from './lost-rows.ts';
import { floodRows, rowOfJobs } from './many-rows.ts';
import { placementRow } from './placement-row.ts';

const parts = {
  'first-byte': firstByteRow,
  overhead: overheadRows,
  rate: (stage: JobsStage, trials: number) => rateRow(stage, Math.min(5, trials)),
  services: servicesRow,
  cache: (stage: JobsStage, trials: number, bytes: number) => cacheRow(stage, Math.min(5, trials), bytes),
  clone: (stage: JobsStage, trials: number, bytes: number) => cloneRow(stage, Math.min(10, trials), bytes),
} as const;

/** Those that have a rig of their own. */
const alone = {
  placement: async ({ trials }: BenchOptions) => placementRow(Math.min(10, trials)),
  gone: ({ trials }: BenchOptions) => goneRows(Math.min(10, trials)),
  'cache-lan': ({ trials, sizeBytes }: BenchOptions) => lanCacheRow(Math.min(5, trials), sizeBytes ?? usualBytes),
  flood: ({ jobs }: BenchOptions) => floodRows(jobs ?? 500),
  row: ({ jobs }: BenchOptions) => rowOfJobs(jobs ?? 5_000),
} as const;

/** Of caches and repositories; `--size` has less on a slow machine. */
const usualBytes = 2 ** 30;

/** What `--only` takes. */
export const jobsKeys: readonly string[] = [...Object.keys(parts), ...Object.keys(alone)];

/** `npm run bench -- jobs`: what a job costs from the moment that it waits, beside the engine alone and the official runner's loop. */
export async function jobsRows(options: BenchOptions, say: (line: string) => void): Promise<Row[]> {
  const { trials, only, sizeBytes } = options;
  const rows: Row[] = [];
  const isWanted = (key: string): boolean => only.length === 0 || only.includes(key);
  for (const [key, measure] of Object.entries(alone))
    if (isWanted(key)) await addPart(rows, key, () => measure(options), say);
  const wanted = Object.entries(parts).filter(([key]) => isWanted(key));
  if (wanted.length === 0) return rows;
  const stage = new JobsStage();
  try {
    await stage.start();
    for (const [key, measure] of wanted)
      await addPart(rows, key, () => measure(stage, trials, sizeBytes ?? usualBytes), say);
  } finally {
    await stage.end();
  }
  return rows;
}
