import { hostingPrograms } from '../../hosting/stand/programs.ts';
import { install, installPackage } from '../debian.ts';
import { addPart, maxUnder, medianUnder, type Row, ratioAtMost, row } from '../figures.ts';
import { forwardRows, latencyRows } from '../forward-rows.ts';
import { nameRows } from '../name-rows.ts';
import type { BenchOptions } from '../options.ts';
import { MoveStage, Pusher } from './move-stage.ts';
import { Patroni } from './patroni.ts';

type Say = (line: string) => void;

const seconds = (ms: number): string => (ms / 1000).toFixed(2);

const defaultGraceMs = 45_000;
/** The least that a mesh takes: every lease is out by then. */
const leastGraceMs = 5000;
/** After so long a silence the boot beside the grace begins. */
const besideMs = 5000;
const outageLimitMs = 180_000;

export const moveKeys: readonly string[] = ['default', 'least', 'planned', 'forward', 'latency', 'name'];

interface Cuts {
  outageMs: number[];
  /** Refs that were acknowledged and are not there. */
  lost: number[];
  startMs: number[];
}

/** Machine after machine that hosts loses its power; a push by the same address is waited for. */
async function cuts(stage: MoveStage, graceMs: number, trials: number, say: Say): Promise<Cuts> {
  const seen: Cuts = { outageMs: [], lost: [], startMs: [] };
  await stage.set('inSyncGraceMs', `${graceMs}`);
  for (let trial = 0; trial < trials; trial++) {
    const host = await stage.well();
    if (trial < 2) seen.startMs.push(await stage.startAlone(stage.other(host)));
    await stage.well();
    const pusher = new Pusher(stage);
    try {
      await pusher.begin();
      await pusher.firstSince(performance.now(), 30_000);
      const at = await stage.cut(host);
      const isTold = trial === 0;
      const found = await pusher.firstSince(at, outageLimitMs).catch(() => null);
      seen.outageMs.push(found === null ? Number.NaN : found.end - at);
      if (isTold) for (const line of stage.told(host, at)) say(line);
      seen.lost.push(found === null ? Number.NaN : await pusher.lost());
      const after =
        found === null
          ? 'no push'
          : `a push after ${seconds(found.end - at)} s (began at ${seconds(found.start - at)})`;
      const start = seen.startMs.map((ms) => (ms / 1000).toFixed(1)).join(', ');
      say(
        `cut ${trial + 1} of ${trials}, ${host.name}, grace ${graceMs / 1000} s: ${after}; ${seen.lost.at(-1)} of ${pusher.acknowledged.length} lost; starts alone: ${start} s`,
      );
    } finally {
      await pusher.end();
    }
    await stage.back(host);
  }
  return seen;
}

const lostRow = (graceMs: number, { lost }: Cuts): Row =>
  row({
    measure: `acknowledged refs lost, grace ${graceMs / 1000} s`,
    ...{ unit: 'refs', ours: lost, targets: [maxUnder(0)] },
  });

const rig =
  'three agents, engines, GitLab and who pushes share this computer; power cut: all processes at once, the cable first';

async function defaultRows(stage: MoveStage, trials: number, say: Say): Promise<Row[]> {
  const seen = await cuts(stage, defaultGraceMs, trials, say);
  const start = Math.max(...seen.startMs);
  const least = Math.max(defaultGraceMs, besideMs + start);
  return [
    row({
      measure: 'power cut -> a push by the same address is acknowledged, default grace of 45 s',
      ...{ unit: 'ms', ours: seen.outageMs, targets: [medianUnder(least + 2000), maxUnder(least + 4000)] },
      note: `container and boot alone, by a drill: ${Math.round(start)} ms; ${rig}`,
    }),
    lostRow(defaultGraceMs, seen),
  ];
}

/** ms until a write by its defaults, where the primary's machine loses its power. */
async function patroniOutages(trials: number, say: Say): Promise<number[]> {
  install({ psql: 'postgresql-client', pg_lsclusters: 'postgresql', etcd: 'etcd-server' });
  installPackage('patroni');
  const outageMs: number[] = [];
  const patroni = new Patroni();
  try {
    await patroni.begin();
    for (let trial = 0; trial < trials; trial++) {
      outageMs.push(await patroni.outage());
      say(`Patroni ${trial + 1} of ${trials}: a write after ${((outageMs.at(-1) as number) / 1000).toFixed(2)} s`);
    }
  } finally {
    await patroni.end();
  }
  return outageMs;
}

