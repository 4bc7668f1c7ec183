import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { DockerExecutor } from '../../node/executors/docker-executor.ts';
import { never, runStep, specOf, step, tarOf, textOf } from '../contract/executor-steps.ts';
import { plainText, RunLab, until } from '../real/run-lab.ts';
import { OwnEngine } from './own-engine.ts';
import { makeTestImages, testImages } from './test-image.ts';

/** gVisor as Debian has it, without KVM, in an engine of its own; and device nodes of a card, which any character device can play. */
const runsc = '/usr/bin/runsc';
const node = `t-runtimes-${process.pid}`;
const dir = mkdtempSync(join(tmpdir(), 'autogit-runtimes-'));
const engine = new OwnEngine('/var/tmp', null, {
  runtimes: { runsc: { path: runsc, runtimeArgs: ['--platform=ptrace', '--network=host', '--ignore-cgroups'] } },
});

beforeAll(async () => {
  if (!existsSync(runsc)) {
    const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
    execFileSync('apt-get', ['update', '-q'], { env, stdio: 'ignore' });
    const install = ['-o', 'DPkg::Lock::Timeout=300', 'install', '-y', '-q', '--no-install-recommends', 'runsc'];
    execFileSync('apt-get', install, { env, stdio: ['ignore', 'ignore', 'inherit'] });
  }
  makeTestImages();
  await engine.begin();
  engine.load(testImages.bash);
}, 180_000);
afterAll(async () => {
  await engine.end();
  rmSync(dir, { recursive: true, force: true });
}, 60_000);

const executor = new DockerExecutor({
  node,
  dockerHost: engine.host,
  places: { sys: join(dir, 'sys'), dev: join(dir, 'dev') },
});

it('runs a job in gVisor where its tags ask for that: files, output, a pause, an end', async () => {
  expect(await executor.runtimes()).toEqual(['runsc']);
  const place = await executor.prepare(specOf(`r${process.pid}-1`, testImages.bash, { isolation: ['gvisor'] }), never);
  try {
    expect(engine.docker('inspect', '-f', '{{.HostConfig.Runtime}}', place.handle).trim()).toBe('runsc');
    await place.putTar('.', tarOf({ 'in.txt': 'brought' }));
    const { text, end } = await runStep(place, 0, 'cat in.txt', 'echo; cat /proc/version', 'echo over >&2; exit 3');
    expect(end).toEqual({ kind: 'exited', exitCode: 3 });
    // gVisor's own kernel, whatever the machine's is.
    expect(text).toMatch(/^brought\nLinux version 4\.4\.0 .*\nover\n$/s);
    await place.start(step('for i in $(seq 200); do echo tick; sleep 0.05; done'), 1);
    const seen: string[] = [];
    const reading = (async () => {
      for await (const bytes of place.output(1, 0, never)) seen.push(String(bytes));
    })();
    await until('it ticks', () => seen.length > 2);
    await place.freeze();
    await new Promise((done) => setTimeout(done, 300));
    const before = seen.length;
    await new Promise((done) => setTimeout(done, 400));
    expect(seen.length).toBe(before);
    await place.thaw();
    await until('it goes on', () => seen.length > before);
    await place.kill(1000);
    expect(await place.ended(1)).toMatchObject({ kind: 'killed' });
    await reading;
  } finally {
    await place.remove();
  }
  expect(engine.docker('ps', '-aq').trim()).toBe('');
}, 60_000);

it('has a container stand still for the owner and go on, a cancel meanwhile ends it, and its after_script is done', async () => {
  const lab = await RunLab.start({
    '.gitlab-ci.yml': `
default: { image: "${testImages.bash}" }
variables: { GIT_STRATEGY: none }
train: { script: ["for i in $(seq 1 600); do echo tick $i; sleep 0.1; done"], after_script: [echo tidied] }
`,
  });
  try {
    lab.executor = () => executor;
    const supervisor = await lab.agent();
    const run = await lab.begin();
    const ticks = async (): Promise<number> => [...(await lab.traceHere(run)).matchAll(/tick \d+/g)].length;
    await until('it ticks', async () => (await ticks()) > 3);
    const isPaused = (): string =>
      engine.docker('ps', '-q', '--filter', 'status=paused', '--filter', `label=autogit.node=${node}`).trim();
    const hold = supervisor.ownerHoldOf(run.run);
    const outcome = await hold?.hold({ how: 'suspend', orEnds: false, because: 'its owner plays' });
    expect(outcome).toEqual({
      kind: 'held',
      said: 'stands still, its owner plays: its processor is free, its memory is not',
    });
    expect(isPaused()).not.toBe('');
    await hold?.goOn();
    expect(isPaused()).toBe('');
    const before = await ticks();
    await until('it goes on', async () => (await ticks()) > before);
    await hold?.hold({ how: 'freeze', orEnds: false, because: 'its owner plays' });
    await fetch(`${lab.gitlab.url}/api/v4/projects/${lab.projectId}/jobs/${run.job}/cancel`, {
      method: 'POST',
      headers: { 'PRIVATE-TOKEN': lab.gitlab.adminToken },
    });
    supervisor.hint(run.run);
    await lab.ended(run);
    expect(plainText(await lab.traceAt(run))).toContain('tidied');
  } finally {
    await lab.stop();
  }
  await until('nothing is left', () => engine.docker('ps', '-aq').trim() === '');
}, 60_000);

