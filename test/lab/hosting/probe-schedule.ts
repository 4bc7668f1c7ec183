/** What is done in one schedule of the probe: each fault begins and ends by itself, so that they overlap in any way. */
export interface ProbeFault {
  kind: 'cable' | 'one way' | 'both ways' | 'stop machine' | 'stop agent' | 'kill agent';
  /** Names of machines; of a cut the second hears nothing of the first. */
  of: readonly string[];
  fromMs: number;
  forMs: number;
}

/** mulberry32: small, and the same everywhere. */
export function diceOf(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

const kinds = [
  'cable',
  'one way',
  'one way',
  'both ways',
  'stop machine',
  'stop machine',
  'stop agent',
  'kill agent',
] as const;

/** One or two faults; the host and the leader more often than others. Half of them outlast a lease (4 s) and the grace (5 s) by far. */
export function scheduleOf(dice: () => number, machines: readonly string[], aimed: readonly string[]): ProbeFault[] {
  const pick = <T>(all: readonly T[]): T => all[Math.floor(dice() * all.length)] as T;
  return Array.from({ length: dice() < 0.5 ? 1 : 2 }, () => {
    const kind = pick(kinds);
    const first = dice() < 0.7 ? pick(aimed) : pick(machines);
    const second = pick(machines.filter((name) => name !== first));
    const isCut = kind === 'one way' || kind === 'both ways';
    const of = !isCut ? [first] : dice() < 0.5 ? [first, second] : [second, first];
    return { kind, of, fromMs: Math.round(dice() * 3000), forMs: Math.round(1500 + dice() ** 1.5 * 20_000) };
  });
}

export const wordsOf = ({ kind, of, fromMs, forMs }: ProbeFault): string =>
  `${kind} ${of.join('>')} from ${(fromMs / 1000).toFixed(1)} for ${(forMs / 1000).toFixed(1)} s`;
