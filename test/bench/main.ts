import { writeFileSync } from 'node:fs';
import { outside } from './bench-lan.ts';
import { coreRows } from './core-rows.ts';
import { crowdRows } from './crowd-rows.ts';
import { installCommon, installPeers, peerVersions } from './debian.ts';
import { failover } from './failover.ts';
import { machineLine, type Row, table } from './figures.ts';
import { jobsRows } from './jobs/jobs-rows.ts';
import { meshRows } from './mesh-rows.ts';
import { moveRows } from './move/move-rows.ts';
import { type BenchOptions, readOptions } from './options.ts';
import { pageRows } from './page-rows.ts';
import { protectRows } from './protect/protect-rows.ts';
import { proveRows } from './prove-rows.ts';
import { trustRows } from './trust-rows.ts';

const say = (line: string): void => void process.stderr.write(`${line}\n`);

function report(rows: Row[], { json }: BenchOptions, versions: string): void {
  console.log(`${table(rows)}\n${machineLine()}${versions === '' ? '' : `; against ${versions}`}`);
  if (json === null) return;
  writeFileSync(json, `${JSON.stringify(rows, null, 2)}\n`);
}

/** The tables that need no peer of the mesh. */
async function ownRows(options: BenchOptions): Promise<Row[]> {
  if (options.what === 'crowd') return crowdRows(options.agents, Math.min(3, options.trials), say);
  if (options.what === 'trust') return trustRows(Math.min(5, options.trials), options.only, say);
  if (options.what === 'jobs') return jobsRows(options, say);
  if (options.what === 'core') return coreRows(options, say);
  if (options.what === 'prove') return proveRows(options.trials, options.only, say);
  if (options.what === 'move') return moveRows(options, say);
  if (options.what === 'page') return pageRows(options, say);
  if (options.what === 'protect') return protectRows(options, say);
  return meshRows(options, say);
}

async function main(): Promise<number> {
  let options: BenchOptions;
  try {
    options = readOptions(process.argv.slice(2));
  } catch (error) {
    say((error as Error).message);
    return 2;
  }
  if (process.getuid?.() !== 0) {
    say('the bench needs root: it makes network namespaces');
    return 1;
  }
  installCommon();
  if (options.what !== 'failover') {
    report(await ownRows(options), options, '');
    return 0;
  }
  // Before this program moves into a namespace that reaches nothing.
  installPeers();
  const code = await outside();
  if (code !== null) return code;
  const rows = await failover(options, say);
  report(rows, options, peerVersions());
  return 0;
}

process.exit(await main());
