import { spawnSync } from 'node:child_process';
import { Lan } from '../e2e/namespaces.ts';
import { asRoot, Rig, type StatusSnapshot, sleep, type TestMachine, until } from '../e2e/rig.ts';
import { type Agent, asAgent } from './agents.ts';
import { type Row, row } from './figures.ts';
import { endWithUs } from './load-programs.ts';
import { costOf } from './process-cost.ts';

const sampleMs = 10_000;
const settleMs = 30_000;
/** Programs that start at a time: thirty at once on two cores would only measure the start. */
const startsAtOnce = 2;

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

/** Through the agent's socket: a CLI for each look would be the largest load of all. */
export async function statusOf({ client }: Agent): Promise<StatusSnapshot | null> {
  try {
    return (await client.status()).snapshot;
  } catch {
    return null;
  }
}

const isHere = ({ state }: { state: string }): boolean =>
  state !== 'suspect' && state !== 'gone' && state !== 'waiting';
const sees = (status: StatusSnapshot | null, count: number): boolean =>
  status?.leader != null && status.nodes.filter(isHere).length === count;

export interface Formed {
  agents: Agent[];
  /** ms from the start of each program until it is in the mesh and knows its leader. */
  joinedMs: number[];
  /** ms from the last start until each of them sees all, well. */
  allSeenMs: number;
}

/** The founder lets in, by its pair window, whoever comes; mDNS is how they find it. */
export async function formCrowd(
  rig: Rig,
  lan: Lan,
  count: number,
  say: (line: string) => void,
  areAlone = false,
): Promise<Formed> {
  const agents = Array.from({ length: count }, (_, i) =>
    asAgent(rig.machine(`node-${i + 1}`, lan.namespace(i + 1)), i + 1),
  );
  const join = (machine: TestMachine, ...more: string[]): void => {
    machine.isAlone = areAlone;
    machine.join('--executor', 'process', ...asRoot, ...more);
    if (areAlone && machine.process) endWithUs(machine.process);
  };
  const [founder, ...others] = agents as [Agent, ...Agent[]];
  join(founder.machine, '--new', 'crowd', '--pair', '60m');
  await until('the founder leads', async () => (await statusOf(founder))?.leader);
  const joinedMs: number[] = [];
  let lastStart = performance.now();
  for (let i = 0; i < others.length; i += startsAtOnce) {
    const some = others.slice(i, i + startsAtOnce);
    for (const { machine } of some) join(machine);
    lastStart = performance.now();
    for (const agent of some) {
      const { name } = agent.machine;
      await until(`${name} is in the mesh`, async () => (await statusOf(agent))?.leader, 120_000);
      joinedMs.push(performance.now() - lastStart);
    }
    say(`  ${i + some.length + 1} agents: ${Math.round(performance.now() - lastStart)} ms`);
  }
  for (const agent of agents)
    await until(`${agent.machine.name} sees all ${count}`, async () => sees(await statusOf(agent), count), 120_000);
  return { agents, joinedMs, allSeenMs: performance.now() - lastStart };
}

/** Terms that somebody began to lead since then: each is one change of leader. */
export const changesSince = (agents: readonly Agent[], since: number): number =>
  new Set(agents.flatMap(({ events }) => events.since(since, 'leader-elected').map((line) => line.term))).size;

/** Many real agents on one computer, doing nothing: what each costs. */
export async function crowdRows(count: number, rounds: number, say: (line: string) => void): Promise<Row[]> {
  const lan = new Lan(count);
  const rig = new Rig();
  try {
    const began = Date.now();
    const { agents, joinedMs, allSeenMs } = await formCrowd(rig, lan, count, say);
    const whileForming = changesSince(agents, began) - 1;
    say(`  all see all after ${Math.round(allSeenMs)} ms, ${whileForming} changes of leader`);
    const settled = Date.now();
    await sleep(settleMs);
    const leader = (await statusOf(agents[0] as Agent))?.leader;
    const pids = agents.map(({ machine }) => machine.process?.pid as number);
    const cpu = { leader: [] as number[], other: [] as number[] };
    const bytes = { leader: [] as number[], other: [] as number[] };
    const memory: number[] = [];
    for (let round = 0; round < rounds; round++) {
      const before = agents.map(({ machine }) => cableBytes(machine.namespace as string));
      const since = performance.now();
      const costs = await costOf(pids, sampleMs);
      const seconds = (performance.now() - since) / 1000;
      for (const [i, { machine }] of agents.entries()) {
        const who = machine.name === leader?.node ? 'leader' : 'other';
        cpu[who].push(costs[i]?.cpu ?? Number.NaN);
        bytes[who].push((cableBytes(machine.namespace as string) - (before[i] as number)) / seconds / 1024);
        memory.push(costs[i]?.memoryMiB ?? Number.NaN);
      }
    }
    const calmSeconds = Math.round((Date.now() - settled) / 1000);
    const changes = changesSince(agents, settled);
    const seen = await Promise.all(agents.map(statusOf));
    const note = `${seen.filter((status) => sees(status, count)).length} of ${count} see all ${count}; ${whileForming} changes of leader while it formed`;
    const of = `${count} agents`;
    return [
      row({ measure: `from start to member, ${of}`, unit: 'ms', ours: joinedMs }),
      row({ measure: `from the last start until all see all, ${of}`, unit: 'ms', ours: [allSeenMs] }),
      row({ measure: `leader changes in ${calmSeconds} s, ${of}`, unit: 'changes', ours: [changes], note }),
      row({ measure: `idle CPU of the leader, ${of}`, unit: '% of a core', ours: cpu.leader }),
      row({ measure: `idle CPU of any other, ${of}`, unit: '% of a core', ours: cpu.other }),
      row({ measure: `sent and received by the leader, ${of}`, unit: 'KiB/s', ours: bytes.leader }),
      row({ measure: `sent and received by any other, ${of}`, unit: 'KiB/s', ours: bytes.other }),
      row({ measure: `resident memory of an agent, ${of}`, unit: 'MiB', ours: memory }),
    ];
  } finally {
    await rig.clean();
    lan.down();
  }
}
