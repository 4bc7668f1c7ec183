import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { ExecutorHealth } from '../../node/agent/executor-health.ts';
import { DockerExecutor } from '../../node/executors/docker-executor.ts';
import { cgroupProcesses, isCgroupFrozen } from '../../node/executors/run-cgroup.ts';
import type { Workspace } from '../../node/ports.ts';
import { never, outputUntil, specOf, step, textOf } from '../contract/executor-steps.ts';
import { beside, plannedService } from '../fixtures/planned-service.ts';
import { plainText, RunLab, until } from '../real/run-lab.ts';
import { OwnEngine } from './own-engine.ts';
import { makeTestImages, testImages } from './test-image.ts';

/** The engine is taken away under a running job, and under an idle node, and comes back. */
const engine = new OwnEngine();
const node = `t-away-${process.pid}`;
let lab: RunLab | null = null;

beforeAll(async () => {
  makeTestImages();
  await engine.begin();
  engine.load(testImages.bash);
}, 180_000);
afterEach(async () => {
  await lab?.stop();
  lab = null;
});
afterAll(() => engine.end(), 60_000);

const ticks = (count: number): string => Array.from({ length: count }, (_, at) => `tick ${at + 1}\n`).join('');
const containers = (): string[] => engine.docker('ps', '-q').split('\n').filter(Boolean);
const executorOf = (): DockerExecutor => new DockerExecutor({ node, dockerHost: engine.host });
const besideIdle = beside(plannedService(testImages.bash, 'idle', { command: ['sleep', '600'] }));

describe('an engine that is away', () => {
  it('costs a running job nothing, and no job is taken meanwhile', async () => {
    lab = await RunLab.start({
      '.gitlab-ci.yml': `
default: { image: "${testImages.bash}", retry: 2 }
variables: { GIT_STRATEGY: none }
one: { script: ["for i in $(seq 1 60); do echo tick $i; sleep 0.1; done"], after_script: ["echo after $CI_JOB_STATUS"] }
two: { script: ["true"] }
`,
    });
    const executor = executorOf();
    lab.executor = () => executor;
    await lab.agent();
    const run = await lab.begin();
    await until('ticks', async () => (await lab?.traceHere(run))?.includes('tick 5\n'));
    await engine.kill();
    const health = new ExecutorHealth([executor], { info: () => undefined, warn: () => undefined });
    await health.look();
    expect(health.working()).toEqual([]);
    expect(await lab.take()).toMatchObject({
      kind: 'failed',
      because: expect.stringContaining('no Docker Engine answers'),
    });
    await sleep(2000);
    await engine.start();
    await health.look();
    expect(health.working()).toEqual(['docker']);
    expect((await lab.ended(run)).result).toMatchObject({ state: 'success' });
    const text = plainText(await lab.traceAt(run));
    expect(text.match(/^tick \d+\n/gm)?.join('')).toBe(ticks(60));
    expect(text).toContain('after success\n');
    const second = await lab.begin();
    expect((await lab.ended(second)).result).toMatchObject({ state: 'success' });
    await until('nothing left', () => containers().length === 0);
  });

  it('does not keep a job from being ended, and its container is removed when it is back', async () => {
    const spec = specOf(`away-${process.pid}`, testImages.bash, besideIdle);
    const workspace = (await executorOf().prepare(spec, never)) as Workspace;
    await workspace.start(step('trap "" TERM', 'echo up', 'while :; do sleep 0.1; done'), 0);
    await outputUntil(workspace, 0, 'up');
    const freezer = await workspace.freezer?.();
    const group = freezer?.kind === 'cgroup' ? freezer.path : '';
    const beside = freezer?.kind === 'cgroup' ? (freezer.also?.[0] ?? '') : '';
    expect(cgroupProcesses(group).length).toBeGreaterThan(2);
    expect(cgroupProcesses(beside).length).toBeGreaterThan(0);
    await engine.kill();
    await workspace.freeze();
    expect(isCgroupFrozen(beside)).toBe(true);
    const begun = performance.now();
    await workspace.kill(1000);
    expect(performance.now() - begun).toBeLessThan(6000);
    expect(cgroupProcesses(group)).toEqual([]);
    await expect(workspace.remove()).rejects.toThrow();
    expect(cgroupProcesses(beside)).toEqual([]);
    const end = workspace.ended(0);
    await engine.start();
    expect(await end).toMatchObject({ kind: 'killed' });
    const bridges = (): string => engine.docker('network', 'ls', '-q', '--filter', 'label=autogit.run');
    await until('the left-over is removed', () => engine.docker('ps', '-aq').trim() + bridges().trim() === '', 15_000);
  });

  it('is waited for by the agent that comes: the run is adopted, not called failed; left-overs are swept', async () => {
    const spec = specOf(`later-${process.pid}`, testImages.bash);
    const workspace = await executorOf().prepare(spec, never);
    await executorOf().prepare(specOf(`lost-${process.pid}`, testImages.bash, besideIdle), never);
    await workspace.start(step('for i in $(seq 1 40); do echo tick $i; sleep 0.1; done'), 0);
    await outputUntil(workspace, 0, 'tick 3\n');
    await engine.kill();
    const next = executorOf();
    const adopting = next.adopt(spec, workspace.handle, new AbortController().signal);
    await expect(next.sweep(new Set([spec.run]))).rejects.toThrow();
    await sleep(1000);
    await engine.start();
    const adopted = (await adopting) as Workspace;
    expect(await textOf(adopted, 0)).toBe(ticks(40));
    expect(await adopted.ended(0)).toEqual({ kind: 'exited', exitCode: 0 });
    await until('the left-over is swept', () => containers().length === 1, 15_000);
    await adopted.remove();
  });
});
