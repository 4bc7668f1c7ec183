import { execFileSync, spawnSync } from 'node:child_process';

const run = (file: string, args: string[]): string =>
  execFileSync(file, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
const ip = (...args: string[]): string => run('ip', args);
const runs = (file: string, args: string[]): boolean => spawnSync(file, args, { stdio: 'ignore' }).status === 0;

/** Names of all network namespaces that begin so. */
export const namespacesNamed = (prefix: string): string[] =>
  ip('netns', 'list')
    .split('\n')
    .map((line) => line.split(' ')[0] as string)
    .filter((name) => name.startsWith(prefix));

/**
 * Machines in miniature: one network namespace each, joined only by a bridge that lives in a namespace of its own, so
 * that no packet reaches this computer's own network. Needs root. Machines count from 1.
 */
export class Lan {
  readonly #prefix: string;
  readonly #hub: string;
  readonly #count: number;

  /** Builds it, or, with `build: false`, takes hold of one that another process has built under the same prefix. */
  constructor(count: number, { prefix = `ag${process.pid}`, build = true } = {}) {
    this.#prefix = prefix;
    this.#hub = `${prefix}hub`;
    this.#count = count;
    if (!build) return;
    ip('netns', 'add', this.#hub);
    ip('-n', this.#hub, 'link', 'set', 'lo', 'up');
    ip('-n', this.#hub, 'link', 'add', 'br0', 'type', 'bridge', 'mcast_snooping', '0');
    ip('-n', this.#hub, 'link', 'set', 'br0', 'up');
    for (let i = 1; i <= count; i++) this.add(i);
  }

  /** Makes a machine's namespace and plugs it in. */
  add(i: number): void {
    const name = this.namespace(i);
    ip('netns', 'add', name);
    ip('-n', name, 'link', 'set', 'lo', 'up');
    const eth0 = ['name', 'eth0', 'address', this.#mac(i), 'netns', name];
    ip('link', 'add', `p${i}`, 'netns', this.#hub, 'type', 'veth', 'peer', ...eth0);
    ip('-n', this.#hub, 'link', 'set', `p${i}`, 'master', 'br0', 'up');
    ip('-n', name, 'addr', 'add', `${this.address(i)}/24`, 'dev', 'eth0');
    ip('-n', name, 'link', 'set', 'eth0', 'up');
    ip('-n', name, 'route', 'add', 'default', 'dev', 'eth0');
  }

  /** Ends a machine's kernel, so to speak: its interfaces, connections and rules are gone. Its processes must be. */
  remove(i: number): void {
    spawnSync('ip', ['-n', this.#hub, 'link', 'del', `p${i}`], { stdio: 'ignore' });
    spawnSync('ip', ['netns', 'del', this.namespace(i)], { stdio: 'ignore' });
  }

  /** The namespace of the bridge: what plugs machine i in is its `p<i>`. */
  get hub(): string {
    return this.#hub;
  }

  namespace(i: number): string {
    return `${this.#prefix}n${i}`;
  }

  address(i: number): string {
    return `10.77.0.${i}`;
  }

  #mac(i: number): string {
    return `02:61:67:00:00:${i.toString(16).padStart(2, '0')}`;
  }

  /** Pulls the machine's cable: no FIN, no RST, just silence. */
  unplug(i: number): void {
    ip('-n', this.#hub, 'link', 'set', `p${i}`, 'down');
  }

  plug(i: number): void {
    ip('-n', this.#hub, 'link', 'set', `p${i}`, 'up');
  }

  /**
   * From now on nothing that machine `from` sends reaches machine `to`: dropped in silence where it comes in, IPv4, IPv6
   * and multicast, connections that stand included. The other way is open.
   */
  block(from: number, to: number): void {
    for (const program of ['iptables', 'ip6tables'])
      if (!runs('nsenter', this.#rule(program, '-C', from, to))) run('nsenter', this.#rule(program, '-I', from, to));
  }

  unblock(from: number, to: number): void {
    for (const program of ['iptables', 'ip6tables']) runs('nsenter', this.#rule(program, '-D', from, to));
  }

  /** UDP datagrams that programs of the machine have been given since it was made. */
  datagramsIn(i: number): number {
    const table = run('nsenter', [`--net=/var/run/netns/${this.namespace(i)}`, 'cat', '/proc/net/snmp']);
    const [names, values] = table
      .split('\n')
      .filter((line) => line.startsWith('Udp: '))
      .map((line) => line.split(' '));
    return Number(values?.[names?.indexOf('InDatagrams') ?? -1]);
  }

  /** A firewall on the machine that lets no datagram in or out, but for mDNS. */
  wallOfDatagrams(i: number): { end(): void } {
    const change = (action: '-I' | '-D'): void => {
      for (const chain of ['INPUT', 'OUTPUT']) {
        const rule = ['-p', 'udp', '!', '--dport', '5353', '-j', 'DROP'];
        run('nsenter', [`--net=/var/run/netns/${this.namespace(i)}`, 'iptables', '-w', action, chain, ...rule]);
      }
    };
    change('-I');
    return { end: () => change('-D') };
  }

  /** By the sender's hardware address, and in `raw`, which the engine's own rules leave alone. */
  #rule(program: string, action: '-I' | '-D' | '-C', from: number, to: number): string[] {
    const chain = [program, '-w', '-t', 'raw', action, 'PREROUTING'];
    const match = ['-i', 'eth0', '-m', 'mac', '--mac-source', this.#mac(from), '-j', 'DROP'];
    return [`--net=/var/run/netns/${this.namespace(to)}`, ...chain, ...match];
  }

  down(): void {
    for (let i = 1; i <= this.#count; i++) spawnSync('ip', ['netns', 'del', this.namespace(i)], { stdio: 'ignore' });
    spawnSync('ip', ['netns', 'del', this.#hub], { stdio: 'ignore' });
  }
}
