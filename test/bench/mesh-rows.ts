import { formMesh, settled } from '../e2e/mesh.ts';
import { Lan } from '../e2e/namespaces.ts';
import { asRoot, Rig, sleep, type TestMachine, until } from '../e2e/rig.ts';
import { type Row, row } from './figures.ts';
import { dockerJobRow, processJobRow } from './job-rows.ts';
import type { BenchOptions } from './options.ts';
import { costOf } from './process-cost.ts';

const newest = (machine: TestMachine, event: string): number => machine.events(event).at(-1)?.time ?? 0;

/** kill -9 of the leader; ms until the last survivor has learnt the new one. Then the dead one comes back: ms to be in. */
async function failover(machines: TestMachine[]): Promise<{ lead: number; back: number }> {
  const name = await settled(machines);
  const leader = machines.find((machine) => machine.name === name) as TestMachine;
  const others = machines.filter((machine) => machine !== leader);
  await sleep(500 + Math.random() * 1000);
  const killed = Date.now();
  await leader.kill('SIGKILL');
  await until('all others know the new leader', () =>
    others.every((machine) => newest(machine, 'leader-elected') >= killed),
  );
  const lead = Math.max(...others.map((machine) => newest(machine, 'leader-elected'))) - killed;
  const began = Date.now();
  leader.join('--executor', 'process', ...asRoot);
  await until('the old leader is back', () => newest(leader, 'leader-elected') >= began);
  return { lead, back: newest(leader, 'leader-elected') - began };
}

async function idle(machines: TestMachine[], trials: number): Promise<Row[]> {
  const leader = await settled(machines);
  await sleep(5_000);
  const share: Record<'leader' | 'follower', number[]> = { leader: [], follower: [] };
  const resident: number[] = [];
  for (let i = 0; i < Math.min(trials, 10); i++) {
    const costs = await costOf(
      machines.map((machine) => machine.process!.pid!),
      3_000,
    );
    for (const [index, cost] of costs.entries()) {
      share[machines[index]?.name === leader ? 'leader' : 'follower'].push(cost.cpu);
      resident.push(cost.memoryMiB);
    }
  }
  return [
    row({ measure: 'idle CPU of the leader, 3 nodes', unit: '% of a core', ours: share.leader }),
    row({ measure: 'idle CPU of a follower, 3 nodes', unit: '% of a core', ours: share.follower }),
    row({ measure: 'resident memory of an agent, 3 nodes', unit: 'MiB', ours: resident }),
  ];
}

/** The figures of issue 2. */
export async function meshRows({ trials }: BenchOptions, say: (line: string) => void): Promise<Row[]> {
  const rig = new Rig();
  const lan = new Lan(3);
  const rows: Row[] = [];
  try {
    await rig.practice(lan.namespace(1)).start(lan.address(1));
    const machines = await formMesh(rig, ['kang', 'desktop-1', 'desktop-2'], { lan });
    say('idle …');
    rows.push(...(await idle(machines, trials)));
    say('jobs …');
    rows.push(await processJobRow(rig, machines[0] as TestMachine, trials));
    say('failover …');
    const done: { lead: number; back: number }[] = [];
    for (let i = 0; i < trials; i++) done.push(await failover(machines));
    const lead = done.map((trial) => trial.lead);
    const back = done.map((trial) => trial.back);
    rows.push(row({ measure: 'leader kill -9 -> new leader known by all', unit: 'ms', ours: lead }));
    rows.push(row({ measure: 'start of an agent -> in the mesh', unit: 'ms', ours: back }));
  } finally {
    await rig.clean();
    lan.down();
  }
  say('jobs in containers …');
  rows.push(await dockerJobRow(trials));
  return rows;
}
