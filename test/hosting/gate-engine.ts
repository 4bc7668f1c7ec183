import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { freezerOfProcess } from '../../node/executors/run-cgroup.ts';
import { netOf } from '../root/lan.ts';
import { OwnEngine } from '../root/own-engine.ts';
import { testImages } from '../root/test-image.ts';

const name = 't-hgate-gitlab';

/**
 * A machine with an engine of Debian's, in a namespace of its own, and a neighbour of it with a route to its containers. In it a container that
 * publishes nothing, on a network of its own whose bridge has a name of ours, as `gitlab deploy` makes it.
 */
export class GateEngine {
  readonly bridge = 'autogit-gl0';
  readonly engine = new OwnEngine();
  readonly #neighbour = `t-hgate-n-${process.pid}`;

  async begin(www: string): Promise<void> {
    await this.engine.begin();
    this.engine.load(testImages.busybox);
    this.engine.docker('network', 'create', '-o', `com.docker.network.bridge.name=${this.bridge}`, 't-hgate');
    this.serve(www);
    this.#join();
  }

  /** Its own rules let this one in wherever it wants: what keeps it out are ours. */
  #join(): void {
    const { net } = this.engine;
    const ip = (line: string): string => this.#do(['ip', ...line.split(' ')]);
    ip(`netns add ${this.#neighbour}`);
    ip(`-n ${net} link add lan0 type veth peer name eth0 netns ${this.#neighbour}`);
    ip(`-n ${net} addr add 10.213.9.1/24 dev lan0`);
    ip(`-n ${net} link set lan0 up`);
    ip(`-n ${this.#neighbour} addr add 10.213.9.2/24 dev eth0`);
    ip(`-n ${this.#neighbour} link set eth0 up`);
    ip(`-n ${this.#neighbour} route add default via 10.213.9.1`);
    this.#do(['nsenter', netOf(net), 'sysctl', '-qw', 'net.ipv4.ip_forward=1']);
    this.#do(['nsenter', netOf(net), 'iptables', '-I', 'DOCKER-USER', '-j', 'ACCEPT']);
  }

  #do([program = '', ...words]: string[]): string {
    const { status, stdout, stderr, error } = spawnSync(program, words, { encoding: 'utf8', timeout: 20_000 });
    if (status !== 0) throw new Error(`${program} ${words.join(' ')}: ${error?.message ?? stderr}`);
    return stdout;
  }

  serve(www: string): void {
    this.engine.docker(
      ...['run', '--detach', '--name', name, '--network', 't-hgate', '--mount', `type=bind,src=${www},dst=/www`],
      ...[testImages.busybox, 'busybox', 'httpd', '-f', '-p', '80', '-h', '/www'],
    );
  }

  #look(what: string): string {
    return this.engine.docker('inspect', '--format', what, name).trim();
  }

  get address(): string {
    return this.#look('{{(index .NetworkSettings.Networks "t-hgate").IPAddress}}');
  }

  /** By which the watchdog freezes it. */
  get cgroup(): string {
    const path = freezerOfProcess(Number(this.#look('{{.State.Pid}}')));
    if (path === null) throw new Error('the container has no control group');
    return path;
  }

  /** It dies with all that it has open. */
  kill(): void {
    this.engine.docker('kill', name);
  }

  remove(): void {
    this.engine.docker('rm', '-f', name);
  }

  /** A job whose image says which number it is. */
  jobAs(uid: number): void {
    this.engine.docker('run', '--detach', '--user', String(uid), testImages.busybox, 'busybox', 'sleep', '600');
  }

  /** What a job's container on another network gets. */
  job(url: string): string {
    const run = ['run', '--rm', testImages.busybox, 'busybox', 'wget', '-T', '3', '-qO-', url];
    const env = { ...process.env, DOCKER_HOST: this.engine.host };
    return spawnSync('docker', run, { env, encoding: 'utf8', timeout: 20_000 }).stdout;
  }

  /** What another machine of the LAN gets. */
  neighbour(command: string[]): string {
    return spawnSync('nsenter', [netOf(this.#neighbour), ...command], { encoding: 'utf8', timeout: 20_000 }).stdout;
  }

  async end(): Promise<void> {
    await this.engine.end();
    spawnSync('ip', ['netns', 'del', this.#neighbour]);
  }

  /** What is still there of it. */
  left(): string[] {
    return [this.engine.net, this.#neighbour].map((net) => `/var/run/netns/${net}`).filter((path) => existsSync(path));
  }
}
