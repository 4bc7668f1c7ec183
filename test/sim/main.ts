import { parseArgs } from 'node:util';
import { setFlagsFromString } from 'node:v8';
import { Figures } from './figures.ts';
import { rareStates } from './rare.ts';
import { runSeed, type SeedEnd } from './seed-run.ts';
import { defaultOptions, type WorldOptions } from './world.ts';

// Many functions of like heat, and a third of the CPU time was their compiler's: none is compiled into another any more.
setFlagsFromString('--max-inlined-bytecode-size-cumulative=0');
const { values } = parseArgs({
  options: {
    seed: { type: 'string' },
    seeds: { type: 'string' },
    from: { type: 'string', default: '1' },
    /** A seed that comes before all others. */
    first: { type: 'string' },
    /** Only every n-th seed, from `from` on: several processes share the work. */
    stride: { type: 'string', default: '1' },
    for: { type: 'string' },
    /** Like --for, in CPU time: what else the computer does changes nothing. */
    cpu: { type: 'string' },
    chaos: { type: 'string' },
    /** How long a world lives in all: bouts of chaos, healing and calm. Default: one bout. */
    life: { type: 'string' },
    /** How long a healed mesh may take to get well; 0 = no healing is looked at. */
    heal: { type: 'string' },
    /** Runs every seed twice (the default), or only every n-th; 0 = none. */
    twice: { type: 'string', default: '1' },
    /** Every seed a storm of elections. */
    storm: { type: 'boolean' },
    /** Every mesh runs its GitLab itself. */
    hosting: { type: 'boolean' },
    /** Only these kinds of faults, by a comma. */
    kinds: { type: 'string' },
    verbose: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
    keep: { type: 'boolean', default: false },
  },
});

function msOf(text: string): number {
  const match = /^(\d+(?:\.\d+)?)(ms|s|m|h)?$/.exec(text);
  if (!match) throw new Error(`no time span: ${text} (try 30s, 10m)`);
  return Number(match[1]) * { ms: 1, s: 1000, m: 60_000, h: 3_600_000 }[match[2] ?? 's']!;
}

const options: WorldOptions = {
  ...defaultOptions,
  ...(values.chaos ? { chaosMs: msOf(values.chaos) } : {}),
  ...(values.life ? { lifeMs: msOf(values.life) } : {}),
  ...(values.heal ? { healMs: msOf(values.heal) } : {}),
  isStorm: values.storm ?? null,
  hosts: values.hosting ?? null,
  kinds: values.kinds?.split(',') ?? null,
  print: values.verbose ? (line) => process.stdout.write(`${line}\n`) : null,
};
const replay = (seed: number): string => {
  const flags = [
    values.chaos && `--chaos ${values.chaos}`,
    values.life && `--life ${values.life}`,
    values.heal && `--heal ${values.heal}`,
    values.storm && '--storm',
    values.hosting && '--hosting',
    values.kinds && `--kinds '${values.kinds}'`,
  ];
  return ['npm run sim --', `--seed ${seed} --verbose`, ...flags.filter((flag) => !!flag)].join(' ');
};

function report(end: SeedEnd): void {
  const { seed, broken } = end;
  if (!broken) return;
  if (values.json) return;
  if (!values.verbose) for (const line of broken.tail) process.stdout.write(`  ${line}\n`);
  process.stdout.write(`seed ${seed} broke ${broken.sentence}\nreplay: ${replay(seed)}\n`);
}

const figures = new Figures();
const total = {
  seeds: 0,
  virtualMs: 0,
  realMs: 0,
  events: 0,
  broken: [] as { seed: number; rule: string; sentence: string; replay: string }[],
};
const seen = new Map<string, number>();

function one(seed: number): void {
  const end = runSeed(seed, options);
  total.seeds += 1;
  total.virtualMs += end.virtualMs;
  total.realMs += end.realMs;
  total.events += end.events;
  figures.merge(end.counts);
  for (const name of Object.keys(end.counts)) seen.set(name, (seen.get(name) ?? 0) + 1);
  if (end.broken) {
    total.broken.push({ seed, rule: end.broken.rule, sentence: end.broken.sentence, replay: replay(seed) });
    report(end);
  }
  const every = Number(values.twice);
  if (every > 0 && !values.verbose && total.seeds % every === 0) {
    const again = runSeed(seed, options);
    if (again.hash !== end.hash) {
      total.broken.push({ seed, rule: 'same-seed-same-story', sentence: 'two runs differ', replay: replay(seed) });
      if (!values.json)
        process.stdout.write(`seed ${seed} told two stories: ${end.hash} and ${again.hash}\nreplay: ${replay(seed)}\n`);
    }
  }
}

const began = performance.now();
if (values.seed !== undefined) one(Number(values.seed));
else {
  const count = values.for || values.cpu ? Number.POSITIVE_INFINITY : Number(values.seeds ?? 200);
  const untilMs = values.for ? msOf(values.for) : Number.POSITIVE_INFINITY;
  const cpuMs = values.cpu ? msOf(values.cpu) : Number.POSITIVE_INFINITY;
  const isOver = (): boolean => total.broken.length > 0 && !values.keep;
  if (values.first !== undefined) one(Number(values.first));
  for (let i = 0; i < count && !isOver() && performance.now() - began < untilMs && total.realMs < cpuMs; i += 1)
    one(Number(values.from) + i * Number(values.stride));
}

if (values.json)
  process.stdout.write(`${JSON.stringify({ ...total, counts: figures.counts, inSeeds: Object.fromEntries(seen) })}\n`);
else {
  const line = (name: string): string =>
    `${String(figures.counts[name] ?? 0).padStart(9)}  ${name} (in ${seen.get(name) ?? 0} seeds)\n`;
  const isRare = (name: string): boolean => (rareStates as readonly string[]).includes(name);
  const names = Object.keys(figures.counts).sort();
  process.stdout.write(
    names
      .filter((name) => !isRare(name))
      .map(line)
      .join(''),
  );
  process.stdout.write(`rare states\n${rareStates.map(line).join('')}`);
  process.stdout.write(
    `${total.seeds} seeds, ${(total.virtualMs / 1000).toFixed(0)} virtual s in ${(total.realMs / 1000).toFixed(1)} CPU s ` +
      `(${Math.round(total.virtualMs / total.realMs)} x real time), ${total.events} events, ${total.broken.length} violations\n`,
  );
}
process.exitCode = total.broken.length > 0 ? 1 : 0;