it('refuses a job whose runtime the engine has not: never is it less isolated', async () => {
  const asked = specOf(`r${process.pid}-2`, testImages.bash, { isolation: ['micro-vm'] });
  await expect(executor.prepare(asked, never)).rejects.toThrow(
    "this machine's engine has no runtime that is a micro VM (Kata, Firecracker) any more",
  );
  expect(engine.docker('ps', '-aq').trim()).toBe('');
});

it('gives a job the device nodes of its card alone, and its image’s user the group that may open them', async () => {
  const slot = '0000:03:00.0';
  for (const name of ['card7', 'renderD135'])
    mkdirSync(join(dir, 'sys/bus/pci/devices', slot, 'drm', name), { recursive: true });
  mkdirSync(join(dir, 'dev/dri'), { recursive: true });
  for (const [name, minor] of [
    ['card7', '3'],
    ['renderD135', '5'],
    ['renderD136', '7'],
  ] as const) {
    execFileSync('mknod', ['-m', '660', join(dir, 'dev/dri', name), 'c', '1', minor]);
    execFileSync('chgrp', ['1777', join(dir, 'dev/dri', name)]);
  }
  const gpu = { uuid: `pci-${slot}`, vendor: 'intel' as const, model: 'Arc A770', memoryBytes: 1 };
  const place = await executor.prepare(
    specOf(`r${process.pid}-3`, testImages.bash, { gpus: [gpu], imageUser: 'dev' }),
    never,
  );
  try {
    const dri = join(dir, 'dev/dri');
    const { text } = await runStep(place, 0, `ls ${dri}`, 'id -G', `head -c 3 ${dri}/renderD135 | wc -c`);
    expect(text.split('\n').slice(0, 2)).toEqual(['card7', 'renderD135']);
    expect(text).toMatch(/\b1777\b/);
    expect(text.trim().split('\n').at(-1)?.trim()).toBe('3');
    expect(statSync(join(dri, 'renderD136')).isCharacterDevice()).toBe(true);
    expect(await textOf(place, 0)).toBe(text);
  } finally {
    await place.remove();
  }
});

it('tries NVIDIA’s cards in a container when the driver is another one; GPU jobs wait for that, over a restart too', async () => {
  const version = join(dir, 'version');
  const exists = (path: string): boolean => path === '/proc/driver/nvidia/version' || path.includes('nvidia-container');
  const other = (more: object): DockerExecutor =>
    new DockerExecutor({ node, dockerHost: engine.host, home: dir, exists, canary: { version, ...more } });
  const said = async (one: DockerExecutor, ends: RegExp | null): Promise<void> =>
    void (await until('the canary', async () => {
      const problem = await one.gpuProblem();
      return ends === null ? problem === null : ends.test(problem ?? '');
    }));
  writeFileSync(version, 'NVRM version: 570.86');
  // This engine has no way to NVIDIA's cards, and says so as it starts the container.
  const lacking = other({});
  expect(await lacking.gpuProblem()).toBe('its NVIDIA driver is another than before: a container tries its GPUs first');
  await said(lacking, /^containers do not get this machine's NVIDIA GPUs .*could not select device driver "nvidia"/);
  await said(other({ requests: [], devices: '/dev/nothing-[0-9]*' }), /a container that asked for them found none$/);
  await said(other({ requests: [], devices: '/dev/nul[l]' }), null);
  expect(await other({}).gpuProblem()).toBeNull();
  writeFileSync(version, 'NVRM version: 575.51');
  expect(await other({}).gpuProblem()).toMatch(/tries its GPUs first$/);
  await until('nothing is left', () => engine.docker('ps', '-aq').trim() === '');
});
