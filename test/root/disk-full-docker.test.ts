import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { HomeDisk } from '../../node/agent/home-disk.ts';
import { DockerExecutor } from '../../node/executors/docker-executor.ts';
import { plainText, RunLab, until } from '../real/run-lab.ts';
import { OwnEngine } from './own-engine.ts';
import { makeTestImages, testImages } from './test-image.ts';

/** The disk that the agent's home shares with its engine, as on most machines: what a container writes fills it. */
const disk = mkdtempSync('/var/tmp/t-images-disk-');
const home = join(disk, 'home');
let engine: OwnEngine | null = null;
let lab: RunLab | null = null;

beforeAll(async () => {
  makeTestImages();
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=150m,mode=755', 'tmpfs', disk]);
  mkdirSync(home);
  engine = new OwnEngine(disk);
  await engine.begin();
  engine.load(testImages.busybox);
}, 60_000);
afterAll(async () => {
  await lab?.stop();
  await engine?.end();
  execFileSync('umount', ['-l', disk]);
  rmSync(disk, { recursive: true, force: true });
}, 60_000);

it('a full disk ends the job whose container has most of it, and no other', async () => {
  lab = await RunLab.start({
    '.gitlab-ci.yml': `
default: { image: "${testImages.busybox}" }
variables: { GIT_STRATEGY: none }
fills: { script: ["echo began", "sleep 1", "dd if=/dev/zero of=fill bs=1M count=400 || true", "sleep 60"] }
other: { script: ["echo began", "dd if=/dev/zero of=some bs=1M count=8", "until [ -e /tmp/end ]; do sleep 0.1; done"] }
`,
  });
  const node = `t-images-${process.pid}`;
  const executor = new DockerExecutor({ node, dockerHost: (engine as OwnEngine).host });
  lab.executor = () => executor;
  const supervisor = await lab.agent();
  const said: string[] = [];
  const watch = new HomeDisk({
    home,
    bootMs: lab.clock.bootMs,
    running: () => supervisor.running(),
    endRun: (run, because) => supervisor.end(run, because),
    onFull: (because) => said.push(because ?? 'room again'),
  });
  watch.start();
  const runs = [await lab.begin(), await lab.begin()];
  const [fills, other] = ['fills', 'other'].map((name) => runs.find((run) => run.name === name)) as typeof runs;
  const ended = await lab.ended(fills as (typeof runs)[0]);
  const text = plainText(await lab.traceAt(ended));
  expect(ended.result, text).toMatchObject({ state: 'failed', reason: 'runner_system_failure' });
  expect(text).toMatch(/the disk of this machine is full, and this job has \d\d+ MiB of it/);
  expect(said).toContainEqual(expect.stringMatching(`job ${ended.job}, which has \\d+ MiB of it, was ended`));
  await until('room again', () => said.at(-1) === 'room again');
  const left = supervisor.running();
  expect(left.map(({ job }) => job)).toEqual([other?.job]);
  // 8 MiB and a little; nothing of another disk.
  const bytes = await left[0]?.usedBytes(statSync(home).dev);
  expect((bytes ?? 0) >> 20).toBe(8);
  expect(await left[0]?.usedBytes(statSync('/proc').dev)).toBe(0);
  const [id] = (engine as OwnEngine).docker('ps', '-q').split('\n');
  (engine as OwnEngine).docker('exec', id as string, 'touch', '/tmp/end');
  expect((await lab.ended(other as (typeof runs)[0])).result).toMatchObject({ state: 'success' });
  watch.stop();
}, 60_000);
