import { Violation } from './violation.ts';
import { defaultOptions, World, type WorldOptions } from './world.ts';

export interface SeedEnd {
  seed: number;
  hash: string;
  /** ms of the world. */
  virtualMs: number;
  /** CPU ms of this computer. */
  realMs: number;
  events: number;
  counts: Record<string, number>;
  broken: { rule: string; sentence: string; tail: string[] } | null;
}

/** One seed from founding to health. Whatever goes wrong in it, a broken invariant of the core included, is a finding. */
export function runSeed(seed: number, options: WorldOptions = defaultOptions): SeedEnd {
  const began = process.cpuUsage().user;
  const world = new World(seed, options);
  let broken: SeedEnd['broken'] = null;
  try {
    world.run();
  } catch (error) {
    const rule = error instanceof Violation ? error.rule : 'no-exception';
    const sentence =
      error instanceof Error ? (error instanceof Violation ? error.message : `${error.stack}`) : `${error}`;
    broken = { rule, sentence, tail: world.transcript.tail(40) };
  }
  return {
    seed,
    hash: world.transcript.digest(),
    virtualMs: world.now,
    realMs: (process.cpuUsage().user - began) / 1000,
    events: world.timeline.events,
    counts: world.figures.counts,
    broken,
  };
}
