import { sleep } from '../e2e/rig.ts';
import { Agents } from './agents.ts';
import { benchLan, machines } from './bench-lan.ts';
import { calmRows } from './calm-rows.ts';
import { commitRows } from './commit-rows.ts';
import { Etcd, etcdDefault, etcdFast } from './etcd.ts';
import { failureRows } from './failure-rows.ts';
import { type Row, row } from './figures.ts';
import { handoverRows } from './handover-rows.ts';
import { idleRows } from './idle-rows.ts';
import { noticeRows } from './notice-rows.ts';
import type { BenchOptions } from './options.ts';
import type { Stage } from './stage.ts';
import { startRows } from './start-rows.ts';

/** The parts in their order: idle before anything has filled memory, deaths before what is measured against them. */
const parts: Record<string, (stage: Stage) => Promise<Row[]>> = {
  idle: idleRows,
  commit: commitRows,
  death: (stage) => failureRows(stage, 'killed'),
  vanish: (stage) => failureRows(stage, 'unplugged'),
  handover: handoverRows,
  notice: noticeRows,
  calm: calmRows,
};

/** The table of issue 3: ours and the peers' on one LAN, taking turns. A part that fails is a row that says so. */
export async function failover(options: BenchOptions, say: (line: string) => void): Promise<Row[]> {
  const lan = benchLan();
  const agents = new Agents(lan);
  const etcd = new Etcd(lan, etcdDefault);
  const fastEtcd = new Etcd(lan, etcdFast);
  const { trials, starts, only } = options;
  const stressSeconds = options.stressSeconds ?? 45;
  const stage: Stage = { lan, agents, etcd, fastEtcd, trials, stressSeconds, etcdDeaths: [], say };
  const rows: Row[] = [];
  const measure = async (part: string, run: () => Promise<Row[]>): Promise<void> => {
    if (only.length > 0 && !only.includes(part)) return;
    say(`${part} …`);
    try {
      rows.push(...(await run()));
    } catch (error) {
      const note = `could not be measured: ${error instanceof Error ? error.message : String(error)}`;
      rows.push(row({ measure: part, unit: '-', ours: [], note }));
      say(`  ${error instanceof Error ? error.stack : String(error)}`);
      await mend(stage);
    }
  };
  try {
    await measure('start', () => startRows(lan, starts, say));
    if (only.length === 1 && only[0] === 'start') return rows;
    await agents.form();
    await etcd.start();
    etcd.freeze();
    await fastEtcd.start();
    fastEtcd.freeze();
    await sleep(2_000);
    for (const [part, run] of Object.entries(parts)) await measure(part, () => run(stage));
    return rows;
  } finally {
    await etcd.stop();
    await fastEtcd.stop();
    await agents.stop();
    lan.down();
  }
}

/** The next part begins on a whole rig. What cannot be mended fails there again, and is said again. */
async function mend({ lan, agents, etcd, fastEtcd, say }: Stage): Promise<void> {
  for (let machine = 1; machine <= machines; machine++) lan.plug(machine);
  for (const one of [agents, etcd, fastEtcd]) await one.mend().catch((error: Error) => say(`  ${error.message}`));
}
