import type { ChildProcess } from 'node:child_process';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { connectGitlab, formMesh, runningJobs } from '../e2e/mesh.ts';
import { Lan } from '../e2e/namespaces.ts';
import { type LogLine, Rig, sleep, until } from '../e2e/rig.ts';
import { type Agent, asAgent } from './agents.ts';
import { type Beats, beatsOf, notedBy } from './beats.ts';
import type { CoreStage } from './core-rows.ts';
import { changesSince, formCrowd, statusOf } from './crowd-rows.ts';
import { maxUnder, type Row, ratioAtMost, row } from './figures.ts';
import { narrow, sentBytes } from './link.ts';
import { burner, endAll, sendAll, stranger, takeAll } from './load-programs.ts';
import { cpuSeconds } from './process-cost.ts';

const names = ['kang', 'desktop-1', 'desktop-2'];
/** The machines beside the three: GitLab, whoever knocks, the other ends of a transfer. */
const beside = 4;
const further = 5;
const crowdStressSeconds = 300;
const lookMs = 10_000;
const alarms = ['leader-lost', 'node-suspect', 'node-lost', 'false-alarm'];

/** What agents said of each other and of leaders since then, for people to read. */
function tell(agents: readonly Agent[], since: number, say: (line: string) => void): number {
  const lines = agents.flatMap(({ machine, events }) =>
    events.since(since, ...alarms, 'leader-elected').map((line): [string, LogLine] => [machine.name, line]),
  );
  for (const [name, line] of lines.sort(([, a], [, b]) => a.time - b.time))
    say(`    ${line.time - since} ms ${name}: ${line.event}: ${line.because ?? line.msg}`);
  return lines.filter(([, { event }]) => event !== 'leader-elected').length;
}

/**
 * Leader changes without a failure: many agents, and a program for each core that only counts, share this computer. Each
 * has a session of its own, as on its own machine it would be a service: the kernel shares between sessions first, and
 * thirty agents of one session have together what one of these programs has.
 */
export async function crowdLoadRows({ options, say }: CoreStage): Promise<Row[]> {
  const lan = new Lan(options.agents);
  const rig = new Rig();
  const burners: ChildProcess[] = [];
  try {
    const { agents } = await formCrowd(rig, lan, options.agents, say, true);
    await sleep(20_000);
    const seconds = options.stressSeconds ?? crowdStressSeconds;
    const began = Date.now();
    const pids = agents.map(({ machine }) => machine.process?.pid as number);
    const before = pids.map(cpuSeconds);
    for (const _ of cpus()) burners.push(burner());
    await sleep(seconds * 1000);
    const used = pids.reduce((sum, pid, index) => sum + cpuSeconds(pid) - (before[index] as number), 0);
    const changes = changesSince(agents, began);
    const said = tell(agents, began, say);
    const load = `${options.agents} agents and ${burners.length} CPU burners on ${cpus().length} cores for ${seconds} s`;
    return [
      row({ measure: `leader changes: ${load}`, unit: 'changes', ours: [changes], targets: [maxUnder(0)] }),
      row({ measure: `alarms when nothing failed: ${load}`, unit: 'alarms', ours: [said] }),
      row({ measure: `CPU of all agents: ${load}`, unit: '% of a core', ours: [(used / seconds) * 100] }),
    ];
  } finally {
    endAll(burners);
    await rig.clean();
    lan.down();
  }
}

/** Three agents whose heartbeats are followed, and a machine beside them. */
class Stage {
  readonly rig = new Rig();
  readonly lan = new Lan(further);
  agents: Agent[] = [];

  async start(): Promise<void> {
    const env = Object.fromEntries(
      names.map((name) => [
        name,
        { NODE_OPTIONS: `--require ${process.env.BEAT_PROBE_CODE}`, BEAT_PROBE: join(this.rig.dir, `${name}.beats`) },
      ]),
    );
    const gitlab = this.rig.practice(this.lan.namespace(beside));
    await gitlab.start(this.lan.address(beside));
    const machines = await formMesh(this.rig, names, { lan: this.lan, env });
    this.agents = machines.map((machine, index) => asAgent(machine, index + 1));
    const [kang] = machines;
    if (!kang) throw new Error('no machine');
    await connectGitlab(kang, gitlab);
    await sleep(3000);
  }

  async leader(): Promise<Agent> {
    const name = await until('a leader', async () => (await statusOf(this.agents[0] as Agent))?.leader?.node);
    return this.agents.find(({ machine }) => machine.name === name) as Agent;
  }

  /** Heartbeats of the next `ms`. */
  async look(ms: number): Promise<Beats> {
    const noted = () => notedBy(this.agents, ({ machine }) => join(this.rig.dir, `${machine.name}.beats`));
    const leader = this.agents.indexOf(await this.leader());
    await noted();
    await sleep(ms);
    const chunks = await noted();
    const followers = chunks.filter((_, index) => index !== leader);
    return beatsOf(chunks[leader] ?? [], followers);
  }

  async down(): Promise<void> {
    await this.rig.clean();
    this.lan.down();
  }
}

interface Load {
  name: string;
  /** Begins; returns what ends it. */
  begin(stage: Stage): Promise<() => Promise<void> | void>;
  /** Bytes that the leader's cable has carried so far, where that is what the load is about. */
  carried?(stage: Stage): Promise<number>;
}

const strangerLoad: Load = {
  name: 'a stranger with 60 connections of silence, rubbish and half handshakes',
  begin: async ({ lan, agents }) => {
    const all = await Promise.all(agents.map((agent) => statusOf(agent)));
    const ports = all.map((status) =>
      Number(/:(\d+)$/.exec(status?.nodes.find(({ self }) => self)?.address ?? '')?.[1]),
    );
    const hosts = agents.map(({ place }) => lan.address(place));
    const child = stranger(lan.namespace(beside), hosts, [...new Set(ports)], 60);
    return () => endAll([child]);
  },
};

