import { sleep } from '../e2e/rig.ts';
import { type Agents, nextValue } from './agents.ts';
import type { Etcd } from './etcd.ts';
import { type Row, ratioAtMost, row } from './figures.ts';
import type { Stage } from './stage.ts';

const everyMs = 5;

/**
 * Sends a write every 5 ms while `fault` happens; the longest time between two acknowledgements from that moment on is
 * how long nobody led. It is never less than the pace of the writes.
 */
async function longestGap(
  write: (tries: number) => Promise<boolean>,
  handOver: () => Promise<unknown>,
): Promise<number> {
  const acknowledged: number[] = [];
  const state = { isOver: false };
  const writing = (async () => {
    for (let tries = 0; !state.isOver; tries++) {
      write(tries).then(
        (isDone) => void (isDone && acknowledged.push(performance.now())),
        () => {},
      );
      await sleep(everyMs);
    }
  })();
  await sleep(500);
  const began = performance.now();
  await handOver();
  await sleep(1500);
  state.isOver = true;
  await writing;
  await sleep(1000);
  const before = acknowledged.filter((at) => at < began).at(-1);
  const after = acknowledged.filter((at) => at >= began);
  if (before === undefined || after.length === 0) return Number.NaN;
  return Math.max(...after.map((at, index) => at - (index === 0 ? before : (after[index - 1] as number))));
}

interface OurTrial {
  /** Longest time between two acknowledged writes. */
  gap: number;
  /** From the leader's last change to its asking the transfer target: it still leads, all is being committed. */
  closing: number;
  /** From then until the last of the others knows the new leader. */
  leaderless: number;
}

async function ourTrial(agents: Agents): Promise<OurTrial> {
  const leader = await agents.leader();
  await sleep(1500);
  const others = agents.others(leader);
  const began = Date.now();
  const write = async (tries: number): Promise<boolean> => {
    const { client } = others[tries % others.length] as (typeof others)[number];
    return (await client.change({ kind: 'set', key: 'graceMs', value: nextValue() })).state === 'done';
  };
  const process = leader.machine.process;
  const gone = new Promise((resolve) => process?.once('exit', resolve));
  const gap = await longestGap(write, async () => {
    await leader.client.leave();
    await gone;
  });
  const told = [leader, ...others].map(({ events }) => {
    const handing = events.since(began, 'handing-over', 'leader-lost').at(0);
    const elected = events.since(began, 'leader-elected').at(-1)?.time;
    return { handing, elected };
  });
  const closing = Number(told[0]?.handing?.closedMs);
  const from = told[0]?.handing?.time ?? Number.NaN;
  const to = Math.max(...told.slice(1).map(({ elected }) => elected ?? Number.NaN));
  agents.restart(leader);
  await agents.leader();
  return { gap, closing, leaderless: to - from };
}

/** SIGTERM: etcd hands its leadership over before it ends. */
async function etcdTrial(etcd: Etcd): Promise<number> {
  await etcd.thaw();
  const leader = await etcd.leader();
  const others = [0, 1, 2].filter((member) => member !== leader);
  const write = async (tries: number): Promise<boolean> => {
    await etcd.put(others[tries % others.length] as number, 'handover', String(tries));
    return true;
  };
  const gap = await longestGap(write, () => etcd.kill(leader, 'SIGTERM'));
  etcd.restart(leader);
  await etcd.leader();
  etcd.freeze();
  return gap;
}

/** Row 4. The target is a share of what the peer's users wait when a leader dies; its own hand-over stands beside it. */
export async function handoverRows(stage: Stage): Promise<Row[]> {
  const ours: OurTrial[] = [];
  const theirs: number[] = [];
  for (let trial = 0; trial < stage.trials; trial++) {
    ours.push(await ourTrial(stage.agents));
    theirs.push(await etcdTrial(stage.etcd));
    stage.say(
      `  ${trial + 1}/${stage.trials}: ours ${JSON.stringify(ours.at(-1))}, etcd ${theirs.at(-1)?.toFixed(1)} ms`,
    );
  }
  const deaths = { name: 'etcd 100/1000 pre-vote, leader kill -9', values: stage.etcdDeaths };
  return [
    row({
      measure: 'planned hand-over (leave): time without a leader',
      unit: 'ms',
      ours: ours.map(({ leaderless }) => leaderless),
      against: deaths,
      targets: [ratioAtMost(0.01)],
      note: 'by the event lines: from the leader\'s "handing-over" until the last of the others knows the new one',
    }),
    row({
      measure: 'planned hand-over (leave): longest gap between accepted writes, one sent every 5 ms',
      unit: 'ms',
      ours: ours.map(({ gap }) => gap),
      against: { name: "etcd's own (SIGTERM of its leader)", values: theirs },
    }),
  ];
}
