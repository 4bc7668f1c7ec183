import { sleep } from '../e2e/rig.ts';
import type { Agent, Agents } from './agents.ts';
import { type Row, ratioAtMost, row } from './figures.ts';
import { Serf } from './serf.ts';
import type { Stage } from './stage.ts';

type Fault = 'killed' | 'unplugged';

/** When this agent said that the other is lost or suspect: an event line, or its status. Epoch ms; NaN in vain. */
async function noticedAt(by: Agent, of: Agent, since: number): Promise<number> {
  const name = of.machine.name;
  while (Date.now() - since < 60_000) {
    const line = by.events
      .since(since, 'node-lost', 'node-suspect', 'leader-lost')
      .find((event) => event.name === name || event.leader === name);
    if (line) return line.time;
    const { snapshot } = await by.client.status();
    const state = snapshot.nodes.find((node) => node.node === name)?.state;
    if (state === 'suspect' || state === 'gone') return Date.now();
    await sleep(10);
  }
  return Number.NaN;
}

async function ourTrial(agents: Agents, trial: number, fault: Fault): Promise<{ ms: number; led: boolean }> {
  const leader = await agents.leader();
  const victim = agents.all[trial % agents.all.length] as Agent;
  await sleep(1500 + Math.random() * 1000);
  const began = Date.now();
  if (fault === 'killed') void victim.machine.kill('SIGKILL');
  else agents.lan.unplug(victim.place);
  const at = await Promise.all(agents.others(victim).map((other) => noticedAt(other, victim, began)));
  if (fault === 'killed') {
    await victim.machine.kill('SIGKILL');
    agents.restart(victim);
  } else agents.lan.plug(victim.place);
  await agents.leader();
  return { ms: Math.max(...at) - began, led: leader === victim };
}

async function serfTrial({ lan }: Stage, trial: number, fault: Fault): Promise<number> {
  const serf = new Serf(lan, 'direct');
  const victim = trial % 3;
  try {
    await serf.formed(120_000);
    await sleep(1500 + Math.random() * 1000);
    return await serf.loses(victim, fault);
  } finally {
    await serf.stop();
    if (fault === 'unplugged') lan.plug(7 + victim);
  }
}

/** Row 6. The victims take turns, so that one in three of ours leads. */
export async function noticeRows(stage: Stage): Promise<Row[]> {
  const rows: Row[] = [];
  for (const fault of ['killed', 'unplugged'] as const) {
    const ours: { ms: number; led: boolean }[] = [];
    const theirs: number[] = [];
    for (let trial = 0; trial < stage.trials; trial++) {
      ours.push(await ourTrial(stage.agents, trial, fault));
      theirs.push(await serfTrial(stage, trial, fault));
      stage.say(
        `  ${trial + 1}/${stage.trials}: ours ${JSON.stringify(ours.at(-1))}, serf ${theirs.at(-1)?.toFixed(0)} ms`,
      );
    }
    const part = (led: boolean): string => {
      const values = ours.filter((one) => one.led === led).map(({ ms }) => Math.round(ms));
      return values.sort((a, b) => a - b).join(' ') || 'none';
    };
    rows.push(
      row({
        measure: fault === 'killed' ? 'dead agent noticed by all' : 'vanished machine noticed by all',
        unit: 'ms',
        ours: ours.map(({ ms }) => ms),
        against: { name: 'serf LAN', values: theirs },
        targets: [ratioAtMost(fault === 'killed' ? 0.02 : 0.1)],
        note: `when it led: ${part(true)}; when it did not: ${part(false)}`,
      }),
    );
  }
  return rows;
}
