import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it, vi } from 'vitest';
import { systemClock } from '../../node/clock.ts';
import { endForwarder, forwarderNow, makeForwardFolder } from '../../node/hosting/forward/forward-files.ts';
import { gateNow, makeGateFolder } from '../../node/hosting/gate/gate-files.ts';
import { GateKeeper } from '../../node/hosting/gate/gate-keeper.ts';

/** No number of a process that there is; nothing that is sent there ends it, as of one that waits in the kernel. */
const stuck = 2 ** 22 + 1;
vi.mock(import('../../node/executors/run-processes.ts'), async (original) => {
  const real = await original();
  return { ...real, isAlive: (pid, ticks) => pid === stuck || real.isAlive(pid, ticks) };
});

const home = mkdtempSync(join(tmpdir(), 'autogit-stuck-'));
afterAll(() => {
  vi.restoreAllMocks();
  rmSync(home, { recursive: true });
});

it.concurrent('what forwards to GitLab and waits in the kernel is given up, in words, and stays known', {
  timeout: 15_000,
}, async () => {
  writeFileSync(join(makeForwardFolder(home), 'forward.pid'), `${stuck} 1 1 -\n`);
  await expect(endForwarder(home)).rejects.toThrow(
    `what forwards to GitLab (process ${stuck}) does not end, even by SIGKILL: it waits in the kernel`,
  );
  expect(forwarderNow(home).pid).toBe(stuck);
});

it.concurrent('a gate that waits in the kernel keeps no GitLab from being uninstalled', {
  timeout: 15_000,
}, async () => {
  const said: string[] = [];
  writeFileSync(join(makeGateFolder(home), 'gate.pid'), `${stuck} 1 1 -\n`);
  const keeper = new GateKeeper({
    ...{ home, version: '1', clock: systemClock(), doors: [] },
    log: { info: (line) => void said.push(line), warn: (line) => void said.push(line) },
    watch: { watchService: async () => undefined, freezeServices: async () => undefined },
    guard: { table: 't-none', bridge: 't-none' },
  });
  await keeper.end();
  expect(said).toEqual([expect.stringContaining(`GitLab's gate (process ${stuck}) does not end, even by SIGKILL`)]);
  expect(gateNow(home).pid).toBe(null);
});
