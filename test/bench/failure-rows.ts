import { sleep } from '../e2e/rig.ts';
import { type Agent, type Agents, firstDecision } from './agents.ts';
import type { Etcd } from './etcd.ts';
import { type Row, ratioAtMost, row, worstAtMost } from './figures.ts';
import type { Stage } from './stage.ts';

type Fault = 'killed' | 'unplugged';

/** ms that a machine stays away after its fault was measured. Back within two seconds it would not have vanished: for a
 * stall of that kind our agents blame the evidence, and do not believe it for a minute (SAFETY L11). */
const awayMs = 3000;

interface Outage {
  accepted: number;
  seen: number;
  /** Where the time went, ms since the fault: when each survivor missed the leader, and knew the next one. */
  lost: number[];
  elected: number[];
}

const shown = (outage: Outage | undefined): string =>
  JSON.stringify(outage, (_, value: unknown) => (typeof value === 'number' ? Math.round(value) : value));

/** The leader is gone; ms until a survivor accepted a decision that another agent shows. */
async function ourTrial(agents: Agents, fault: Fault): Promise<Outage> {
  const leader = await agents.leader();
  await sleep(2000 + Math.random() * 300);
  const survivors = agents.others(leader);
  const began = performance.now();
  const wallMs = Date.now();
  if (fault === 'killed') void leader.machine.kill('SIGKILL');
  else agents.lan.unplug(leader.place);
  const { accepted, seen } = await firstDecision(survivors, began);
  const times = (event: string): number[] =>
    survivors.map(({ events }) => (events.since(wallMs, event).at(0)?.time ?? Number.NaN) - wallMs);
  const outage = { accepted, seen, lost: times('leader-lost'), elected: times('leader-elected') };
  await comeBack(agents, leader, fault);
  return outage;
}

async function comeBack(agents: Agents, leader: Agent, fault: Fault): Promise<void> {
  if (fault === 'unplugged') await sleep(awayMs);
  if (fault === 'killed') agents.restart(leader);
  else agents.lan.plug(leader.place);
  await agents.leader();
}

async function etcdTrial(etcd: Etcd, { lan }: Stage, fault: Fault): Promise<number> {
  await etcd.thaw();
  const leader = await etcd.leader();
  await etcd.put(leader, 'before', String(performance.now()));
  await sleep(Math.random() * 3 * etcd.settings.heartbeatMs);
  const survivors = [0, 1, 2].filter((member) => member !== leader);
  const began = performance.now();
  const gone = fault === 'killed' ? etcd.kill(leader) : lan.unplug(etcd.machineOf(leader));
  const took = await etcd.firstPut(survivors, began);
  await gone;
  if (fault === 'unplugged') await sleep(awayMs);
  if (fault === 'killed') etcd.restart(leader);
  else lan.plug(etcd.machineOf(leader));
  await etcd.leader();
  etcd.freeze();
  return took;
}

/** Rows 1 and 2: the leader's process dies, and the leader's machine vanishes; ours and the peer's take turns. */
export async function failureRows(stage: Stage, fault: Fault): Promise<Row[]> {
  const { agents, etcd, fastEtcd, trials } = stage;
  const ours: Outage[] = [];
  const theirs: number[] = [];
  const fast: number[] = [];
  for (let trial = 0; trial < trials; trial++) {
    ours.push(await ourTrial(agents, fault));
    theirs.push(await etcdTrial(etcd, stage, fault));
    fast.push(await etcdTrial(fastEtcd, stage, fault));
    stage.say(
      `  ${trial + 1}/${trials}: ours ${shown(ours.at(-1))}, etcd ${theirs.at(-1)?.toFixed(0)}, 10/100 ${fast.at(-1)?.toFixed(0)} ms`,
    );
  }
  const ms = ours.map(({ seen }) => seen);
  if (fault === 'killed') stage.etcdDeaths = theirs;
  const what = fault === 'killed' ? 'leader kill -9' : "leader's machine vanishes";
  const measure = `${what} -> a durable decision accepted, seen elsewhere`;
  const targets = fault === 'killed' ? [ratioAtMost(0.025), worstAtMost(0.05)] : [ratioAtMost(0.25), worstAtMost(0.35)];
  return [
    row({ measure, unit: 'ms', ours: ms, against: { name: 'etcd 100/1000 pre-vote', values: theirs }, targets }),
    row({
      measure: `${what}, against the fastest etcd`,
      unit: 'ms',
      ours: ms,
      against: { name: 'etcd 10/100 pre-vote', values: fast },
      targets: fault === 'killed' ? [ratioAtMost(0.35)] : [],
    }),
  ];
}
