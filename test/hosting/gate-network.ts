import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { makeFreezerGroup, makeRunCgroup, removeCgroup } from '../../node/executors/run-cgroup.ts';
import { netOf } from '../root/lan.ts';

/** Whatever still runs in a namespace that is ours. */
function killWithin(name: string): void {
  const { stdout } = spawnSync('ip', ['netns', 'pids', name], { encoding: 'utf8' });
  for (const pid of stdout.split('\n').filter(Boolean)) {
    try {
      process.kill(Number(pid), 'SIGKILL');
    } catch {
      // It has ended since.
    }
  }
}

/**
 * What an engine makes for a container, by hand and in a tenth of the time: a machine (a network namespace), behind a bridge
 * of its own a service (another, with a control group), behind a second bridge a job. Whether an engine's own does as these do is
 * not shown.
 */
export class GateNetwork {
  readonly machine = `t-gate-${process.pid}`;
  readonly bridge = 'autogit-gl0';
  readonly address = '10.213.1.2';
  readonly #service = `t-gate-s-${process.pid}`;
  readonly #job = `t-gate-j-${process.pid}`;
  readonly #groups: string[] = [];
  #httpd: ChildProcess | null = null;

  begin(www: string): void {
    const ip = (line: string): void => void execFileSync('ip', line.split(' '));
    for (const name of [this.machine, this.#service, this.#job]) {
      ip(`netns add ${name}`);
      ip(`-n ${name} link set lo up`);
    }
    for (const [index, [name, bridge]] of [
      [this.#service, this.bridge],
      [this.#job, 'jobs0'],
    ].entries()) {
      const net = `10.213.${index + 1}`;
      ip(`-n ${this.machine} link add ${bridge} type bridge`);
      ip(`-n ${this.machine} addr add ${net}.1/24 dev ${bridge}`);
      ip(`-n ${this.machine} link set ${bridge} up`);
      ip(`-n ${this.machine} link add v${index} type veth peer name eth0 netns ${name}`);
      ip(`-n ${this.machine} link set v${index} master ${bridge} up`);
      ip(`-n ${name} addr add ${net}.2/24 dev eth0`);
      ip(`-n ${name} link set eth0 up`);
      ip(`-n ${name} route add default via ${net}.1`);
    }
    spawnSync('nsenter', [netOf(this.machine), 'sysctl', '-qw', 'net.ipv4.ip_forward=1']);
    this.serve(www);
  }

  serve(www: string): void {
    const command = ['busybox', 'httpd', '-f', '-p', '80', '-h', www];
    this.#httpd = spawn('nsenter', [netOf(this.#service), ...command], { stdio: 'ignore' });
  }

  /** The service's control group, of either version. */
  group(version: 1 | 2): string {
    const make = version === 2 ? makeRunCgroup : makeFreezerGroup;
    const path = make(`t-gate-${process.pid}`);
    if (path === null || path.includes('freezer') !== (version === 1)) throw new Error(`no control groups v${version}`);
    writeFileSync(join(path, 'cgroup.procs'), String(this.#httpd?.pid));
    this.#groups.push(path);
    return path;
  }

  /** The service dies with all that it has open. */
  kill(): void {
    killWithin(this.#service);
  }

  /** What a job's container asks. */
  job(command: string[]): string {
    const done = spawnSync('nsenter', [netOf(this.#job), ...command], { encoding: 'utf8' });
    return `${done.stdout}${done.stderr}`;
  }

  async end(): Promise<void> {
    for (const name of [this.machine, this.#service, this.#job]) killWithin(name);
    for (const path of this.#groups) await removeCgroup(path);
    for (const name of [this.machine, this.#service, this.#job]) spawnSync('ip', ['netns', 'del', name]);
  }

  /** What is still there of it. */
  left(): string[] {
    const names = [this.machine, this.#service, this.#job].map((name) => `/var/run/netns/${name}`);
    return [...names, ...this.#groups].filter((path) => existsSync(path));
  }
}
