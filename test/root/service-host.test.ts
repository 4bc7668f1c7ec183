import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { systemClock } from '../../node/clock.ts';
import { cgroupProcesses, freezeCgroup, isCgroupFrozen } from '../../node/executors/run-cgroup.ts';
import { DockerServiceHost } from '../../node/hosting/docker-service-host.ts';
import { bridgeOf, serviceName } from '../../node/hosting/service-container.ts';
import type { ServiceSpec } from '../../node/hosting/service-host.ts';
import { standInImage } from '../gitlab-image/stand-in-image.ts';

/** What a ServiceHost owes to the keeper, by a real engine. */
const host = new DockerServiceHost(null, systemClock());
const folder = mkdtempSync('/var/tmp/t-service-host-');
const data = `t-service-${process.pid}`;
const mesh = `t-service-mesh-${process.pid}`;
const sleeper = `autogit-test:service-host-${process.pid}`;
const docker = (...args: string[]): string => execFileSync('docker', args, { encoding: 'utf8' }).trim();
const signal = new AbortController().signal;
let spec: ServiceSpec;

beforeAll(async () => {
  // Process 1 of a container ignores what it has no handler for: SIGTERM.
  const made = docker('create', await standInImage(), 'true');
  const command = 'CMD ["sh", "-c", "echo begun; echo $WORD >/var/opt/gitlab/word; exec sleep 600"]';
  const imageId = docker('commit', '--change', command, made, sleeper);
  docker('rm', made);
  mkdirSync(join(folder, 'data'));
  spec = {
    ...{ mesh, host: 'kang', data, epoch: 1, imageId, hostname: 'gitlab.test', bridge: bridgeOf(data) },
    env: { WORD: 'one' },
    folders: { [join(folder, 'data')]: '/var/opt/gitlab' },
    shmBytes: 128 << 20,
    memoryLimitBytes: 256 << 20,
  };
}, 300_000);

const clean = (): void => {
  spawnSync('docker', ['rm', '-fv', serviceName(data)], { stdio: 'ignore' });
  spawnSync('docker', ['network', 'rm', serviceName(data)], { stdio: 'ignore' });
};
beforeEach(clean);
afterAll(() => {
  clean();
  spawnSync('docker', ['rmi', sleeper], { stdio: 'ignore' });
  rmSync(folder, { recursive: true, force: true });
});

