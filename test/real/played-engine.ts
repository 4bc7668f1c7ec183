import type { FoundService, ServiceHost, ServiceNetwork, ServiceSpec } from '../../node/hosting/service-host.ts';
import { AutogitError } from '../../protocol/errors.ts';
import { playedCurl } from './played-curl.ts';

/** An engine whose every answer the test decides. Containers run until somebody ends them. */
export class PlayedEngine implements ServiceHost {
  readonly running = new Map<string, FoundService>();
  readonly calls: string[] = [];
  readonly inputs: string[] = [];
  /** Those that were made beforehand, by their data. */
  readonly networks = new Set<string>();
  isAway = false;
  works = true;
  /** What its nginx takes no question without; null: it takes either. */
  proxyLine: boolean | null = null;
  /** What its readiness answers. */
  readiness = 200;
  revoked: string | null = null;
  lastLines = '';
  /** What the file of the first boot says, and what root's is now. */
  password = 'first-of-root';
  rootHas = 'first-of-root';
  /** Whatever is begun ends at once, with this code. */
  endsWith: number | null = null;
  pulling: Promise<void> = Promise.resolve();
  /** What each image is: the version that it says, and what becomes of it once it is begun. */
  readonly images = new Map<string, { version?: string; ends?: true; never?: true }>();
  /** A clone that was booted beside the grace, until it is taken in; its first process is 5. */
  booted: string | null = null;
  /** What its Redis says of its persistence. */
  redis = '';
  /** What Redis says when it shall write before it answers. */
  writesFirst = 'OK\n';
  onCall: (call: string) => void = () => undefined;
  #image = '';

  #say(call: string): void {
    this.calls.push(call);
    this.onCall(call);
    if (this.isAway) throw new AutogitError('no-docker', 'no Docker Engine answers');
  }
  async check() {
    this.#say('check');
    return { arch: 'amd64' };
  }
  async image(name: string) {
    this.#say('image');
    await this.pulling;
    return { id: name, arch: 'amd64' };
  }
  async start({ mesh, host, data, epoch, imageId }: ServiceSpec) {
    this.#say('start');
    this.#image = imageId;
    this.running.set('c1', { mesh, host, data, epoch, id: 'c1', isRunning: true });
    return 'c1';
  }
  async takeIn(id: string, { mesh, host, data, epoch }: ServiceSpec) {
    this.#say(`take in ${id}`);
    this.running.set(id, { mesh, host, data, epoch, id, isRunning: true });
  }
  async makeNetwork({ data }: ServiceNetwork) {
    this.networks.add(data);
  }
  async dropNetwork(data: string) {
    this.networks.delete(data);
  }
  async find() {
    this.#say('find');
    return [...this.running.values()];
  }
  async look(id: string) {
    this.#say('look');
    if (!this.running.has(id) && id !== this.booted) return null;
    const rest = { isPaused: false, isOutOfMemory: false, memory: null, startedAtMs: Date.now() };
    const endsWith = this.images.get(this.#image)?.ends ? 1 : this.endsWith;
    if (endsWith !== null)
      return { ...rest, exitCode: endsWith, isRunning: false, address: null, pid: null, cgroup: null };
    return {
      ...rest,
      exitCode: 0,
      isRunning: true,
      address: '172.30.0.2',
      pid: id === this.booted ? 5 : 4,
      cgroup: null,
    };
  }
  async exec(_id: string, argv: readonly string[], { input = '' }: { input?: string; timeoutMs: number }) {
    this.#say(`exec ${argv[0]}`);
    this.inputs.push(input);
    if (argv[0] === 'cat') return { code: 0, out: `Password: ${this.password}\n` };
    const asked = /^puts '([^']+)' if .*valid_password\?\('([^']+)'\)$/m.exec(input);
    if (asked !== null) return { code: 0, out: asked[2] === this.rootHas ? `${asked[1]}\n` : '' };
    if (argv[0] === 'gitlab-redis-cli')
      return { code: 0, out: argv.includes('appendfsync') ? this.writesFirst : this.redis };
    if (argv[0] !== 'curl') return { code: 0, out: '' };
    return playedCurl(input, (question) => this.#answer(question));
  }
  #answer(question: string): { status: number; body?: string } {
    const { version = '19.3.0', never = false } = this.images.get(this.#image) ?? {};
    if (!this.works || never) return { status: 0 };
    const isTold = question.includes('haproxy-protocol');
    if (this.proxyLine !== null && isTold !== this.proxyLine) return { status: isTold ? 400 : 0 };
    if (question.includes('readiness')) return { status: this.readiness, body: '{}' };
    if (question.includes('sign_in')) return { status: 200 };
    if (!question.includes('PRIVATE-TOKEN')) return { status: 401 };
    if (this.revoked !== null && question.includes(this.revoked)) return { status: 401, body: '{}' };
    return { status: 200, body: JSON.stringify({ version, is_admin: true, uuid: 'u1' }) };
  }
  async lastWords() {
    return this.lastLines;
  }
  async stop(id: string) {
    this.#say('stop');
    this.running.delete(id);
  }
  async kill(id: string) {
    this.#say(`kill ${id}`);
    this.running.delete(id);
  }
  async remove(id: string) {
    this.#say('remove');
    this.running.delete(id);
  }
}
