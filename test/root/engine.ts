import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, openSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

/**
 * Global set-up of the vitest project `root`: a Docker Engine answers when it returns. Debian's docker.io is installed
 * when there is no dockerd; one is started when none answers, and stopped (by its pid) by the last test process that
 * uses it. An engine that somebody else started is left as it is. Nothing is skipped: no engine means failure.
 */
const folder = '/var/tmp/autogit-dockerd';
const pidFile = join(folder, 'dockerd.pid');
const users = join(folder, 'users');
const log = join(folder, 'dockerd.log');

const answers = (): boolean => spawnSync('docker', ['version'], { timeout: 10_000, stdio: 'ignore' }).status === 0;

const alive = (pid: number): boolean => {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
};

/** The pid of the dockerd that a test process started, while it is still that program. */
const ours = (): number | null => {
  if (!existsSync(pidFile)) return null;
  const pid = Number(readFileSync(pidFile, 'utf8'));
  if (!Number.isInteger(pid) || pid <= 1 || !alive(pid)) return null;
  return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('dockerd') ? pid : null;
};

const install = (): void => {
  const wanted = { dockerd: 'docker.io', iptables: 'iptables', busybox: 'busybox-static', nft: 'nftables' };
  const missing = Object.entries(wanted)
    .filter(([program]) => spawnSync('sh', ['-c', `command -v ${program}`], { stdio: 'ignore' }).status !== 0)
    .map(([, name]) => name);
  if (missing.length === 0) return;
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  spawnSync('apt-get', ['update', '-q'], { env, stdio: 'ignore' });
  const done = spawnSync(
    'apt-get',
    ['-o', 'DPkg::Lock::Timeout=300', 'install', '-y', '-q', '--no-install-recommends', ...missing],
    { env, encoding: 'utf8' },
  );
  if (done.status !== 0)
    throw new Error(`the tests of project root need ${missing.join(', ')}; apt-get: ${done.stderr}`);
};

const start = async (): Promise<void> => {
  const out = openSync(log, 'a');
  const engine = spawn('dockerd', ['--data-root', join(folder, 'data')], {
    detached: true,
    stdio: ['ignore', out, out],
    // Without the br_netfilter module (small kernels) dockerd refuses networks whose containers may not meet.
    env: { ...process.env, DOCKER_IGNORE_BR_NETFILTER_ERROR: '1' },
  });
  engine.unref();
  if (engine.pid === undefined) throw new Error('dockerd did not start: is docker.io installed?');
  writeFileSync(pidFile, String(engine.pid));
  for (let tries = 0; tries < 300; tries++) {
    if (answers()) {
      // Each agent keeps a bridge for its jobs, and those of a run that was cut off would fill the engine's addresses.
      spawnSync('docker', ['network', 'prune', '--force'], { stdio: 'ignore' });
      return;
    }
    if (!alive(engine.pid)) break;
    await sleep(200);
  }
  throw new Error(`dockerd does not answer:\n${readFileSync(log, 'utf8').slice(-2000)}`);
};

/** Project root's tests may run from several checkouts at once: only one of them starts the engine. */
const withLock = async (work: () => Promise<void>): Promise<void> => {
  const lock = join(folder, 'lock');
  for (let tries = 0; ; tries++) {
    try {
      mkdirSync(lock);
      break;
    } catch {
      if (tries > 600) rmSync(lock, { recursive: true, force: true });
      await sleep(100);
    }
  }
  try {
    await work();
  } finally {
    rmSync(lock, { recursive: true, force: true });
  }
};

export default async function setup(): Promise<() => Promise<void>> {
  if (process.getuid?.() !== 0) throw new Error('project root needs root: sudo npm test');
  mkdirSync(users, { recursive: true });
  await withLock(async () => {
    install();
    if (!answers()) await start();
    writeFileSync(join(users, String(process.pid)), '');
  });
  return () =>
    withLock(async () => {
      rmSync(join(users, String(process.pid)), { force: true });
      for (const user of readdirSync(users)) if (!alive(Number(user))) rmSync(join(users, user), { force: true });
      const pid = ours();
      if (pid === null || readdirSync(users).length > 0) return;
      process.kill(pid, 'SIGTERM');
      for (let tries = 0; tries < 300 && alive(pid); tries++) await sleep(100);
      rmSync(pidFile, { force: true });
    });
}
