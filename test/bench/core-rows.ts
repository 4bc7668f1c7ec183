import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { oldVersion } from '../e2e/old-version.ts';
import { addPart, type Row } from './figures.ts';
import { idleMemoryRows } from './idle-memory-rows.ts';
import { crowdLoadRows, fastLinkRows, jobLoadRows, slowLinkRows, strangerRows } from './load-rows.ts';
import type { BenchOptions } from './options.ts';
import { simRow } from './sim-rows.ts';
import { versionRows } from './version-rows.ts';

/** What the rows of the core are measured on: this build, and the one that they are compared with. */
export interface CoreStage {
  options: BenchOptions;
  /** A folder for the bench alone: caches, homes. */
  folder: string;
  /** The program of `--before`, built when the first row asks for it. */
  before(): string;
  say(line: string): void;
}

/** One part of the table: `--only KEY` runs it alone. */
export interface CorePart {
  key: string;
  measure(stage: CoreStage): Promise<Row[]>;
}

export const coreParts: readonly CorePart[] = [
  { key: 'version', measure: versionRows },
  { key: 'idle', measure: idleMemoryRows },
  { key: 'sim', measure: simRow },
  { key: 'stranger', measure: strangerRows },
  { key: 'job-load', measure: jobLoadRows },
  { key: 'bulk-100', measure: slowLinkRows },
  { key: 'bulk-1000', measure: fastLinkRows },
  { key: 'crowd-load', measure: crowdLoadRows },
];

/** `npm run bench -- core`: what the agent itself costs, beside a bare node and beside the build of an earlier commit. */
export async function coreRows(options: BenchOptions, say: (line: string) => void): Promise<Row[]> {
  const folder = mkdtempSync(join(tmpdir(), 'autogit-bench-core-'));
  let built: string | null = null;
  const before = (): string => {
    built ??= oldVersion(options.before, join(folder, 'before'));
    return built;
  };
  const rows: Row[] = [];
  try {
    for (const { key, measure } of coreParts) {
      if (options.only.length > 0 && !options.only.includes(key)) continue;
      await addPart(rows, key, () => measure({ options, folder, before, say }), say);
    }
    return rows;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
