import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { build } from 'esbuild';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { systemClock } from '../../node/clock.ts';
import { ProcessExecutor } from '../../node/executors/process-executor.ts';
import type { Freezer, Workspace } from '../../node/ports.ts';
import { startWatchdog, Watchdog, watchdogPid, writeBeat } from '../../node/watchdog/watchdog.ts';
import { specOf, step } from '../contract/executor-steps.ts';

const clock = systemClock();
const never = new AbortController().signal;

/** SAFETY J1, H3. */
describe.each([
  ['signals', false],
  ['a control group where there is one', true],
])('watchdog, by %s', (_, cgroups) => {
  let home: string;
  let bin: string;
  let workspace: Workspace | null = null;
  let freezer: Freezer;
  let counter = 0;
  let beating: ChildProcess | null = null;

  beforeAll(async () => {
    home = mkdtempSync(join(tmpdir(), 'autogit-watchdog-'));
    bin = join(home, 'agent.mjs');
    const entry = join(home, 'entry.ts');
    const watchdog = new URL('../../node/watchdog/watchdog.ts', import.meta.url).pathname;
    writeFileSync(
      entry,
      `import { watchdogMain } from ${JSON.stringify(watchdog)};\nprocess.exit(await watchdogMain(process.argv[4]));\n`,
    );
    await build({
      entryPoints: [entry],
      outfile: bin,
      bundle: true,
      platform: 'node',
      format: 'esm',
      logLevel: 'error',
    });
  });
  afterEach(async () => {
    beating?.kill('SIGKILL');
    await workspace?.remove();
    workspace = null;
  });
  afterAll(() => {
    const pid = watchdogPid(home);
    if (pid !== null) process.kill(pid, 'SIGKILL');
    rmSync(home, { recursive: true, force: true });
  });

  const begin = async (): Promise<{ run: string; size: () => number }> => {
    const run = `w${process.pid}-${cgroups}-${++counter}`;
    const executor = new ProcessExecutor({ home, cgroups });
    workspace = await executor.prepare(specOf(run, null), never);
    freezer = (await workspace.freezer?.()) as Freezer;
    await workspace.start(step('while :; do echo tick; sleep 0.02; done'), 0);
    const file = join(workspace.handle, 'step-0.out');
    return { run, size: () => statSync(file).size };
  };
  const beat = (run: string, forMs: number, held = false): Promise<void> =>
    writeBeat(home, { bootId: clock.bootId(), runs: [{ run, until: clock.bootMs() + forMs, freeze: freezer, held }] });
  /** True while its output grows. */
  const moves = async (size: () => number): Promise<boolean> => {
    const before = size();
    await sleep(250);
    return size() > before;
  };
  const until = async (holds: () => Promise<boolean>, what: string): Promise<void> => {
    for (let tries = 0; tries < 200; tries++) {
      if (await holds()) return;
      await sleep(50);
    }
    throw new Error(`${what} did not come`);
  };

  it('freezes a run whose right has run out, thaws it by a newer beat, and not while the agent holds it', async () => {
    const { run, size } = await begin();
    await beat(run, 800);
    expect(await startWatchdog(home, bin)).toBe(true);
    expect(await startWatchdog(home, bin)).toBe(true);
    await until(async () => watchdogPid(home) !== null, 'the watchdog');
    await until(async () => !(await moves(size)), 'the freeze');
    await beat(run, 60_000, true);
    await sleep(600);
    expect(await moves(size)).toBe(false);
    await beat(run, 60_000);
    await until(() => moves(size), 'the thaw');
    expect(readFileSync(join(home, 'watchdog.log'), 'utf8')).toMatch(/froze run .*\n.*thawed run /);
  });

  // Only the variant without control groups looks for the processes of an earlier version.
  if (!cgroups)
    it('takes the place of one of an earlier version, which would not find the processes of this one', async () => {
      const before = watchdogPid(home);
      if (before !== null) process.kill(before, 'SIGKILL');
      const old = spawn('sleep', ['60'], { stdio: 'ignore' });
      const stat = readFileSync(`/proc/${old.pid}/stat`, 'latin1');
      writeFileSync(
        join(home, 'watchdog.pid'),
        `${old.pid} ${stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]} says-read\n`,
      );
      expect(watchdogPid(home)).toBe(old.pid);
      const { run, size } = await begin();
      // What the test before has started is not started again at once.
      await until(async () => {
        await beat(run, -1);
        return (await startWatchdog(home, bin)) && !(await moves(size));
      }, 'a freeze');
      expect(old.signalCode).toBe('SIGKILL');
    });

  it('freezes when the agent is killed -9, and ends when no run is left', async () => {
    const { run, size } = await begin();
    await beat(run, 5000);
    await startWatchdog(home, bin);
    await until(async () => watchdogPid(home) !== null, 'the watchdog');
    // Another process plays the agent: it beats until it is killed.
    const file = JSON.stringify(join(home, 'watchdog.json'));
    const plan = JSON.stringify({ bootId: clock.bootId(), runs: [{ run, until: 0, freeze: freezer }] });
    const script = `const fs=require('fs');const b=${plan};setInterval(()=>{b.runs[0].until=parseFloat(fs.readFileSync('/proc/uptime','utf8'))*1000+1500;fs.writeFileSync(${file}+'.new',JSON.stringify(b));fs.renameSync(${file}+'.new',${file})},200)`;
    beating = spawn(process.execPath, ['-e', script], { stdio: 'ignore' });
    await sleep(5500);
    expect(await moves(size)).toBe(true);
    beating.kill('SIGKILL');
    await until(async () => !(await moves(size)), 'the freeze');
    await workspace?.remove();
    workspace = null;
    const watched = watchdogPid(home);
    expect(watched).not.toBeNull();
    await until(async () => {
      await sleep(100);
      return watchdogPid(home) === null;
    }, 'the end of the watchdog');
  });
});

it('is not started from a program that has no such command', async () => {
  expect(await startWatchdog('/nonexistent', '/usr/bin/node')).toBe(false);
  expect(await startWatchdog('/nonexistent', '/nonexistent/agent.js')).toBe(false);
});

it('the watchdog stays for a run that begins while it is about to end, and ends 10 s after the last', async () => {
  const home = mkdtempSync(join(tmpdir(), 'autogit-watchdog-'));
  let now = 0;
  const watchdog = new Watchdog(home, { ...clock, bootMs: () => now });
  const lookAt = (at: number): boolean => {
    now = at;
    return watchdog.look();
  };
  const path = join(home, 'no-such-group');
  const beat = (until: number): Promise<void> =>
    writeBeat(home, {
      bootId: clock.bootId(),
      runs: until === 0 ? [] : [{ run: 'one', until, freeze: { kind: 'cgroup', path } }],
    });
  try {
    expect(lookAt(9_900)).toBe(true);
    // Its container has no process yet; its agent speaks for it.
    await beat(12_000);
    expect([9_950, 10_100, 11_900].map(lookAt)).toEqual([true, true, true]);
    await beat(0);
    expect([21_800, 22_000].map(lookAt)).toEqual([true, false]);
  } finally {
    rmSync(home, { recursive: true, force: true });
  }
});
