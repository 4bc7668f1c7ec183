import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

/**
 * A Docker Engine of a test's own, which may be killed: dockerd and containerd with folders and sockets of their own, in
 * a network namespace of their own. With live-restore, as a machine has it whose jobs shall outlive an upgrade of docker.
 */
export class OwnEngine {
  readonly #dir: string;
  readonly #net: string;
  readonly #isGuest: boolean;
  readonly #config: object;
  #containerd: ChildProcess | null = null;
  #dockerd: ChildProcess | null = null;

  /** Its folders, the images among them, lie below `parent`. `net`: a network namespace that is there already. `config`: its daemon.json. */
  constructor(parent = '/var/tmp', net: string | null = null, config: object = {}) {
    this.#config = config;
    this.#isGuest = net !== null;
    this.#net = net ?? `t-dock-${process.pid}`;
    this.#dir = mkdtempSync(join(parent, 't-dock-engine-'));
  }

  /** Its network namespace. */
  get net(): string {
    return this.#net;
  }

  get host(): string {
    return `unix://${this.#dir}/run/docker.sock`;
  }

  docker(...args: string[]): string {
    return execFileSync('docker', args, { env: { ...process.env, DOCKER_HOST: this.host }, encoding: 'utf8' });
  }

  /** An image of the machine's own engine, in this one too. */
  load(image: string): void {
    const saved = execFileSync('docker', ['save', image], { maxBuffer: 1 << 30 });
    execFileSync('docker', ['load'], { env: { ...process.env, DOCKER_HOST: this.host }, input: saved });
  }

  async begin(): Promise<void> {
    mkdirSync(join(this.#dir, 'run'), { recursive: true, mode: 0o700 });
    if (!this.#isGuest) {
      execFileSync('ip', ['netns', 'add', this.#net]);
      execFileSync('ip', ['-n', this.#net, 'link', 'set', 'lo', 'up']);
    }
    const config = join(this.#dir, 'containerd.toml');
    writeFileSync(
      config,
      `version = 2\nroot = "${this.#dir}/containerd"\nstate = "${this.#dir}/run/containerd"\n` +
        `disabled_plugins = ["io.containerd.grpc.v1.cri"]\n[grpc]\naddress = "${this.#address}"\n`,
    );
    this.#containerd = this.#spawn('containerd', '--config', config);
    for (let tries = 0; !existsSync(this.#address); tries++) {
      if (tries > 300) throw new Error(`no containerd:\n${this.#log()}`);
      await sleep(100);
    }
    await this.start();
  }

  async start(): Promise<void> {
    const none = join(this.#dir, 'daemon.json');
    writeFileSync(none, JSON.stringify(this.#config));
    this.#dockerd = this.#spawn(
      'dockerd',
      ...['--config-file', none, '--containerd', this.#address, '--host', this.host, '--live-restore'],
      ...['--data-root', join(this.#dir, 'docker'), '--exec-root', join(this.#dir, 'run/docker')],
      ...['--pidfile', join(this.#dir, 'run/dockerd.pid'), '--exec-opt', 'native.cgroupdriver=cgroupfs'],
      ...['--cgroup-parent', `/${this.#net}`],
    );
    for (let tries = 0; ; tries++) {
      const env = { ...process.env, DOCKER_HOST: this.host };
      if (spawnSync('docker', ['version'], { env, stdio: 'ignore', timeout: 5000 }).status === 0) return;
      if (tries > 300 || this.#dockerd.exitCode !== null) throw new Error(`no dockerd:\n${this.#log()}`);
      await sleep(100);
    }
  }

  /** kill -9: containers go on. */
  async kill(): Promise<void> {
    const child = this.#dockerd as ChildProcess;
    const gone = new Promise((done) => child.once('exit', done));
    child.kill('SIGKILL');
    await gone;
    rmSync(join(this.#dir, 'run/docker.sock'), { force: true });
    rmSync(join(this.#dir, 'run/dockerd.pid'), { force: true });
  }

  /** It takes calls and answers none; `goOn` ends that. */
  stop(): void {
    this.#dockerd?.kill('SIGSTOP');
  }

  goOn(): void {
    this.#dockerd?.kill('SIGCONT');
  }

  async end(): Promise<void> {
    try {
      this.goOn();
      for (const id of this.docker('ps', '-aq').split('\n').filter(Boolean)) this.docker('rm', '-f', id);
    } finally {
      for (const child of [this.#dockerd, this.#containerd]) {
        if (!child || child.exitCode !== null || child.signalCode !== null) continue;
        const gone = new Promise((done) => child.once('exit', done));
        child.kill('SIGTERM');
        await gone;
      }
      for (const line of readFileSync('/proc/self/mounts', 'utf8').split('\n').reverse()) {
        const path = line.split(' ')[1] ?? '';
        if (path.startsWith(`${this.#dir}/`)) spawnSync('umount', ['-l', path]);
      }
      if (!this.#isGuest) spawnSync('ip', ['netns', 'del', this.#net]);
      spawnSync('find', [
        '/sys/fs/cgroup',
        '-depth',
        '-type',
        'd',
        '-path',
        `*/${this.#net}*`,
        '-exec',
        'rmdir',
        '{}',
        '+',
      ]);
      rmSync(this.#dir, { recursive: true, force: true });
    }
  }

  get #address(): string {
    return join(this.#dir, 'run/containerd.sock');
  }

  #spawn(...command: string[]): ChildProcess {
    const log = openSync(join(this.#dir, 'log'), 'a');
    return spawn('nsenter', [`--net=/var/run/netns/${this.#net}`, ...command], {
      stdio: ['ignore', log, log],
      env: { ...process.env, DOCKER_IGNORE_BR_NETFILTER_ERROR: '1', DOCKER_HOST: undefined },
    });
  }

  #log(): string {
    return readFileSync(join(this.#dir, 'log'), 'utf8').slice(-3000);
  }
}
