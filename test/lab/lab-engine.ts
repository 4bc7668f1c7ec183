import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import { until } from '../e2e/rig.ts';
import { labCgroup } from './lab-file.ts';
import { insideOf } from './lab-init.ts';
import { killAll, type MachineProcess } from './machine-processes.ts';

/** Starts a program inside a machine: in its network, apart from this process, its output in a file. It outlives us. */
export function startInside(
  namespace: string,
  out: string,
  command: readonly string[],
  env: NodeJS.ProcessEnv,
): ChildProcess {
  const log = openSync(out, 'a', 0o600);
  try {
    const [file, ...args] = insideOf(namespace, command);
    const child = spawn(file, args, { cwd: '/', detached: true, stdio: ['ignore', log, log], env });
    child.unref();
    return child;
  } finally {
    closeSync(log);
  }
}

export const lastLines = (file: string, bytes = 2000): string =>
  existsSync(file) ? readFileSync(file, 'utf8').slice(-bytes) : '(nothing)';

/**
 * The Docker Engine of one machine: dockerd and containerd with folders and sockets of their own, in the machine's
 * network namespace, so that their bridges and rules are the machine's.
 */
export class LabEngine {
  readonly #namespace: string;
  readonly #dir: string;
  readonly #name: string;
  /** What a reboot empties: sockets, pid files, the state of containers. */
  readonly #run: string;

  constructor(name: string, dir: string, namespace: string) {
    this.#name = name;
    this.#dir = dir;
    this.#namespace = namespace;
    this.#run = join(dir, 'run');
  }

  get host(): string {
    return `unix://${this.#run}/docker.sock`;
  }

