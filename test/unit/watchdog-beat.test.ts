import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { readBeat } from '../../node/watchdog/watchdog-beat.ts';

const home = mkdtempSync(join(tmpdir(), 'autogit-beat-'));
afterAll(() => rmSync(home, { recursive: true, force: true }));

const read = (beat: unknown) => {
  writeFileSync(join(home, 'watchdog.json'), typeof beat === 'string' ? beat : JSON.stringify(beat));
  return readBeat(home);
};
const marks = { entries: ['AUTOGIT_RUN=1'], places: ['/tmp/a'], uid: -1, isUidAlone: false };
const run = { run: 'r1', until: 12, freeze: { kind: 'pgid', marker: 'm', marks }, held: false };
const beat = { bootId: 'b', id: 'p:1', runs: [run] };
const { marks: _, ...marker } = run.freeze;

it.each([
  [beat],
  [{ bootId: 'b', runs: [] }],
  [{ ...beat, runs: [{ run: 'r1', until: 12, freeze: { kind: 'cgroup', path: '/sys/a' } }] }],
  [{ ...beat, runs: [{ run: 'r1', until: 12, freeze: { kind: 'cgroup', path: '/sys/a', also: ['/sys/b'] } }] }],
  // Of an earlier agent.
  [{ bootId: 'b', runs: [{ run: 'r1', until: 12, freeze: marker }] }],
])('a beat is read as it was written: %j', (written) => {
  expect(read(written)).toEqual(written);
});

it.each([
  ['{"bootId":"b","runs":['],
  [null],
  [[]],
  [{ runs: [] }],
  [{ ...beat, id: 'x'.repeat(65) }],
  [{ ...beat, runs: {} }],
  [{ ...beat, runs: Array(1001).fill(run) }],
  [{ ...beat, runs: [null] }],
  [{ ...beat, runs: [{ ...run, run: '' }] }],
  [{ ...beat, runs: [{ ...run, until: null }] }],
  [{ ...beat, runs: [{ ...run, held: 1 }] }],
  [{ ...beat, runs: [{ ...run, freeze: { kind: 'cgroup', path: 'sys' } }] }],
  [{ ...beat, runs: [{ ...run, freeze: { kind: 'cgroup', path: '/sys/a', also: ['sys'] } }] }],
  [{ ...beat, runs: [{ ...run, freeze: { kind: 'pgid', marks } }] }],
  [{ ...beat, runs: [{ ...run, freeze: { kind: 'else', marker: 'm' } }] }],
  [{ ...beat, runs: [{ ...run, freeze: { ...run.freeze, marks: { ...marks, uid: '0' } } }] }],
  [{ ...beat, runs: [{ ...run, freeze: { ...run.freeze, marks: { ...marks, entries: [1] } } }] }],
  [{ ...beat, runs: [{ ...run, freeze: { ...run.freeze, marks: { ...marks, places: ['tmp'] } } }] }],
  [{ ...beat, runs: [{ ...run, freeze: { ...run.freeze, marks: { ...marks, places: Array(21).fill('/a') } } }] }],
])('what makes no sense is no beat, and the one before stays in force: %#', (written) => {
  expect(read(written)).toBeNull();
});