describe('a ServiceHost by a Docker Engine', () => {
  it('starts what was asked for once, and another one when something else is asked for', async () => {
    const id = await host.start(spec);
    expect(await host.start(spec)).toBe(id);
    expect(await host.find(mesh)).toEqual([{ mesh, host: 'kang', data, epoch: 1, id, isRunning: true }]);
    expect(await host.find('another')).toEqual([]);
    const look = await host.look(id);
    expect(look).toMatchObject({ isRunning: true, isPaused: false, address: expect.stringMatching(/^\d+\./) });
    expect(look?.memory?.limitBytes).toBe(256 << 20);
    expect(look?.memory?.usedBytes).toBeGreaterThan(0);
    const other = await host.start({ ...spec, epoch: 2, env: { WORD: 'two' } });
    expect(other).not.toBe(id);
    expect((await host.find(mesh)).map(({ epoch }) => epoch)).toEqual([2]);
    await expect.poll(() => readFileSync(join(folder, 'data/word'), 'utf8')).toBe('two\n');
    // Begun by hand, or stood still over a reboot: the same one is begun again.
    docker('kill', other);
    expect(await host.look(other)).toMatchObject({ isRunning: false, exitCode: 137, address: null, cgroup: null });
    expect(await host.start({ ...spec, epoch: 2, env: { WORD: 'two' } })).toBe(other);
    expect(await host.lastWords(other, 1)).toBe('begun\n');
  });

  it('makes its network beforehand, once for all who ask; drops it while nobody is in it', async () => {
    const bridges = (): string =>
      spawnSync('docker', ['network', 'ls', '--quiet', '--filter', `name=${serviceName(data)}`], {
        encoding: 'utf8',
      }).stdout;
    await Promise.all([host.makeNetwork(spec), host.makeNetwork(spec), host.makeNetwork(spec)]);
    const made = bridges();
    expect(made).toMatch(/^\w+\n$/);
    expect(existsSync(`/sys/class/net/${spec.bridge}`)).toBe(true);
    await host.dropNetwork(data);
    await host.dropNetwork(data);
    expect(bridges()).toBe('');
    // While it is being made, too.
    const making = host.makeNetwork(spec);
    await host.dropNetwork(data);
    await making;
    expect(bridges()).toBe('');
    await host.makeNetwork(spec);
    const id = await host.start(spec);
    await host.dropNetwork(data);
    expect((await host.look(id))?.address).toMatch(/^\d+\./);
  });

  it('never makes a folder in the place of one that is missing', async () => {
    const missing = join(folder, 'missing');
    await expect(host.start({ ...spec, folders: { [missing]: '/var/opt/gitlab' } })).rejects.toMatchObject({
      code: 'executor-failed',
      message: expect.stringContaining('missing'),
    });
    expect(existsSync(missing)).toBe(false);
  });

  it('runs commands inside: input, both outputs, their code, and no longer than they may', async () => {
    const id = await host.start(spec);
    const words = await host.exec(id, ['sh', '-c', 'cat; echo err >&2; exit 3'], { input: 'in\n', timeoutMs: 5000 });
    expect(words).toEqual({ code: 3, out: expect.stringMatching(/^(in\nerr\n|err\nin\n)$/) });
    const began = performance.now();
    const late = host.exec(id, ['sleep', '60'], { timeoutMs: 500 });
    await expect(late).rejects.toMatchObject({ code: 'timed-out' });
    expect(performance.now() - began).toBeLessThan(3000);
    const much = await host.exec(id, ['head', '-c', '3000000', '/dev/zero'], { timeoutMs: 10_000 });
    expect(much.out).toHaveLength(1 << 20);
  });

  it('kills what the watchdog froze, ends what will not end, and leaves no network', async () => {
    const id = await host.start(spec);
    const group = (await host.look(id))?.cgroup as string;
    freezeCgroup(group);
    await expect.poll(() => isCgroupFrozen(group)).toBe(true);
    await host.kill(id);
    expect((await host.look(id))?.isRunning).toBe(false);
    const again = await host.start(spec);
    await host.stop(again, 500);
    expect((await host.look(again))?.exitCode).toBe(137);
    await host.remove(again);
    await host.remove(again);
    expect([await host.look(again), existsSync(`/sys/class/net/${spec.bridge}`)]).toEqual([null, false]);
    expect(existsSync(join(folder, 'data/word'))).toBe(true);
  });

  it('a command that was begun as it froze keeps nobody from a look at it, nor from its end', async () => {
    const id = await host.start(spec);
    const group = (await host.look(id))?.cgroup as string;
    const frozenWithACommand = async (): Promise<void> => {
      freezeCgroup(group);
      await expect.poll(() => isCgroupFrozen(group)).toBe(true);
      const command = spawn('docker', ['exec', id, 'true'], { stdio: 'ignore' });
      // Refused it is only where the runtime knows of that freezer, and was begun late enough.
      const isStuck = (): boolean => command.exitCode !== null || cgroupProcesses(group).length > 1;
      await expect.poll(isStuck, { timeout: 10_000 }).toBe(true);
    };
    await frozenWithACommand();
    expect(await host.look(id)).toMatchObject({ isRunning: true, cgroup: group });
    expect(isCgroupFrozen(group)).toBe(true);
    await frozenWithACommand();
    const began = performance.now();
    await host.kill(id);
    expect(performance.now() - began).toBeLessThan(5000);
    expect((await host.look(id))?.isRunning).toBe(false);
  }, 40_000);

  it('says of an image what it is, and why it cannot be had', async () => {
    const { arch } = await host.check();
    expect(await host.image(sleeper, { pull: true, signal })).toMatchObject({ id: spec.imageId, arch });
    expect(await host.image('localhost:1/no-such:1', { pull: false, signal })).toBe(null);
    const pulled = host.image('localhost:1/no-such:1', { pull: true, signal });
    await expect(pulled).rejects.toMatchObject({ code: 'image-missing', hint: expect.stringContaining('docker pull') });
  });

  it('an engine that takes calls and never answers is no engine, after a time', async () => {
    const socket = join(folder, 'silent.sock');
    const silent = createServer(() => undefined).listen(socket);
    const there = new DockerServiceHost(`unix://${socket}`, systemClock());
    const asked = Promise.allSettled([there.check(), there.find(mesh), there.look('x'), there.start(spec)]);
    const codes = (await asked).map((one) => one.status === 'rejected' && one.reason.code);
    silent.close();
    expect(codes).toEqual(['no-docker', 'no-docker', 'no-docker', 'no-docker']);
  }, 30_000);
});
