import { afterEach, expect, it } from 'vitest';
import { ProcessExecutor } from '../../node/executors/process-executor.ts';
import type { Executor } from '../../node/ports.ts';
import { AutogitError } from '../../protocol/errors.ts';
import { plainText, RunLab, until } from './run-lab.ts';

let lab: RunLab;
afterEach(() => lab.stop());

/** An executor with something beside each job: `begins` when the run has said that it may. */
async function besideEach(prepare: (own: Executor['prepare']) => Executor['prepare']): Promise<void> {
  lab = await RunLab.start({ '.gitlab-ci.yml': 'one: { script: ["echo its script"] }\n' });
  lab.executor = () => {
    const executor = new ProcessExecutor({ home: lab.home, cgroups: false });
    return Object.assign(executor, { prepare: prepare(executor.prepare.bind(executor)) });
  };
}

it('services begin only when a watchdog has read of the place as it is now, with the run known to it (J1)', async () => {
  const order: string[] = [];
  let open: () => void = () => undefined;
  await besideEach((own) => async (spec, signal, onMade) => {
    const made = await own(spec, signal);
    const services = { follow: async () => undefined, ended: async () => [] };
    await onMade?.(Object.assign(made, { services }));
    order.push('services begin');
    return made;
  });
  lab.more = {
    watched: async (_, signal, isNew) => {
      order.push(isNew ? 'asks of its new place' : 'asks');
      if (isNew)
        await new Promise<void>((resolve) => {
          open = resolve;
          signal.addEventListener('abort', () => resolve());
        });
    },
  };
  const supervisor = await lab.agent();
  const run = await lab.begin();
  await until('it asks', () => order.length === 1);
  expect((await supervisor.beats()).map((beat) => beat.run)).toEqual([run.run]);
  expect(order).toEqual(['asks of its new place']);
  open();
  await lab.ended(run);
  expect(order).toEqual(['asks of its new place', 'services begin', 'asks']);
});

it('an image or a service whose program cannot be started is the job’s own failure, and no machine’s', async () => {
  await besideEach(() => async () => {
    throw new AutogitError('image-unusable', 'cannot start service db:1: exec: "/no/such": no such file or directory');
  });
  await lab.agent();
  const run = await lab.begin();
  expect((await lab.ended(run)).result).toMatchObject({ state: 'failed', reason: 'script_failure' });
  expect(plainText(await lab.traceAt(run))).toContain('look at entrypoint, command and user');
});
