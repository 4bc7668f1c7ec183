import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { RunWatch } from '../../node/agent/run-watch.ts';
import { systemClock } from '../../node/clock.ts';
import { ProcessExecutor } from '../../node/executors/process-executor.ts';
import { RunSupervisor } from '../../node/runs/run-supervisor.ts';
import { openStore } from '../../node/store/level-store.ts';
import { watchdogMain } from '../../node/watchdog/watchdog.ts';

/** One node's runs and their watchdog as processes of their own, to be killed: `agent.mjs <folder>`, takes one job. */
if (process.argv[2] === '__watchdog') process.exit(await watchdogMain(process.argv[4] as string));
const config = JSON.parse(readFileSync(join(process.argv[2] as string, 'agent.json'), 'utf8'));
const { url, token, home } = config as Record<'url' | 'token' | 'home', string>;
const clock = systemClock();
const store = await openStore(join(home, 'store'));
const supervisor: RunSupervisor = new RunSupervisor({
  self: 'node-a',
  nodeName: 'kang',
  version: '0.1.0',
  systemId: 'r_lab',
  store,
  executors: [new ProcessExecutor({ home, cgroups: false })],
  gitlabUrl: () => url,
  seal: (text) => text,
  unseal: (text) => text,
  instance: () => ({ uuid: null, epoch: 0 }),
  clock,
  leaderContactAt: () => clock.bootMs(),
  gpusByUuid: () => [],
  limitsFor: () => ({ cpuMillis: null, memoryBytes: null }),
  onRunChanged: () => undefined,
  watched: (...asked) => watch.covers(...asked),
  log: { info: () => undefined, warn: () => undefined, error: console.error },
  home,
});
const watch = new RunWatch({ home, runs: supervisor, clock, onProblem: console.error });
await supervisor.resume();
watch.start();
await supervisor.take({ kind: 'take-job', grant: 'g1', class: '', tags: [], token, gpus: [] });
