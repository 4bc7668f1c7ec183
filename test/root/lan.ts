import { execFileSync } from 'node:child_process';

const run = (file: string, ...args: string[]): string =>
  execFileSync(file, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
const ip = (...args: string[]): string => run('ip', ...args);

/** For nsenter: the network namespace of that name. */
export const netOf = (namespace: string): string => `--net=/run/netns/${namespace}`;

/** A LAN in miniature: a namespace a machine, on one bridge that has a namespace of its own; nothing reaches the host. */
export interface Lan {
  /** Command and arguments by which a program runs inside that machine. `nsenter` keeps the pid, and cgroup mounts. */
  inside(machine: number): string[];
  /** The same with a /sys of that machine's own. */
  insideWithSys(machine: number): string[];
  address(machine: number): string;
  unplug(machine: number): void;
  plug(machine: number): void;
  /** `ip …` inside that machine. */
  ip(machine: number, ...args: string[]): string;
  /** Runs a program inside that machine to its end. Throws with its words when it fails. */
  run(machine: number, file: string, ...args: string[]): string;
  /** A second cable, `eth1`, to another switch of its own: 10.78.0.N/24. */
  addSecond(machine: number): void;
  remove(): void;
}

/**
 * Builds it for machines 1 to `count`, 10.77.0.N/24 each. Names carry the pid, so that several tests at once do not
 * meet. `routes: true` adds a route for multicast, which nothing of ours needs. Needs root.
 */
export function buildLan(count: number, { routes = false } = {}): Lan {
  const tag = `ag${process.pid}`;
  const bridge = `${tag}sw`;
  const machine = (n: number): string => `${tag}n${n}`;
  const port = (n: number): string => `p${n}`;
  const lan: Lan = {
    inside: (n) => ['nsenter', netOf(machine(n))],
    insideWithSys: (n) => ['ip', 'netns', 'exec', machine(n)],
    address: (n) => `10.77.0.${n}`,
    unplug: (n) => void ip('-n', bridge, 'link', 'set', port(n), 'down'),
    plug: (n) => void ip('-n', bridge, 'link', 'set', port(n), 'up'),
    ip: (n, ...args) => ip('-n', machine(n), ...args),
    run: (n, file, ...args) => run('ip', 'netns', 'exec', machine(n), file, ...args),
    addSecond: (n) => {
      const second = `q${n}`;
      if (!ip('-n', bridge, '-br', 'link').includes('br1 ')) {
        ip('-n', bridge, 'link', 'add', 'br1', 'type', 'bridge', 'mcast_snooping', '0');
        ip('-n', bridge, 'link', 'set', 'br1', 'up');
      }
      ip('link', 'add', second, 'netns', bridge, 'type', 'veth', 'peer', 'name', 'eth1', 'netns', machine(n));
      ip('-n', bridge, 'link', 'set', second, 'master', 'br1', 'up');
      ip('-n', machine(n), 'addr', 'add', `10.78.0.${n}/24`, 'dev', 'eth1');
      ip('-n', machine(n), 'link', 'set', 'eth1', 'up');
    },
    remove: () => {
      for (const name of [...Array.from({ length: count }, (_, i) => machine(i + 1)), bridge])
        try {
          ip('netns', 'del', name);
        } catch {
          // It was never made.
        }
    },
  };
  try {
    ip('netns', 'add', bridge);
    ip('-n', bridge, 'link', 'set', 'lo', 'up');
    ip('-n', bridge, 'link', 'add', 'br0', 'type', 'bridge', 'mcast_snooping', '0');
    ip('-n', bridge, 'link', 'set', 'br0', 'up');
    for (let n = 1; n <= count; n++) {
      const own = machine(n);
      ip('netns', 'add', own);
      ip('-n', own, 'link', 'set', 'lo', 'up');
      ip('link', 'add', port(n), 'netns', bridge, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', own);
      ip('-n', bridge, 'link', 'set', port(n), 'master', 'br0', 'up');
      ip('-n', own, 'addr', 'add', `${lan.address(n)}/24`, 'dev', 'eth0');
      ip('-n', own, 'link', 'set', 'eth0', 'up');
      if (routes) ip('-n', own, 'route', 'add', '224.0.0.0/4', 'dev', 'eth0');
    }
  } catch (error) {
    lan.remove();
    throw error;
  }
  return lan;
}
