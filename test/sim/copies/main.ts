import { Broken } from './copies-standby.ts';
import { CopiesWorld } from './copies-world.ts';

/** `--from N --schedules N`: JSON of the first that broke a rule, and of what was met. */
const flag = (name: string, other: number): number => {
  const at = process.argv.indexOf(`--${name}`);
  return at < 0 ? other : Number(process.argv[at + 1]);
};
const counts: Record<string, number> = {};
let broken: { seed: number; sentence: string } | null = null;
const from = flag('from', 1);
let seed = from;
for (; seed < from + flag('schedules', 300) && !broken; seed += 1) {
  const world = new CopiesWorld(seed);
  try {
    world.run(600);
  } catch (error) {
    if (!(error instanceof Broken)) throw error;
    broken = { seed, sentence: error.message };
  }
  for (const [what, count] of Object.entries(world.counts)) counts[what] = (counts[what] ?? 0) + count;
}
process.stdout.write(`${JSON.stringify({ broken, schedules: seed - from, counts })}\n`);
