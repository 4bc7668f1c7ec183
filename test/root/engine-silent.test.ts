import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { ExecutorHealth } from '../../node/agent/executor-health.ts';
import { checkDocker } from '../../node/doctor/docker-check.ts';
import { DockerExecutor } from '../../node/executors/docker-executor.ts';
import { cgroupProcesses } from '../../node/executors/run-cgroup.ts';
import type { Workspace } from '../../node/ports.ts';
import { never, outputUntil, specOf, step } from '../contract/executor-steps.ts';
import { plainText, RunLab, until } from '../real/run-lab.ts';
import { OwnEngine } from './own-engine.ts';
import { makeTestImages, testImages } from './test-image.ts';

/** The engine takes calls and never answers (SIGSTOP), under a running job and under an idle node, and goes on. */
const engine = new OwnEngine();
const node = `t-silent-${process.pid}`;
let lab: RunLab | null = null;

beforeAll(async () => {
  makeTestImages();
  await engine.begin();
  engine.load(testImages.bash);
}, 180_000);
afterEach(async () => {
  engine.goOn();
  await lab?.stop();
  lab = null;
});
afterAll(() => engine.end(), 60_000);

const executorOf = (): DockerExecutor => new DockerExecutor({ node, dockerHost: engine.host });
const containers = (): string[] => engine.docker('ps', '-aq').split('\n').filter(Boolean);
const quiet = { info: () => undefined, warn: () => undefined };
async function within<T>(ms: number, work: Promise<T>): Promise<T> {
  const begun = performance.now();
  const result = await work;
  expect(performance.now() - begun).toBeLessThan(ms);
  return result;
}

describe('an engine that takes calls and answers none', () => {
  it('is said by node and doctor, gets no job, costs a running one nothing, and does not hold its agent', async () => {
    lab = await RunLab.start({
      '.gitlab-ci.yml': `
default: { image: "${testImages.bash}" }
variables: { GIT_STRATEGY: none }
one: { script: ["for i in $(seq 1 200); do echo tick $i; sleep 0.1; done"] }
two: { script: ["true"] }
`,
    });
    const executor = executorOf();
    lab.executor = () => executor;
    await lab.agent();
    const run = await lab.begin();
    await until('ticks', async () => (await lab?.traceHere(run))?.includes('tick 5\n'));
    engine.stop();
    const health = new ExecutorHealth([executor], quiet);
    const [, taken, found] = await within(8000, Promise.all([health.look(), lab.take(), checkDocker(engine.host)]));
    expect(health.working()).toEqual([]);
    const sentence = 'the Docker Engine takes calls and does not answer them (no answer within 5 s)';
    expect(health.problems()).toEqual([{ about: 'docker-away', sentence }]);
    expect(taken).toMatchObject({ kind: 'failed', maybeTaken: false, because: expect.stringContaining(sentence) });
    expect(found).toMatchObject({ state: 'warn', fix: 'sudo systemctl restart docker' });
    await within(5000, lab.stopAgent());
    const next = executorOf();
    lab.executor = () => next;
    await within(15_000, lab.agent());
    engine.goOn();
    await health.look();
    expect(health.working()).toEqual(['docker']);
    expect((await lab.ended(run)).result).toMatchObject({ state: 'success' });
    const text = plainText(await lab.traceAt(run));
    expect(text.match(/^tick \d+\n/gm)).toHaveLength(200);
    expect((await lab.ended(await lab.begin())).result).toMatchObject({ state: 'success' });
    await until('nothing left', () => containers().length === 0);
  });

  it('does not keep a job beyond its time; what is left of it is removed when the engine is back', async () => {
    lab = await RunLab.start({
      '.gitlab-ci.yml': `
late:
  image: "${testImages.bash}"
  timeout: 4s
  variables: { GIT_STRATEGY: none }
  script: ["echo begun", "trap '' TERM", "while :; do sleep 0.1; done"]
  after_script: ["echo after"]
`,
    });
    const executor = executorOf();
    lab.executor = () => executor;
    const supervisor = await lab.agent();
    const run = await lab.begin();
    await until('begun', async () => (await lab?.traceHere(run))?.includes('begun\n'));
    const [beat] = await supervisor.beats();
    const group = beat?.freezer?.kind === 'cgroup' ? beat.freezer.path : '';
    expect(cgroupProcesses(group).length).toBeGreaterThan(1);
    engine.stop();
    const stopped = performance.now();
    await until('its processes are ended', () => cgroupProcesses(group).length === 0, 15_000);
    expect(performance.now() - stopped).toBeLessThan(10_000);
    engine.goOn();
    expect((await lab.ended(run)).result).toMatchObject({ state: 'failed', because: expect.stringContaining('4 s') });
    expect(plainText(await lab.traceAt(run))).not.toContain('abandoned');
    await until('nothing left', () => containers().length === 0);
  });

  it('freezes and thaws a run all the same; a pause that it does late is undone; strangers of before are swept', async () => {
    const executor = executorOf();
    await executor.sweep(new Set());
    const workspace = (await executor.prepare(specOf(`still-${process.pid}`, testImages.bash), never)) as Workspace;
    await workspace.start(step('while :; do echo tick; sleep 0.1; done'), 0);
    await outputUntil(workspace, 0, 'tick');
    await workspace.freezer?.();
    await executorOf().prepare(specOf(`lost-${process.pid}`, testImages.bash), never);
    engine.stop();
    await expect(executor.ready()).rejects.toThrow('does not answer');
    await within(5000, workspace.freeze());
    await within(5000, workspace.thaw());
    engine.goOn();
    await executor.ready();
    await until('the other is swept', () => containers().length === 1, 10_000);
    await sleep(1000);
    const state = (): string => engine.docker('ps', '--format', '{{.State}}').trim();
    await until('it runs', () => state() === 'running', 10_000);
    await workspace.remove();
  });
});