/** As many busy loops as four times the cores, by GitLab's way. */
const jobLoad: Load = {
  name: `a job of ${4 * cpus().length} busy loops on the leader`,
  begin: async (stage) => {
    const { gitlab } = stage.rig;
    if (!gitlab) throw new Error('no practice GitLab');
    const { machine } = await stage.leader();
    const loops = `for i in $(seq ${4 * cpus().length}); do (while :; do :; done) & done; wait`;
    const yaml = `job: { tags: ['node-${machine.name}'], script: [${JSON.stringify(loops)}] }`;
    const project = await gitlab.push(`loops-${Date.now()}`, { '.gitlab-ci.yml': yaml });
    const [job] = await until('the job runs', async () => {
      const jobs = await runningJobs(stage.rig, project);
      return jobs.length > 0 ? jobs : null;
    });
    await sleep(2000);
    return async () => {
      await gitlab.api(`/projects/${project}/jobs/${job?.id}/cancel`, { method: 'POST' });
      await until('the job has ended', async () => (await runningJobs(stage.rig, project)).length === 0, 90_000);
    };
  },
};

/** What the leader sends fills its cable; to each follower's port of the switch comes twice as much as it can pass on. */
const bulkLoad = (megabits: number): Load => ({
  name: `a bulk transfer at ${megabits} Mbit/s`,
  begin: async (stage) => {
    const { lan } = stage;
    const { place } = await stage.leader();
    const followers = stage.agents.map((agent) => agent.place).filter((one) => one !== place);
    const children = [beside, ...followers].map((one) => takeAll(lan.namespace(one)));
    await sleep(500);
    children.push(sendAll(lan.namespace(place), lan.address(beside), 4));
    for (const from of [beside, further])
      for (const to of followers) children.push(sendAll(lan.namespace(from), lan.address(to), 4));
    await sleep(1000);
    return () => endAll(children);
  },
  carried: async (stage) => sentBytes(stage.lan, (await stage.leader()).place),
});

/** Each look under the load has one without it beside it, in the same minute. */
async function loadRows(stage: Stage, load: Load, looks: number, say: (line: string) => void): Promise<Row[]> {
  const idle: Beats[] = [];
  const under: Beats[] = [];
  const costs = { idle: 0, under: 0 };
  const cpu = () => stage.agents.reduce((sum, { machine }) => sum + cpuSeconds(machine.process?.pid as number), 0);
  const rates: number[] = [];
  let changes = 0;
  let said = 0;
  for (let look = 0; look < looks; look++) {
    const calm = cpu();
    idle.push(await stage.look(lookMs));
    costs.idle += cpu() - calm;
    const began = Date.now();
    const end = await load.begin(stage);
    try {
      const [busy, before, since] = [cpu(), await load.carried?.(stage), performance.now()];
      under.push(await stage.look(lookMs));
      costs.under += cpu() - busy;
      if (before !== undefined && load.carried)
        rates.push((((await load.carried(stage)) - before) * 8) / 1000 / (performance.now() - since));
    } finally {
      await end();
    }
    changes += changesSince(stage.agents, began);
    said += tell(stage.agents, began, say);
    say(`  ${load.name}: ${JSON.stringify({ idle: idle.at(-1), under: under.at(-1) })}`);
    await sleep(2000);
  }
  const against = (values: number[]) => ({ name: 'idle', values });
  const seconds = (looks * lookMs) / 1000;
  const percent = (used: number): number => (used / seconds / stage.agents.length) * 100;
  return [
    row({
      measure: `${load.name}: leader changes`,
      unit: 'changes',
      ours: [changes],
      targets: [maxUnder(0)],
      note: `${said} alarms; ${under.reduce((sum, { count }) => sum + count, 0)} heartbeats in ${seconds} s`,
    }),
    row({
      measure: `${load.name}: heartbeats late (p99)`,
      unit: 'ms',
      ours: under.map(({ lateMs }) => lateMs),
      against: against(idle.map(({ lateMs }) => lateMs)),
      targets: [ratioAtMost(1.5)],
    }),
    row({
      measure: `${load.name}: a heartbeat's way (median)`,
      unit: 'ms',
      ours: under.map(({ wayMs }) => wayMs),
      against: against(idle.map(({ wayMs }) => wayMs)),
    }),
    row({
      measure: `${load.name}: CPU of an agent`,
      unit: '% of a core',
      ours: [percent(costs.under)],
      against: against([percent(costs.idle)]),
    }),
    ...(rates.length > 0 ? [row({ measure: `${load.name}: sent by the leader`, unit: 'Mbit/s', ours: rates })] : []),
  ];
}

async function onStage({ options, say }: CoreStage, load: Load, megabits: number | null): Promise<Row[]> {
  const stage = new Stage();
  try {
    await stage.start();
    const widen = megabits === null ? () => {} : narrow(stage.lan, further, megabits);
    const rows = await loadRows(stage, load, Math.min(5, options.trials), say);
    widen();
    return rows;
  } finally {
    await stage.down();
  }
}

export const strangerRows = (stage: CoreStage): Promise<Row[]> => onStage(stage, strangerLoad, null);
export const jobLoadRows = (stage: CoreStage): Promise<Row[]> => onStage(stage, jobLoad, null);
export const slowLinkRows = (stage: CoreStage): Promise<Row[]> => onStage(stage, bulkLoad(100), 100);
export const fastLinkRows = (stage: CoreStage): Promise<Row[]> => onStage(stage, bulkLoad(1000), 1000);