  get log(): string {
    return join(this.#dir, 'dockerd.log');
  }

  docker(args: readonly string[], input?: Buffer): { status: number | null; stdout: Buffer; stderr: Buffer } {
    const env = { ...process.env, DOCKER_HOST: this.host };
    return spawnSync('docker', args, { env, input, maxBuffer: 1 << 30, timeout: 120_000 });
  }

  answers(): boolean {
    return existsSync(join(this.#run, 'docker.sock')) && this.docker(['version']).status === 0;
  }

  /** Resolves when it answers. */
  async start(): Promise<void> {
    mkdirSync(this.#run, { recursive: true, mode: 0o700 });
    this.#quietBridge();
    const address = join(this.#run, 'containerd.sock');
    const config = join(this.#dir, 'containerd.toml');
    const settings = [
      'version = 2',
      `root = "${join(this.#dir, 'containerd')}"`,
      `state = "${join(this.#run, 'containerd')}"`,
      'disabled_plugins = ["io.containerd.grpc.v1.cri"]',
      `[grpc]\naddress = "${address}"\n`,
    ];
    writeFileSync(config, settings.join('\n'));
    const containerd = this.#start('containerd.log', ['containerd', '--config', config]);
    await this.#until(containerd, 'containerd.log', () => existsSync(address));
    const none = join(this.#dir, 'daemon.json');
    writeFileSync(none, '{}\n');
    const dockerd = this.#start('dockerd.log', [
      'dockerd',
      ...['--config-file', none, '--containerd', address, '--host', this.host],
      ...['--data-root', join(this.#dir, 'docker'), '--exec-root', join(this.#run, 'docker')],
      ...['--pidfile', join(this.#run, 'dockerd.pid'), '--exec-opt', 'native.cgroupdriver=cgroupfs'],
      ...['--cgroup-parent', `/${labCgroup}/${this.#name}`],
    ]);
    await this.#until(dockerd, 'dockerd.log', () => this.answers());
  }

  #start(log: string, command: readonly string[]): ChildProcess {
    // Without the br_netfilter module (small kernels) dockerd refuses networks whose containers may not meet.
    const env = { ...process.env, DOCKER_IGNORE_BR_NETFILTER_ERROR: '1', DOCKER_HOST: undefined };
    return startInside(this.#namespace, join(this.#dir, log), command, env);
  }

  #until(child: ChildProcess, log: string, look: () => boolean): Promise<unknown> {
    return until(
      `the Docker Engine of ${this.#name}`,
      () => {
        if (child.exitCode !== null || child.signalCode !== null)
          return { ended: lastLines(join(this.#dir, log)) } as const;
        return look();
      },
      180_000,
    ).then((found) => {
      if (found !== true) throw new Error(`the Docker Engine of ${this.#name} ended: ${found.ended}`);
    });
  }

  /** kill -9 of both its programs: containers go on, and what is left of it is in nobody's way. */
  async kill(processes: () => readonly MachineProcess[]): Promise<void> {
    const own = ({ command: [program = ''] }: MachineProcess): boolean =>
      ['dockerd', 'containerd'].includes(basename(program));
    await killAll(`the Docker Engine of ${this.#name}`, () => processes().filter(own));
    for (const left of ['docker.sock', 'dockerd.pid', 'containerd.sock'])
      rmSync(join(this.#run, left), { force: true });
  }

  /** Frames that the engine's bridges only pass on must not meet the machine's packet filter, where a kernel can do that. */
  #quietBridge(): void {
    const file = '/proc/sys/net/bridge/bridge-nf-call-iptables';
    const script = `[ ! -e ${file} ] || echo 0 > ${file}`;
    spawnSync('nsenter', [`--net=/var/run/netns/${this.#namespace}`, 'sh', '-c', script], { stdio: 'ignore' });
  }

  /** What the kernel forgets when a machine goes down: mounts, control groups, /run. The machine's processes must be dead. */
  forget(): void {
    unmountBelow(this.#dir);
    rmSync(this.#run, { recursive: true, force: true });
    removeCgroups(join(labCgroup, this.#name));
  }
}

export function unmountBelow(dir: string): void {
  const mounted = readFileSync('/proc/self/mounts', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[1] ?? '')
    .filter((path) => path.startsWith(`${dir}/`));
  for (const path of mounted.reverse()) spawnSync('umount', ['--lazy', path], { stdio: 'ignore' });
}

/**
 * Detaches loop devices of this computer whose image lies below it, or on the disk of such a one, which no path names any more
 * once its machine is dead. How many there were.
 */
export function detachBelow(dir: string): number {
  const args = ['--list', '--noheadings', '--output', 'NAME,MAJ:MIN,BACK-MAJ:MIN,BACK-FILE'];
  const all = spawnSync('losetup', args, { encoding: 'utf8' })
    .stdout.split('\n')
    .map((line) => line.trim().split(/\s+/));
  const found = all.filter(([, , , file]) => file?.startsWith(`${dir}/`));
  for (let at = 0; at < found.length; at++)
    found.push(...all.filter((one) => one[2] === found[at]?.[1] && !found.includes(one)));
  for (const [device = ''] of found.toReversed()) spawnSync('losetup', ['--detach', device], { stdio: 'ignore' });
  return found.length;
}

/** This folder in each hierarchy of control groups, of version 1 and 2. */
export const cgroupsNamed = (path: string): string[] => {
  const root = '/sys/fs/cgroup';
  return [join(root, path), ...readdirSync(root).map((name) => join(root, name, path))].filter(existsSync);
};

const withChildren = (dir: string): string[] => [
  ...readdirSync(dir, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .flatMap((entry) => withChildren(join(dir, entry.name))),
  dir,
];

/** Lets frozen processes go on: a process that is frozen cannot be killed (version 1). */
export function thawCgroups(path: string): void {
  for (const dir of cgroupsNamed(path).flatMap(withChildren))
    for (const [file, word] of [
      ['freezer.state', 'THAWED'],
      ['cgroup.freeze', '0'],
    ] as const)
      try {
        if (existsSync(join(dir, file))) writeFileSync(join(dir, file), word);
      } catch {
        // It has just gone.
      }
}

export function removeCgroups(path: string): void {
  for (const dir of cgroupsNamed(path).flatMap(withChildren))
    try {
      rmdirSync(dir);
    } catch {
      // The kernel is late with the last of its processes; `down` tries again.
    }
}

/** Sockets that containerd's shims keep in the computer's own /run, and leave there when they are killed. */
export function shimSockets(namespace: string): string[] {
  const args = [`--net=/var/run/netns/${namespace}`, 'cat', '/proc/net/unix'];
  const { stdout } = spawnSync('nsenter', args, { encoding: 'utf8' });
  return [...stdout.matchAll(/ (\/run\/containerd\/s\/[0-9a-f]+)$/gm)].map((match) => match[1] as string);
}
