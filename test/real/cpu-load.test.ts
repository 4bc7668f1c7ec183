import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { CpuLoad } from '../../node/machine/cpu-load.ts';

let proc: string;
beforeEach(() => {
  proc = mkdtempSync(join(tmpdir(), 'autogit-proc-'));
});
afterEach(() => rmSync(proc, { recursive: true, force: true }));
const stat = (text: string): void => writeFileSync(join(proc, 'stat'), `${text}\ncpu0 9 9 9 9\nintr 1\n`);

it('is the share of ticks since the last call that were neither idle nor waiting for a disk', async () => {
  const load = new CpuLoad(proc);
  stat('cpu  100 0 100 700 100 0 0 0 50 0');
  expect(load.percent()).toBe(20);
  stat('cpu  150 10 120 760 110 5 5 40 90 0');
  // 50 + 10 + 20 + 5 + 5 + 40 of 200: guests are in user already.
  expect(load.percent()).toBe(65);
  expect(load.percent()).toBe(0);
});

it('is 0 where the kernel does not tell', async () => {
  expect(new CpuLoad(proc).percent()).toBe(0);
  stat('cpu');
  expect(new CpuLoad(proc).percent()).toBe(0);
});

it('of this computer is a percentage', async () => {
  const percent = new CpuLoad().percent();
  expect(percent).toBeGreaterThan(0);
  expect(percent).toBeLessThanOrEqual(100);
});
