import { execFileSync, spawnSync } from 'node:child_process';

const ip = (...args: string[]): void => void execFileSync('ip', args, { stdio: ['ignore', 'pipe', 'pipe'] });

/**
 * Machines in miniature: one network namespace each, joined only by a bridge that lives in a namespace of its own, so
 * that no packet reaches this computer's own network. Needs root.
 */
export class Lan {
  readonly #prefix = `ag${process.pid}`;
  readonly #hub = `${this.#prefix}hub`;
  readonly #names: string[] = [];

  constructor(count: number) {
    ip('netns', 'add', this.#hub);
    ip('-n', this.#hub, 'link', 'set', 'lo', 'up');
    ip('-n', this.#hub, 'link', 'add', 'br0', 'type', 'bridge', 'mcast_snooping', '0');
    ip('-n', this.#hub, 'link', 'set', 'br0', 'up');
    for (let i = 1; i <= count; i++) this.#add(i);
  }

  #add(i: number): void {
    const name = `${this.#prefix}n${i}`;
    this.#names.push(name);
    ip('netns', 'add', name);
    ip('-n', name, 'link', 'set', 'lo', 'up');
    ip('link', 'add', `p${i}`, 'netns', this.#hub, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', name);
    ip('-n', this.#hub, 'link', 'set', `p${i}`, 'master', 'br0', 'up');
    ip('-n', name, 'addr', 'add', `${this.address(i)}/24`, 'dev', 'eth0');
    ip('-n', name, 'link', 'set', 'eth0', 'up');
    ip('-n', name, 'route', 'add', 'default', 'dev', 'eth0');
  }

  /** Machines count from 1. */
  namespace(i: number): string {
    return this.#names[i - 1] as string;
  }

  address(i: number): string {
    return `10.77.0.${i}`;
  }

  /** Pulls the machine's cable: no FIN, no RST, just silence. */
  unplug(i: number): void {
    ip('-n', this.#hub, 'link', 'set', `p${i}`, 'down');
  }

  plug(i: number): void {
    ip('-n', this.#hub, 'link', 'set', `p${i}`, 'up');
  }

  down(): void {
    for (const name of [...this.#names, this.#hub]) spawnSync('ip', ['netns', 'del', name], { stdio: 'ignore' });
  }
}
