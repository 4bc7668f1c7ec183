import { spawnSync } from 'node:child_process';
import { Lan } from '../e2e/namespaces.ts';
import { Rig, sleep, type TestMachine, until } from '../e2e/rig.ts';
import { type Row, row } from './figures.ts';
import { costOf } from './process-cost.ts';

const sampleMs = 10_000;
const settleMs = 30_000;

/** Bytes that a machine sent and received over its cable so far. */
function cableBytes(namespace: string): number {
  const counters = ['rx_bytes', 'tx_bytes'].map((name) => `/sys/class/net/eth0/statistics/${name}`);
  // sysfs shows the interfaces of the namespace that it was mounted in.
  const script = `mount -t sysfs none /sys && cat ${counters.join(' ')}`;
  const { stdout } = spawnSync('unshare', [
    '--mount',
    'nsenter',
    `--net=/var/run/netns/${namespace}`,
    'sh',
    '-c',
    script,
  ]);
  return stdout
    .toString()
    .trim()
    .split('\n')
    .reduce((sum, line) => sum + Number(line), 0);
}

/** The founder lets in, by its pair window, whoever comes; mDNS is how they find it. */
async function crowd(rig: Rig, lan: Lan, count: number, say: (line: string) => void): Promise<TestMachine[]> {
  const machines = Array.from({ length: count }, (_, i) => rig.machine(`node-${i + 1}`, lan.namespace(i + 1)));
  const [founder, ...others] = machines as [TestMachine, ...TestMachine[]];
  founder.join('--executor', 'process', '--new', 'crowd', '--pair', '10m');
  await until('the founder leads', async () => (await founder.status()).leader);
  // A few at a time: thirty programs that start at once on two cores only measure the start.
  for (let i = 0; i < others.length; i += 3) {
    const some = others.slice(i, i + 3);
    for (const machine of some) machine.join('--executor', 'process');
    await until(
      `${some.map(({ name }) => name).join(', ')} are in the mesh`,
      async () => (await Promise.all(some.map((machine) => machine.status()))).every(({ leader }) => leader),
      120_000,
    );
    say(`  ${i + some.length + 1} agents`);
  }
  return machines;
}

/** Many real agents on one computer, doing nothing: what each costs. */
export async function crowdRows(count: number, rounds: number, say: (line: string) => void): Promise<Row[]> {
  const lan = new Lan(count);
  const rig = new Rig();
  try {
    const machines = await crowd(rig, lan, count, say);
    await sleep(settleMs);
    const { leader } = await (machines[0] as TestMachine).status();
    const pids = machines.map(({ process }) => process?.pid as number);
    const cpu = { leader: [] as number[], other: [] as number[] };
    const bytes = { leader: [] as number[], other: [] as number[] };
    const memory: number[] = [];
    for (let round = 0; round < rounds; round++) {
      const before = machines.map(({ namespace }) => cableBytes(namespace as string));
      const began = performance.now();
      const costs = await costOf(pids, sampleMs);
      const after = machines.map(({ namespace }) => cableBytes(namespace as string));
      const seconds = (performance.now() - began) / 1000;
      for (const [i, machine] of machines.entries()) {
        const who = machine.name === leader?.node ? 'leader' : 'other';
        cpu[who].push(costs[i]?.cpu ?? Number.NaN);
        bytes[who].push(((after[i] as number) - (before[i] as number)) / seconds / 1024);
        memory.push(costs[i]?.memoryMiB ?? Number.NaN);
      }
    }
    const seen = await Promise.all(machines.map((machine) => machine.status()));
    const note = `${seen.filter(({ nodes }) => nodes.length === count).length} of ${count} see all ${count}`;
    return [
      row({ measure: `idle CPU of the leader, ${count} agents`, unit: '% of a core', ours: cpu.leader, note }),
      row({ measure: `idle CPU of any other, ${count} agents`, unit: '% of a core', ours: cpu.other }),
      row({ measure: `sent and received by the leader, ${count} agents`, unit: 'KiB/s', ours: bytes.leader }),
      row({ measure: `sent and received by any other, ${count} agents`, unit: 'KiB/s', ours: bytes.other }),
      row({ measure: `resident memory of an agent, ${count} agents`, unit: 'MiB', ours: memory }),
    ];
  } finally {
    await rig.clean();
    lan.down();
  }
}
