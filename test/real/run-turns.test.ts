import { afterEach, expect, it } from 'vitest';
import { ProcessExecutor } from '../../node/executors/process-executor.ts';
import { RunLab } from './run-lab.ts';

let lab: RunLab;
let isOver = false;
afterEach(async () => {
  isOver = true;
  await lab.stop();
});

/** In which turn of the event loop what happened first. Timers run between two of them. */
async function begun(): Promise<{ turnOf: Map<string, number>; saw(what: string): void }> {
  lab = await RunLab.start({ '.gitlab-ci.yml': 'one: { script: ["true"] }\n' });
  isOver = false;
  const turnOf = new Map<string, number>();
  let turn = 0;
  const count = (): void => {
    turn += 1;
    if (!isOver) setImmediate(count);
  };
  count();
  const saw = (what: string): void => void (turnOf.has(what) || turnOf.set(what, turn));
  const executor = new ProcessExecutor({ home: lab.home, cgroups: false });
  const prepare = executor.prepare.bind(executor);
  Object.assign(executor, {
    ready: async () => saw('looked'),
    prepare: (...args: Parameters<typeof prepare>) => {
      saw('prepared');
      return prepare(...args);
    },
  });
  lab.executor = () => executor;
  lab.more = {
    onRunChanged: (run) => {
      lab.changes.push(run);
      saw(run.state);
    },
    gitlabUrl: () => {
      if (lab.changes.length > 0) saw('asked');
      return lab.gitlab.url;
    },
  };
  await lab.agent();
  return { turnOf, saw };
}

it('what a job begins with is split into turns, so that the agent answers others between them', async () => {
  const { turnOf, saw } = await begun();
  saw('wanted');
  const run = await lab.begin();
  await lab.ended(run);
  const turns = ['wanted', 'looked', 'taken', 'asked', 'running', 'prepared'].map((what) => turnOf.get(what) as number);
  expect(turns).toEqual([...turns].sort((a, b) => a - b));
  expect(new Set(turns.slice(0, 4)).size).toBe(4);
});

it('a run that is dropped before its first turn begins nothing', async () => {
  const { turnOf } = await begun();
  const run = await lab.begin();
  await lab.supervisor?.drop(run.run, 'the mesh gave it to another');
  expect(lab.supervisor?.runs()).toEqual([]);
  expect([...turnOf.keys()]).not.toContain('prepared');
  expect(lab.changes.at(-1)).toMatchObject({ run: run.run, state: 'discarded' });
});
