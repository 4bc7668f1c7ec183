import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { answersItself } from '../../gitlab-bridge/gitlab-runner.ts';
import { systemClock } from '../../node/clock.ts';
import { ProcessExecutor } from '../../node/executors/process-executor.ts';
import { GitlabReturn } from '../../node/runs/gitlab-return.ts';
import { RunSupervisor } from '../../node/runs/run-supervisor.ts';
import { openStore } from '../../node/store/level-store.ts';

/** One node's runs as a process of its own, to be killed: `node run-agent.mjs <folder> take|resume`. */
const [folder = '', what = ''] = process.argv.slice(2);
const { url, token, home } = JSON.parse(readFileSync(join(folder, 'agent.json'), 'utf8')) as Record<string, string>;
const say = (line: unknown): void => void process.stdout.write(`${JSON.stringify(line)}\n`);
const clock = systemClock();
const store = await openStore(join(home as string, 'store'));
const supervisor = new RunSupervisor({
  self: 'node-a',
  nodeName: 'kang',
  version: '0.1.0',
  systemId: 'r_lab',
  store,
  executors: [new ProcessExecutor({ home: home as string, cgroups: false })],
  gitlabUrl: () => url as string,
  seal: (text) => Buffer.from(text).toString('base64'),
  unseal: (text) => Buffer.from(text, 'base64').toString(),
  instance: () => ({ uuid: null, epoch: 0 }),
  clock,
  leaderContactAt: () => clock.bootMs(),
  gpusByUuid: () => [],
  limitsFor: () => ({ cpuMillis: null, memoryBytes: null }),
  onRunChanged: (run) => say({ state: run.state, because: run.because, result: run.result }),
  log: { info: () => undefined, warn: say, error: say },
  gitlabReturn: new GitlabReturn({ answers: () => answersItself(url as string, 1000), lookEveryMs: 100 }),
  home: home as string,
});
await supervisor.resume();
say({ ready: true });
if (what === 'take')
  say(
    await supervisor.take({
      kind: 'take-job',
      grant: 'g1',
      class: '',
      tags: [],
      token: Buffer.from(token as string).toString('base64'),
      gpus: [],
    }),
  );
setInterval(() => undefined, 1000);
