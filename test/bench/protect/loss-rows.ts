import { setTimeout as sleep } from 'node:timers/promises';
import { copyTimings } from '../../../scheduler/hosting/copies/copy-timings.ts';
import { type CutFindings, roundSteps, Written } from '../../hosting/stand/written.ts';
import { maxUnder, medianUnder, type Row, row } from '../figures.ts';
import type { ProtectStage } from './protect-stage.ts';
import { resticIn, took, withStand } from './stand.ts';

const standbys = ['standby-1', 'standby-2'];
/** Who is left, or comes back with the power, at each kind of cut. */
const kinds = {
  'of the host': ['standby-1', 'standby-2'],
  'of the host and one standby': ['standby-2'],
  'of all three': ['host', 'standby-1', 'standby-2'],
} as const;
type Kind = keyof typeof kinds;
const resticEveryMs = 5 * 60_000;

interface Cut {
  isByChance: boolean;
  found: Map<string, CutFindings>;
}

const lost = ({ lostMs }: CutFindings): number => Math.max(lostMs.rows, lostMs.keys) / 1000;

/** The newest of what is left: that is what is served from then on. */
function left({ found }: Cut, kind: Kind): CutFindings {
  const there = kinds[kind].flatMap((name) => found.get(name) ?? []);
  return there.reduce((best, one) => (lost(one) < lost(best) ? one : best));
}

async function cutAll(written: Written, count: number, say: (line: string) => void): Promise<Cut[]> {
  const cuts: Cut[] = [];
  for (let at = 0; at < count; at++) {
    const isByChance = at % 2 === 0;
    const found = new Map<string, CutFindings>();
    if (isByChance) await sleep(Math.random() * copyTimings.intervalMs);
    const step = roundSteps[(at >> 1) % roundSteps.length] as RegExp;
    await written.cutPower(isByChance ? 'now' : step, (findings, _at, machine) => void found.set(machine, findings));
    cuts.push({ isByChance, found });
    const said = [...found].map(([name, one]) => `${name} ${lost(one).toFixed(1)} s, ${one.missing.length} missing`);
    say(`  cut ${at + 1} of ${count} (${isByChance ? 'by chance' : String(step)}): ${said.join('; ')}`);
  }
  return cuts;
}

/** At a power cut what was told to a pusher is there, and of all else nothing older than a round. Half of the cuts at moments that nobody chose. */
export function lossRows({ trials, say }: ProtectStage): Promise<Row[]> {
  return withStand(standbys, 300 << 20, async (host, others, folder) => {
    const written = new Written(host, others, folder);
    const count = Math.ceil(2.5 * trials);
    try {
      await written.begin(1, 2000);
      while (written.acknowledged.size < 2) await sleep(50);
      const env = resticIn(folder);
      const backupMs = took(`cd '${host.replica.folderOf(host.replica.rounds().at(-1)!)}' && restic backup -q .`, env);
      const cuts = await cutAll(written, count, say);
      const roundMs = Math.max(...written.pushMs);
      const acknowledged = written.acknowledged.size;
      const restic = cuts.map((_, at) => (((at + 0.5) / count) * resticEveryMs + backupMs) / 1000);
      return (Object.keys(kinds) as Kind[]).flatMap((kind) =>
        rowsOf(kind, cuts, { roundMs, restic, acknowledged, problems: written.problems.length }),
      );
    } finally {
      await written.stop();
    }
  });
}

function rowsOf(
  kind: Kind,
  cuts: readonly Cut[],
  {
    roundMs,
    restic,
    acknowledged,
    problems,
  }: { roundMs: number; restic: number[]; acknowledged: number; problems: number },
): Row[] {
  const all = cuts.map((cut) => ({ ...cut, best: left(cut, kind) }));
  const seconds = copyTimings.intervalMs / 1000;
  const isRef = (words: string): boolean => words.startsWith('push ') || words === 'every round';
  const most = seconds + roundMs / 1000;
  return [
    row({
      measure: `acknowledged refs lost at a power cut ${kind}`,
      unit: 'refs',
      ours: all.map(({ best }) => best.missing.filter(isRef).length),
      targets: [maxUnder(0)],
      note: `${cuts.length} cuts, ${acknowledged} pushes acknowledged in the end; ${problems} pushes and writes failed meanwhile`,
    }),
    row({
      measure: `rows without their file, or missing in the middle, at a power cut ${kind}`,
      unit: 'rows',
      ours: all.map(({ best }) => best.missing.filter((words) => !isRef(words)).length),
      targets: [maxUnder(0)],
    }),
    row({
      measure: `all else lost at a power cut ${kind}, at moments by chance`,
      unit: 's',
      ours: all.filter(({ isByChance }) => isByChance).map(({ best }) => lost(best)),
      against: { name: 'restic every 5 min', values: restic },
      targets: [medianUnder(seconds), maxUnder(Math.round(most * 100) / 100)],
      note: `interval ${seconds} s, longest push ${(roundMs / 1000).toFixed(2)} s in place of a round; restic: moments spread evenly over its five minutes, and the time of one backup as measured here`,
    }),
    row({
      measure: `all else lost at a power cut ${kind}, between the steps of a round in turn`,
      unit: 's',
      ours: all.filter(({ isByChance }) => !isByChance).map(({ best }) => lost(best)),
      targets: [maxUnder(Math.round(most * 100) / 100)],
    }),
  ];
}