async function leastRows(stage: MoveStage, trials: number, say: Say): Promise<Row[]> {
  const theirs = await patroniOutages(trials, say);
  const seen = await cuts(stage, leastGraceMs, trials, say);
  const start = Math.min(...seen.startMs);
  const against = { name: 'Patroni, its defaults', values: theirs };
  const note = `a grace of 0 does not exist, as a lease of the host's may be in force for 5 s; Patroni moves a database alone`;
  return [
    row({
      measure: 'the same with the least grace, 5 s',
      ...{ unit: 'ms', ours: seen.outageMs, against, targets: [] },
      note: `container and boot alone, by a drill: ${Math.round(start)} ms; ${note}`,
    }),
    row({
      measure: 'the same less container and boot alone, as of one that starts at once',
      ...{ unit: 'ms', ours: seen.outageMs.map((ms) => ms - start), against, targets: [ratioAtMost(0.25)] },
      note,
    }),
    lostRow(leastGraceMs, seen),
  ];
}

/** GitLab is moved by a person to and fro, while somebody pushes all the time. */
async function plannedRows(stage: MoveStage, trials: number, say: Say): Promise<Row[]> {
  const [awayMs, lost, startMs]: [number[], number[], number[]] = [[], [], []];
  for (let trial = 0; trial < trials; trial++) {
    const from = await stage.well();
    const to = stage.other(from);
    if (trial < 2) startMs.push(await stage.startAlone(to));
    await stage.well();
    const pusher = new Pusher(stage);
    try {
      await pusher.begin();
      await pusher.firstSince(performance.now(), 30_000);
      await stage.move(to);
      await pusher.firstSince(performance.now(), outageLimitMs);
      awayMs.push(pusher.longestMs());
      lost.push(await pusher.lost());
      const start = startMs.map((ms) => (ms / 1000).toFixed(1)).join(', ');
      say(
        `move ${trial + 1} of ${trials}, ${from.name} to ${to.name}: no push for ${((awayMs.at(-1) ?? Number.NaN) / 1000).toFixed(2)} s; ${lost.at(-1)} of ${pusher.acknowledged.length} lost; starts alone: ${start} s`,
      );
    } finally {
      await pusher.end();
    }
  }
  const start = Math.max(...startMs);
  return [
    row({
      measure: 'planned move: from one acknowledged push to the next',
      ...{ unit: 'ms', ours: awayMs, targets: [medianUnder(start + 2000)] },
      note: `container and boot alone, by a drill: ${Math.round(start)} ms; ${rig.split(';')[0]}`,
    }),
    row({
      measure: 'acknowledged refs lost by a planned move',
      ...{ unit: 'refs', ours: lost, targets: [maxUnder(0)] },
    }),
  ];
}

/** `npm run bench -- move`: what issue 10 wants to be shown of a GitLab that goes on elsewhere. 20 trials are 20 power cuts of each kind. */
export async function moveRows({ only, trials }: BenchOptions, say: Say): Promise<Row[]> {
  const wants = (part: string): boolean => only.length === 0 || only.includes(part);
  const rows: Row[] = [];
  const staged = { default: defaultRows, least: leastRows, planned: plannedRows };
  if (Object.keys(staged).some(wants)) {
    install({ ...hostingPrograms, nft: 'nftables', curl: 'curl' });
    const stage = await MoveStage.make(say);
    try {
      for (const [part, measure] of Object.entries(staged))
        if (wants(part)) await addPart(rows, part, () => measure(stage, trials, say), say);
    } finally {
      await stage.end();
    }
  }
  if (wants('forward')) await addPart(rows, 'forward', () => forwardRows(Math.min(trials, 10), say), say);
  if (wants('latency')) await addPart(rows, 'latency', () => latencyRows(Math.min(trials, 10), say), say);
  if (wants('name')) await addPart(rows, 'name', () => nameRows(Math.min(trials, 10), say), say);
  return rows;
}
