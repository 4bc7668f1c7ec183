import { writeSync } from 'node:fs';
import { DockerExecutor, type DockerExecutorOptions } from '../../node/executors/docker-executor.ts';
import { ProcessExecutor, type ProcessExecutorOptions } from '../../node/executors/process-executor.ts';
import type { Executor, ExecutorSpec } from '../../node/ports.ts';

/**
 * Plays the agent that is killed -9: prepares a run, begins its first step and reads its output, until it is killed.
 * Each line on stdout is one JSON value: first the handle, then the count of bytes read and their text.
 */
export type ChildPlan = { spec: ExecutorSpec; script: string[] } & (
  | { kind: 'process'; options: ProcessExecutorOptions }
  | { kind: 'docker'; options: DockerExecutorOptions }
);

export const executorOf = (plan: Pick<ChildPlan, 'kind' | 'options'>): Executor =>
  plan.kind === 'process'
    ? new ProcessExecutor(plan.options as ProcessExecutorOptions)
    : new DockerExecutor(plan.options as DockerExecutorOptions);

export async function play(plan: ChildPlan): Promise<void> {
  const say = (value: unknown): void => void writeSync(1, `${JSON.stringify(value)}\n`);
  const workspace = await executorOf(plan).prepare(plan.spec, new AbortController().signal);
  await workspace.start({ name: 'script', script: plan.script, timeoutMs: null }, 0);
  say({ handle: workspace.handle });
  let bytes = 0;
  for await (const chunk of workspace.output(0, 0, new AbortController().signal)) {
    bytes += chunk.length;
    say({ bytes, text: Buffer.from(chunk).toString('latin1') });
  }
}

const plan = process.env.AUTOGIT_TEST_PLAN;
if (plan !== undefined) await play(JSON.parse(plan) as ChildPlan);
