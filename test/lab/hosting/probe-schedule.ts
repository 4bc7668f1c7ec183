import type { Chance } from '../../sim/chance.ts';

/** What is done in one schedule of the probe: each fault begins and ends by itself, so that they overlap in any way. */
export interface ProbeFault {
  kind: 'cable' | 'one way' | 'both ways' | 'stop machine' | 'stop agent' | 'kill agent';
  /** Names of machines; of a cut the second hears nothing of the first. */
  of: readonly string[];
  fromMs: number;
  forMs: number;
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
export function scheduleOf(chance: Chance, machines: readonly string[], aimed: readonly string[]): ProbeFault[] {
  return Array.from({ length: chance.maybe(0.5) ? 1 : 2 }, () => {
    const kind = chance.pick(kinds);
    const first = chance.pick(chance.maybe(0.7) ? aimed : machines);
    const second = chance.pick(machines.filter((name) => name !== first));
    const isCut = kind === 'one way' || kind === 'both ways';
    const of = !isCut ? [first] : chance.maybe(0.5) ? [first, second] : [second, first];
    return { kind, of, fromMs: chance.below(3000), forMs: Math.round(1500 + chance.next() ** 1.5 * 20_000) };
  });
}

/** Of what lasts longer than a lease: until then nothing has to end. */
export const outlasts = (
  faults: readonly ProbeFault[],
  kinds: readonly ProbeFault['kind'][],
  leaseMs: number,
): boolean => faults.some(({ kind, forMs }) => kinds.includes(kind) && forMs > leaseMs);

export const wordsOf = ({ kind, of, fromMs, forMs }: ProbeFault): string =>
  `${kind} ${of.join('>')} from ${(fromMs / 1000).toFixed(1)} for ${(forMs / 1000).toFixed(1)} s`;
