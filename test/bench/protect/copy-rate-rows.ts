import { cpus } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { changesSince } from '../crowd-rows.ts';
import { maxUnder, type Row, ratioAtLeast, row } from '../figures.ts';
import { narrow, sentBytes } from '../link.ts';
import { endAll, sendAll, takeAll } from '../load-programs.ts';
import { HostedStage } from './hosted-stage.ts';
import type { ProtectStage } from './protect-stage.ts';

interface Link {
  megabits: number | null;
  /** Of what a whole copy has at this speed: some seconds. */
  bytes: number;
  least: number | null;
}

const links: readonly Link[] = [
  { megabits: 100, bytes: 192 << 20, least: null },
  { megabits: 1000, bytes: 1 << 30, least: 0.9 },
  { megabits: null, bytes: 1 << 30, least: 0.4 },
];
const bareMs = 5000;
const to = 2;

/** One connection of TCP and nothing else, over the same cables, bytes a second. */
async function bare({ lan }: HostedStage): Promise<number> {
  const children = [takeAll(lan.namespace(to))];
  try {
    await sleep(500);
    children.push(sendAll(lan.namespace(1), lan.address(to), 1));
    await sleep(1000);
    const [before, began] = [sentBytes(lan, 1), performance.now()];
    await sleep(bareMs);
    return ((sentBytes(lan, 1) - before) / (performance.now() - began)) * 1000;
  } finally {
    endAll(children);
  }
}

async function linkRows(stage: HostedStage, link: Link, trials: number, say: (line: string) => void): Promise<Row[]> {
  const widen = link.megabits === null ? () => undefined : narrow(stage.lan, stage.agents.length, link.megabits);
  const name = link.megabits === null ? 'on a free way' : `at ${link.megabits} Mbit/s`;
  const ours: number[] = [];
  const theirs: number[] = [];
  const piped: number[] = [];
  const began = Date.now();
  const counts = { changes: 0, leases: 0, alarms: 0 };
  try {
    for (let trial = 0; trial < trials; trial++) {
      theirs.push(((await bare(stage)) * 8) / 1e6);
      await sleep(2000);
      const since = Date.now();
      ours.push(((await stage.wholeCopy('desktop-1', link.bytes)) * 8) / 1e6);
      const events = (...names: string[]): number =>
        stage.agents.reduce((sum, agent) => sum + agent.events.since(since, ...names).length, 0);
      counts.changes += changesSince(stage.agents, since);
      counts.leases += events('gitlab-lease-out');
      counts.alarms += events('leader-lost', 'node-suspect', 'node-lost', 'false-alarm');
      await stage.noCopy('desktop-1');
      if (link.megabits === null) piped.push(((await stage.bareCopy('desktop-1', link.bytes)) * 8) / 1e6);
      const beside = `bare ${theirs.at(-1)?.toFixed(0)}, send | receive ${piped.at(-1)?.toFixed(0) ?? '-'}`;
      say(`  ${name}: ${ours.at(-1)?.toFixed(0)} Mbit/s, ${beside}; ${JSON.stringify(counts)}`);
    }
  } finally {
    widen();
  }
  const seconds = Math.round((Date.now() - began) / 1000);
  return [
    row({
      measure: `whole copy to a fresh standby ${name}`,
      unit: 'Mbit/s',
      ours,
      against: { name: 'bare TCP', values: theirs },
      targets: link.least === null ? [] : [ratioAtLeast(link.least)],
      note: `${link.bytes >> 20} MiB of bulk, by btrfs send, TLS and btrfs receive between two agents of the published program; both ends on this computer's ${cpus().length} cores and its disk`,
    }),
    ...(piped.length === 0 ? [] : [pipedRow(ours, piped)]),
    row({
      measure: `leader changes and leases missed in whole copies ${name}`,
      unit: 'count',
      ours: [counts.changes + counts.leases],
      targets: [maxUnder(0)],
      note: `${counts.changes} leader changes, ${counts.leases} leases missed, ${counts.alarms} alarms in ${trials} copies of ${seconds} s with what is between them`,
    }),
  ];
}

/** What this computer could do at most: no connection and no agent, the same programs and the same disk. */
const pipedRow = (ours: number[], piped: number[]): Row =>
  row({
    measure: 'the same beside what its programs can do here',
    unit: 'Mbit/s',
    ours,
    against: { name: 'btrfs send | btrfs receive', values: piped },
    note: 'to the end of receive; ours between its first and last twentieth',
  });

/** Whole copies by real agents, over cables that carry so much: `copies-100`, `copies-1000`, `copies-free` for one of them. */
export async function copyRateRows({ trials, wants, say }: ProtectStage): Promise<Row[]> {
  const wanted = links.filter(({ megabits }) => wants(`copies-${megabits ?? 'free'}`) || wants('copies'));
  const stage = new HostedStage();
  try {
    await stage.start();
    const rows: Row[] = [];
    let filled = 0;
    for (const link of wanted) {
      if (filled !== link.bytes) await stage.fill(link.bytes);
      filled = link.bytes;
      rows.push(...(await linkRows(stage, link, Math.max(1, Math.round(trials / 7)), say)));
    }
    return rows;
  } finally {
    await stage.stop();
  }
}
