import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { ExecutorHealth, jobNeeds } from '../../node/agent/executor-health.ts';
import { WorkDisk } from '../../node/agent/work-disk.ts';
import { DockerExecutor } from '../../node/executors/docker-executor.ts';
import { ProcessExecutor } from '../../node/executors/process-executor.ts';
import type { Executor } from '../../node/ports.ts';
import { plainText, RunLab, until } from '../real/run-lab.ts';
import { OwnEngine } from './own-engine.ts';
import { makeTestImages, testImages } from './test-image.ts';

/** The disk that jobs write on is full, or the engine's is, while that of the agent's home is not. */
const disk = mkdtempSync(join(tmpdir(), 't-away-disk-'));
let lab: RunLab | null = null;
const closers: (() => void)[] = [];
const quiet = { info: () => undefined, warn: () => undefined };

/** As a member has it. */
function watched(inLab: RunLab, executor: Executor): { work: WorkDisk; health: ExecutorHealth } {
  const work = new WorkDisk({
    home: inLab.home,
    folder: () => executor.workFolder?.() ?? null,
    bootMs: inLab.clock.bootMs,
    running: () => inLab.supervisor?.running() ?? [],
    endRun: (run, because) => inLab.supervisor?.end(run, because),
    onFull: () => undefined,
  });
  inLab.executor = () => executor;
  inLab.more = { noRoom: () => work.problem, diskWasFull: (since) => work.wasFullSince(since) };
  work.start();
  closers.push(() => work.stop());
  return {
    work,
    health: new ExecutorHealth(
      [executor],
      quiet,
      jobNeeds(() => ({ diskProblem: work.problem, gitlabProblem: null })),
    ),
  };
}
/** A registry with one image of one layer of 48 MiB, in the network of the engine that asks it. */
class LayerRegistry {
  #child: ChildProcess | null = null;

  async begin(net: string): Promise<string> {
    const child = spawn(
      'ip',
      ['netns', 'exec', net, process.execPath, join(import.meta.dirname, 'layer-registry.mjs')],
      {
        stdio: ['ignore', 'pipe', 'inherit'],
      },
    );
    this.#child = child;
    const [port] = (await once(child.stdout as Readable, 'data')) as [Buffer];
    return `127.0.0.1:${String(port).trim()}`;
  }

  end(): void {
    this.#child?.kill();
  }
}

const fill = (path: string, mib: number): void => {
  execFileSync('dd', ['if=/dev/zero', `of=${path}`, 'bs=1M', `count=${mib}`], { stdio: 'ignore' });
};

afterEach(async () => {
  for (const close of closers.splice(0)) close();
  await lab?.stop();
  lab = null;
});

describe('a work folder with a disk of its own', () => {
  beforeAll(() => execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=24m,mode=755', 'tmpfs', disk]));
  afterAll(() => execFileSync('umount', ['-l', disk]));

  it('that is full: what fails fails saying so, the agent lives, no job is taken until there is room', async () => {
    lab = await RunLab.start({
      '.gitlab-ci.yml': `
variables: { GIT_STRATEGY: none }
fails: { script: ["dd if=/dev/zero of=fill bs=1M count=60"] }
`,
    });
    const { work, health } = watched(lab, new ProcessExecutor({ home: lab.home, workDir: join(disk, 'work') }));
    mkdirSync(join(disk, 'work'));
    await lab.agent();
    const run = await lab.begin();
    expect((await lab.ended(run)).result).toMatchObject({ state: 'failed', reason: 'runner_system_failure' });
    expect(plainText(await lab.traceAt(run))).toMatch(/the disk of this machine (is|was) full/);
    await until('there is room again', () => work.problem === null, 10_000);
    execFileSync('sh', ['-c', `dd if=/dev/zero of=${disk}/filler bs=64k 2>/dev/null || true`]);
    // A look that had begun before sees the disk of before.
    const lookedAt = async (): Promise<string | null> => {
      await work.look();
      return work.problem;
    };
    await until('it is seen to be full', async () => (await lookedAt()) !== null, 10_000);
    const sentence = `the disk that its jobs write on is full (${join(disk, 'work')})`;
    expect(health.problems()).toEqual([{ about: 'disk-full', sentence }]);
    expect(health.working()).toEqual([]);
    expect(await lab.take()).toMatchObject({
      kind: 'failed',
      maybeTaken: false,
      because: expect.stringContaining(sentence),
    });
    rmSync(join(disk, 'filler'));
    await until('it is seen to have room', async () => (await lookedAt()) === null, 10_000);
    expect(health.working()).toEqual(['process']);
    expect(await lab.take()).toMatchObject({ kind: 'empty' });
  });
});

describe('an engine whose disk is full', () => {
  const images = mkdtempSync('/var/tmp/t-away-images-');
  const registry = new LayerRegistry();
  let engine: OwnEngine;
  beforeAll(async () => {
    makeTestImages();
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=150m,mode=755', 'tmpfs', images]);
    engine = new OwnEngine(images);
    await engine.begin();
    engine.load(testImages.busybox);
  }, 120_000);
  afterAll(async () => {
    registry.end();
    await engine.end();
    execFileSync('umount', ['-l', images]);
    rmSync(images, { recursive: true, force: true });
  }, 60_000);

  it('fails a pull as the node’s failure, takes no job until there is room, and tries again', async () => {
    // The engine is in a network of its own.
    const address = await registry.begin(engine.net);
    const image = `${address}/t-away/large:one`;
    lab = await RunLab.start({
      '.gitlab-ci.yml': `
default: { image: "${image}" }
variables: { GIT_STRATEGY: none }
one: { script: ["true"] }
`,
    });
    const executor = new DockerExecutor({ node: `t-away-${process.pid}`, dockerHost: engine.host });
    const { health } = watched(lab, executor);
    await executor.check();
    await lab.agent();
    fill(join(images, 'filler'), 110);
    const run = await lab.begin();
    expect((await lab.ended(run)).result).toMatchObject({ state: 'failed', reason: 'runner_system_failure' });
    expect(plainText(await lab.traceAt(run))).toContain(
      `image ${image} does not fit on the disk of this machine's Docker Engine; make room: docker system prune`,
    );
    await health.look();
    expect(health.problems()).toMatchObject([{ about: 'docker-full', sentence: expect.stringContaining(image) }]);
    expect(await lab.take()).toMatchObject({ kind: 'failed', maybeTaken: false });
    await new Promise((done) => setTimeout(done, 2500));
    expect(health.working()).toEqual([]);
    rmSync(join(images, 'filler'));
    expect(health.working()).toEqual(['docker']);
    expect(await lab.take()).toMatchObject({ kind: 'empty' });
  });
});
