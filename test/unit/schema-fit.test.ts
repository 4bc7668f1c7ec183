import { isDeepStrictEqual } from 'node:util';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { Ledger, type Run } from '../../protocol/ledger.ts';
import { Envelope, type PeerMessage } from '../../protocol/messages.ts';
import { type Gpu, Report } from '../../protocol/report.ts';
import { fits } from '../../protocol/schema-fit.ts';
import { Chance } from '../sim/chance.ts';
import { three } from './raft-one.ts';

const stamp = { term: 4, version: 8 };
const gpu: Gpu = { uuid: 'GPU-1', vendor: 'nvidia', model: 'RTX 3090', memoryBytes: 24 * 2 ** 30 };
const run: Run = {
  ...{ run: 'r1', job: 7, projectId: 1, project: 'a/b', name: 'test', ref: 'main', tags: ['gpu'], class: 'gpu' },
  ...{ grant: 'g1', node: 'A', token: 'sealed', executor: 'docker', state: 'finished', frozen: false, takenAt: 5 },
  ...{ startedAt: 6, finishedAt: null, gpus: ['GPU-1'], because: 'asked for', boot: 'boot-A' },
  result: { state: 'failed', exitCode: 1, reason: 'script_failure', because: 'exit code 1' },
};
const ledger: Ledger = {
  ...three(),
  runs: { r1: run },
  forgotten: { Z: 12 },
  rescues: { 17: { projectId: 1, since: 2, retry: true, because: 'no machine has it' } },
  requests: [{ id: 'q1', because: 'done' }],
  acts: [{ kind: 'forget', at: 1, sentence: 's' }],
  newer: { kept: [1, { as: 'it is' }] },
};
const report: Report = {
  ...{ v: 1, node: 'A', name: 'a', boot: 'boot-A', store: 'store-A', seq: 3, since: 1, wallMs: 2, version: '0.1.0' },
  addresses: ['/ip4/10.0.0.1/tcp/7117'],
  measured: {
    ...{ arch: 'amd64', os: 'linux', capacity: { cpuMillis: 4000, memoryBytes: 9, diskBytes: 9, gpus: [gpu] } },
    ...{ usedCpuMillis: 1.5, usedMemoryBytes: 8, usedDiskBytes: 7, labels: ['render'], executors: ['docker'] },
    gpus: [{ uuid: 'GPU-1', usedBytes: 0, busyPercent: 90, foreign: false }],
    ...{ maxRuns: null, reserveMemoryBytes: 0, owner: 'away', paused: 'no', pausedBecause: null, healthy: true },
    unhealthyBecause: null,
  },
  room: { cpuMillis: 0, memoryBytes: 1, diskBytes: 2, gpus: [] },
  runs: [{ run: 'r1', job: 7, class: 'gpu', state: 'running' }],
  reserved: [],
  queue: { waiting: 0, gitlab: 'healthy', because: null },
};
const messages: PeerMessage[] = [
  { kind: 'hello', boot: 'b', store: 's', term: 4, stamp, promised: { term: 3, stamp }, version: '0.1.0', ledger },
  { kind: 'pre-vote', term: 4, stamp, evidence: 'refused', leader: null },
  { kind: 'vote-answer', term: 4, granted: true, store: 's', because: 'newer' },
  { kind: 'append', term: 4, round: 9, stamp, committed: stamp, ledger, away: ['B'] },
  { kind: 'append', term: 4, round: 9, stamp, committed: stamp, ledger: null },
  { kind: 'ack', term: 4, round: 9, stamp: null, store: 's' },
  { kind: 'change', id: 'q1', change: { kind: 'set', key: 'graceMs', value: 5 } },
  { kind: 'change', id: 'q2', change: { kind: 'depart', node: 'A' } },
  { kind: 'grant-answer', grant: 'g1', outcome: 'empty', because: '', waitMs: 3 },
  { kind: 'own-runs', boot: 'b', runs: [run] },
];
const said: [z.ZodType, unknown][] = [
  ...messages.map((message): [z.ZodType, unknown] => [Envelope, { v: 1, era: { id: 'e', counter: 0 }, message }]),
  [Report, report],
  [Ledger, ledger],
];
const odd = [
  ...[null, true, '', 'x', 'x'.repeat(9000), 0, -1, 0.5, 2 ** 53, [], ['x'], {}, { kind: 'ack' }, { a: 1 }],
  JSON.parse('{"__proto__":{"a":1}}'),
];

/** Somewhere in it something is otherwise: gone, more, or another thing. */
function bent(value: unknown, chance: Chance): unknown {
  const whole = JSON.parse(JSON.stringify(value));
  let at = whole;
  for (;;) {
    const keys = Object.keys(at);
    const key =
      keys.length === 0 || chance.maybe(0.1) ? chance.pick(['more', '__proto__', '1', 'boot']) : chance.pick(keys);
    if (typeof at[key] === 'object' && at[key] !== null && Object.hasOwn(at, key) && chance.maybe(0.8)) {
      at = at[key];
      continue;
    }
    if (chance.maybe(0.2)) delete at[key];
    else
      Object.defineProperty(at, key, { value: chance.pick(odd), enumerable: true, configurable: true, writable: true });
    return JSON.parse(JSON.stringify(whole));
  }
}

describe('a look whether a message is of the agreed form already', () => {
  it('takes what members say, so that zod is asked for what is unusual only', () => {
    for (const [schema, value] of said) expect(fits(schema, JSON.parse(JSON.stringify(value)))).toBe(true);
  });
  it('takes nothing that zod would refuse or change', () => {
    const chance = new Chance(20261128);
    const seen = { taken: 0, refused: 0, changed: 0 };
    for (let round = 0; round < 6000; round += 1) {
      const [schema, value] = chance.pick(said);
      const other = bent(value, chance);
      const found = schema.safeParse(other);
      const isSame = found.success && isDeepStrictEqual(found.data, other);
      seen[isSame ? 'taken' : found.success ? 'changed' : 'refused'] += 1;
      if (fits(schema, other)) expect(isSame, JSON.stringify(other)).toBe(true);
    }
    // Each of the three was met.
    expect(Math.min(...Object.values(seen))).toBeGreaterThan(50);
  });
  it.each([
    ['a default', z.object({ a: z.string().default('x') }), { a: 'y' }],
    ['another value made of it', z.string().transform((text) => text.length), 'x'],
    ['a rule of our own', z.number().refine((value) => value > 1), 0],
    ['a text made a number', z.coerce.number(), 1],
    ['a pattern that goes on from where it was', z.string().regex(/a/g), 'a'],
    ['a format', z.email(), 'nobody'],
    ['what is no number', z.number(), JSON.parse('1e999')],
    ['a list of keys', z.record(z.enum(['a', 'b']), z.number()), { a: 1 }],
    ['one of two objects', z.union([z.object({ a: z.number() }), z.looseObject({ b: z.number() })]), { a: 1, b: 2 }],
    ['a choice of which one is made another value', z.union([z.coerce.string(), z.number()]), 1],
    ['a field that is undefined', z.object({ a: z.string().optional() }), { a: undefined }],
    ['a class of objects', z.date(), new Date()],
  ])('leaves %s to zod', (_what, schema, value) => {
    expect(fits(schema as z.ZodType, value)).toBe(false);
  });
});
